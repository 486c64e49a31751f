//! How much memory this process has taken at most, for reports.

/// The peak of the process's resident memory, in bytes; nothing where the system doesn't tell.
pub(crate) fn peak_bytes() -> Option<u64> {
    peak_in(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// Linux tells it in a line like `VmHWM:     21344 kB`.
fn peak_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Begins this process anew with a single arena of glibc's allocator.
///
/// Rows are read by one thread and freed by another. With an arena for each thread the holes that they leave were spread
/// over all of them: of ten times as many rows a copy held 1.4 times the memory, though it had no more in use. The
/// allocator reads the variable before `main`; whoever has set it has decided.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn with_one_arena() {
    use std::os::unix::process::CommandExt as _;
    const ARENAS: &str = "MALLOC_ARENA_MAX";

    let mut arguments = std::env::args_os();
    let (Some(name), Ok(binary)) = (arguments.next(), std::env::current_exe()) else { return };
    if std::env::var_os(ARENAS).is_none() {
        let mut command = std::process::Command::new(binary);
        // Where that can't be done, as of a binary that was replaced, it goes on as it is.
        let _not_begun = command.arg0(name).args(arguments).env(ARENAS, "1").exec();
    }
}

/// Other allocators have no such variable.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) const fn with_one_arena() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_in_bytes() {
        assert_eq!(peak_in("VmPeak:\t 9 kB\nVmHWM:\t   21344 kB\n"), Some(21_344 * 1024));
        assert_eq!(peak_in("VmPeak:\t 9 kB\n"), None);
    }
}
