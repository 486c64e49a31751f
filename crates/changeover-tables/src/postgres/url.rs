//! Where a PostgreSQL server is, how it is known to be the right one, and who we are to it: from a URL, the environment and the
//! password file, as `libpq` has them.

use std::path::PathBuf;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::tls::Tls;
use crate::server::tls::Trust;
use crate::server::url::{password_file, without_parameters};

/// What a URL comes to.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) config: Config,
    pub(super) tls: Tls,
}

/// Reads a URL. A server that isn't on this machine has to show a certificate for its name that is trusted, unless `sslmode`
/// says otherwise; a password that the URL doesn't have is looked for as `libpq` does.
///
/// # Errors
/// What isn't understood, without the password.
pub(super) fn target(url: &str) -> Result<Target, String> {
    let (mut mode, mut root) = (None, None);
    let rest = without_parameters(url, |name, value| {
        match name {
            "sslmode" => mode = Some(value),
            "sslrootcert" => root = Some(PathBuf::from(value)),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let mut config: Config = rest.parse().map_err(|error: tokio_postgres::Error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("{error}{cause}")
    })?;
    let trust = match mode.as_deref() {
        None if is_here(&config) => Trust::Plain,
        None | Some("verify-full") => Trust::Name,
        Some("verify-ca") => Trust::Authority,
        Some("require") => Trust::Anybody,
        Some("disable") => Trust::Plain,
        Some(other) => {
            return Err(format!(
                "sslmode={other} isn't known: there are verify-full (the default for servers elsewhere), verify-ca, require, \
                 which encrypts and trusts anybody, and disable"
            ));
        }
    };
    config.ssl_mode(if trust == Trust::Plain { SslMode::Disable } else { SslMode::Require });
    // For whoever looks at the server's sessions.
    if config.get_application_name().is_none() {
        config.application_name("changeover");
    }
    if config.get_password().is_none()
        && let Some(password) = password_of(&config)
    {
        config.password(password);
    }
    Ok(Target { tls: Tls::new(trust, root.as_deref())?, config })
}

/// Whether the server is on this machine: by a socket, or a loopback address.
fn is_here(config: &Config) -> bool {
    let here = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => crate::server::url::is_here(name),
    };
    config.get_hosts().iter().all(here)
}

/// The password from the environment or the password file.
fn password_of(config: &Config) -> Option<String> {
    if let Ok(password) = std::env::var("PGPASSWORD") {
        return Some(password);
    }
    let file = std::env::var_os("PGPASSFILE").map(PathBuf::from);
    let file = file.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".pgpass")))?;
    let text = password_file(&file)?;
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "localhost".to_owned(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432).to_string();
    let user = config.get_user().unwrap_or_default();
    let database = config.get_dbname().unwrap_or(user);
    in_file(&text, [&host, &port, database, user])
}

/// The first line of a password file whose four fields are these, or `*`; a backslash takes what follows it as it is.
fn in_file(text: &str, wanted: [&str; 4]) -> Option<String> {
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut fields = fields(line);
        let fits =
            fields.len() == 5 && fields.iter().zip(wanted).all(|(field, is)| field == "*" || field == is);
        if fits { fields.pop() } else { None }
    })
}

fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            // The password is the rest of the line, its colons too.
            ':' if fields.len() < 5 => fields.push(String::new()),
            '\\' => fields.last_mut().into_iter().for_each(|field| field.extend(chars.next())),
            c => fields.last_mut().into_iter().for_each(|field| field.push(c)),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_elsewhere_has_to_prove_who_it_is_unless_the_url_says_otherwise() {
        let trust = |url: &str| target(url).unwrap().tls.trust;
        for url in ["postgres://u@db.example.org/x", "postgres://u@10.0.0.1/x?application_name=a"] {
            assert_eq!(trust(url), Trust::Name, "{url}");
        }
        for url in [
            "postgres://u@localhost/x",
            "postgres://u@127.0.0.1:5433/x",
            "postgres:///x?host=/run/postgresql",
        ] {
            assert_eq!(trust(url), Trust::Plain, "{url}");
        }
        assert_eq!(trust("postgres://u@localhost/x?sslmode=verify-full"), Trust::Name);
        assert_eq!(trust("postgres://u@db/x?sslmode=require&application_name=a"), Trust::Anybody);
        assert_eq!(trust("postgres://u@db/x?sslmode=disable"), Trust::Plain);
        let error = target("postgres://u:s3cret@db/x?sslmode=allow").unwrap_err();
        assert!(error.contains("verify-full") && !error.contains("s3cret"), "{error}");
        let error = target("postgres://u:s3cret@db/x?sslrotcert=a").unwrap_err();
        assert!(error.contains("sslrotcert") && !error.contains("s3cret"), "{error}");
        let error = target("postgres://u@db/x?sslrootcert=/no/such%2ffile").unwrap_err();
        assert!(error.contains("/no/such/file"), "{error}");
    }

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        let file = "# a:b:c:d:no\nother:*:*:app:no\ndb\\:1:5432:x:app:s\\\\e:c\n*:*:*:*:last\n";
        assert_eq!(in_file(file, ["db:1", "5432", "x", "app"]), Some("s\\e:c".to_owned()));
        assert_eq!(in_file(file, ["db", "5432", "x", "app"]), Some("last".to_owned()));
        assert_eq!(in_file("db:5432:x:app", ["db", "5432", "x", "app"]), None);
    }
}
