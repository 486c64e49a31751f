//! Who gives a command, for the audit: the person behind `sudo` too, and the machine.

use std::ffi::OsString;

/// Who gives this command, as in `ann@db-admin-1`. `CHANGEOVER_WHO` says it in a script or a bot.
pub(crate) fn who() -> String {
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let accounts = || std::fs::read(ACCOUNTS).unwrap_or_default();
    name(|variable| std::env::var_os(variable), accounts, rustix::process::getuid().as_raw(), &machine)
}

/// Where the system keeps its users' names. Those of a directory service aren't there: they are told by their number, where
/// no variable names them.
const ACCOUNTS: &str = "/etc/passwd";

fn name(
    variable: impl Fn(&str) -> Option<OsString>,
    accounts: impl FnOnce() -> Vec<u8>,
    uid: u32,
    machine: &str,
) -> String {
    let set = |name| {
        let text = variable(name)?.to_string_lossy().trim().to_owned();
        (!text.is_empty()).then_some(text)
    };
    if let Some(said) = set("CHANGEOVER_WHO") {
        return said;
    }
    let user = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(set);
    // A service manager, a container or cron sets none of these.
    let user = user.or_else(|| account(&accounts(), uid)).unwrap_or_else(|| format!("uid-{uid}"));
    if machine.is_empty() { user } else { format!("{user}@{machine}") }
}

/// The name of the first account with this number, in lines such as `ann:x:1000:1000:Ann:/:/bin/sh`.
fn account(accounts: &[u8], uid: u32) -> Option<String> {
    let text = String::from_utf8_lossy(accounts);
    let wanted = uid.to_string();
    let name = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == wanted).then_some(name)
    })?;
    (!name.trim().is_empty()).then(|| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_person_behind_sudo_is_named() {
        let of = |given: &[(&str, &str)], uid: u32| {
            let find = |name: &str| given.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).into());
            let accounts =
                b"root:x:0:0::/root:/bin/sh\n\n# 7\n:x:6::\nlp:x:7:7:7:/:/bin/false\nx:x:77:7::\n".to_vec();
            name(find, || accounts, uid, "db-1")
        };
        assert_eq!(of(&[("USER", "root"), ("SUDO_USER", "ann")], 7), "ann@db-1");
        assert_eq!(of(&[("SUDO_USER", ""), ("LOGNAME", "bob")], 7), "bob@db-1");
        assert_eq!(of(&[("USER", "root"), ("CHANGEOVER_WHO", "deploy-bot #12")], 7), "deploy-bot #12");
        // As under a service manager, which sets no such variable.
        assert_eq!(of(&[], 7), "lp@db-1");
        assert_eq!(of(&[], 6), "uid-6@db-1");
        assert_eq!(of(&[], 1_000), "uid-1000@db-1");
    }
}
