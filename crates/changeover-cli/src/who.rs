//! Who gives a command, for the audit: the person behind `sudo` too, and the machine.

use std::ffi::OsString;

/// Who gives this command, as in `ann@db-admin-1`. `CHANGEOVER_WHO` says it in a script or a bot.
pub(crate) fn who() -> String {
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    name(|variable| std::env::var_os(variable), rustix::process::getuid().as_raw(), &machine)
}

fn name(variable: impl Fn(&str) -> Option<OsString>, uid: u32, machine: &str) -> String {
    let set = |name| {
        let text = variable(name)?.to_string_lossy().trim().to_owned();
        (!text.is_empty()).then_some(text)
    };
    if let Some(said) = set("CHANGEOVER_WHO") {
        return said;
    }
    let user = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(set);
    let user = user.unwrap_or_else(|| format!("uid-{uid}"));
    if machine.is_empty() { user } else { format!("{user}@{machine}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_person_behind_sudo_is_named() {
        let of = |given: &[(&str, &str)]| {
            let find = |name: &str| given.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).into());
            name(find, 7, "db-1")
        };
        assert_eq!(of(&[("USER", "root"), ("SUDO_USER", "ann")]), "ann@db-1");
        assert_eq!(of(&[("SUDO_USER", ""), ("LOGNAME", "bob")]), "bob@db-1");
        assert_eq!(of(&[("USER", "root"), ("CHANGEOVER_WHO", "deploy-bot #12")]), "deploy-bot #12");
        assert_eq!(of(&[]), "uid-7@db-1");
    }
}
