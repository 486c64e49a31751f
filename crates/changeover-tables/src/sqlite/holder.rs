//! Who holds SQLite's write lock: asked of the operating system, where it tells (Linux does, in `/proc/locks`).

use std::path::Path;

/// SQLite's locks on the shared-memory file of a database in WAL: the first of them is the writer's.
const WAL_WRITE_LOCK: u64 = 120;

/// The first of the bytes of the database file that every reader has a part in: whoever has them alone keeps all others out.
const EXCLUSIVE_LOCK: u64 = 0x4000_0002;

/// The process that is writing to this database now, as `python3 (process 4711)`; `None` where that isn't known.
pub(super) fn of_write_lock(database: &Path) -> Option<String> {
    let mut shared = database.file_name()?.to_os_string();
    shared.push("-shm");
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let at = |file: &Path, byte: u64| {
        let number = inode(file)?;
        locks.lines().find_map(|line| writer_of(line, number, byte))
    };
    let process =
        at(&database.with_file_name(shared), WAL_WRITE_LOCK).or_else(|| at(database, EXCLUSIVE_LOCK))?;
    if process == std::process::id() {
        return Some("another connection of this process".to_owned());
    }
    let name = std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    Some(match name.trim() {
        "" => format!("process {process}"),
        name => format!("{name} (process {process})"),
    })
}

#[cfg(unix)]
fn inode(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|metadata| std::os::unix::fs::MetadataExt::ino(&metadata))
}

#[cfg(not(unix))]
fn inode(_path: &Path) -> Option<u64> {
    None
}

/// The process of a line as `1: POSIX ADVISORY WRITE 4711 08:01:123456 120 120`, if it has this byte of this file for itself.
fn writer_of(line: &str, number: u64, byte: u64) -> Option<u32> {
    let mut fields = line.split_whitespace().skip(1);
    let (kind, _, mode) = (fields.next()?, fields.next()?, fields.next()?);
    let process = fields.next()?.parse().ok()?;
    let file = fields.next()?.rsplit(':').next()?.parse::<u64>().ok()?;
    let (from, to) = (fields.next()?.parse::<u64>().ok()?, fields.next()?);
    let covers = from <= byte && (to == "EOF" || to.parse::<u64>().is_ok_and(|to| to >= byte));
    (kind == "POSIX" && mode == "WRITE" && file == number && covers && process != 0).then_some(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_writers_lock_is_told_from_others() {
        let line = |rest: &str| format!("12: POSIX  ADVISORY  WRITE {rest}");
        assert_eq!(writer_of(&line("4711 08:01:99 120 120"), 99, WAL_WRITE_LOCK), Some(4711));
        assert_eq!(writer_of(&line("4711 08:01:99 0 EOF"), 99, WAL_WRITE_LOCK), Some(4711));
        assert_eq!(writer_of(&line("4711 08:01:98 120 120"), 99, WAL_WRITE_LOCK), None);
        assert_eq!(writer_of(&line("4711 08:01:99 123 127"), 99, WAL_WRITE_LOCK), None);
        assert_eq!(writer_of("12: POSIX  ADVISORY  READ 4711 08:01:99 120 120", 99, WAL_WRITE_LOCK), None);
        assert_eq!(writer_of("12: -> POSIX", 99, WAL_WRITE_LOCK), None);
        let exclusive = line("4711 08:01:99 1073741824 1073742335");
        assert_eq!(writer_of(&exclusive, 99, EXCLUSIVE_LOCK), Some(4711));
        assert_eq!(writer_of(&exclusive, 99, WAL_WRITE_LOCK), None);
    }
}
