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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_in_bytes() {
        assert_eq!(peak_in("VmPeak:\t 9 kB\nVmHWM:\t   21344 kB\n"), Some(21_344 * 1024));
        assert_eq!(peak_in("VmPeak:\t 9 kB\n"), None);
    }
}
