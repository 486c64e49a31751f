//! The option file of the servers' own clients, `~/.my.cnf`: what its group `[client]` says of us.

use super::url::Client;

/// Host, user and password of the group `[client]`; the last word on each counts.
pub(super) fn client_of(text: &str) -> Client {
    let (mut client, mut ours) = (Client::default(), false);
    for line in text.lines().map(str::trim) {
        if let Some(group) = line.strip_prefix('[') {
            ours =
                matches!(group.trim_end_matches(']').trim(), "client" | "client-mariadb" | "client-server");
            continue;
        }
        let Some((name, said)) = line.split_once('=').filter(|_| ours && !line.starts_with(['#', ';']))
        else {
            continue;
        };
        let said = Some(value(said.trim()));
        match name.trim() {
            "host" => client.host = said,
            "user" => client.user = said,
            "password" => client.password = said,
            _ => {}
        }
    }
    client
}

/// A value as it is meant: what stands in quotes, or all up to a comment; with the escapes that the clients know.
fn value(said: &str) -> String {
    let quoted = ['"', '\''].into_iter().find_map(|quote| {
        let rest = said.strip_prefix(quote)?;
        rest.rfind(quote).map(|end| &rest[..end])
    });
    let plain = quoted.unwrap_or_else(|| said.split(" #").next().unwrap_or(said).trim_end());
    let mut text = String::with_capacity(plain.len());
    let mut chars = plain.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('b') => text.push('\u{8}'),
                Some('t') => text.push('\t'),
                Some('n') => text.push('\n'),
                Some('r') => text.push('\r'),
                Some('s') => text.push(' '),
                Some(c @ ('\\' | '"' | '\'')) => text.push(c),
                // What is no escape stays as it stands.
                Some(other) => text.extend(['\\', other]),
                None => text.push('\\'),
            },
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_group_says_who_we_are() {
        let text = "[mysqld]\npassword=no\nuser = mysql\n\n[client]\n# password=no\nuser = app\npassword = \"a#b\\\\ c\" # why\n\
                    host=db.example.org\n[mysqldump]\npassword=no\n";
        let client = client_of(text);
        assert_eq!(client.password.as_deref(), Some("a#b\\ c"));
        assert_eq!((client.user.as_deref(), client.host.as_deref()), (Some("app"), Some("db.example.org")));
        assert_eq!(client_of("[client]\npassword=a\\sb=c # why").password.as_deref(), Some("a b=c"));
        assert!(client_of("password=no").password.is_none());
    }
}
