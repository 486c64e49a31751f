//! Where a MariaDB or MySQL server is, how it is known to be the right one, and who we are to it: from a URL, the environment
//! and the option file, as the servers' own clients have them.

use std::path::{Path, PathBuf};

use mysql_async::{Opts, OptsBuilder, SslOpts};

use super::option_file::client_of;
use crate::server::tls::{Trust, authorities};
use crate::server::url::{is_here, password_file, without_parameters};

/// What a URL comes to.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) opts: Opts,
    pub(super) database: String,
    /// Host or socket, and database, without user and password.
    pub(super) at: String,
}

/// The parameters that are ours, and those that the driver may have: it knows more, which say less than it looks like.
#[derive(Debug, Default)]
struct Parameters {
    mode: Option<String>,
    authority: Option<PathBuf>,
    server_name: Option<String>,
    socket: Option<String>,
}

const KNOWN: &str = "there are ssl-mode, ssl-ca, ssl-server-name, socket, compression and max_allowed_packet";

/// Reads a URL. A server that isn't on this machine has to show a certificate for its name that is trusted, unless `ssl-mode`
/// says otherwise; a password that the URL doesn't have is looked for as the servers' clients do.
///
/// # Errors
/// What isn't understood, without the password.
pub(super) fn target(url: &str) -> Result<Target, String> {
    let mut parameters = Parameters::default();
    let rest = without_parameters(url, |name, value| parameters.take(name, value))?;
    let opts = Opts::from_url(&with_host(&rest)).map_err(|error| error.to_string())?;
    let Some(database) = opts.db_name().filter(|name| !name.is_empty()).map(str::to_owned) else {
        return Err("it names no database".to_owned());
    };
    let host = opts.ip_or_hostname().trim_start_matches('[').trim_end_matches(']').to_owned();
    let at = match &parameters.socket {
        Some(socket) => format!("{socket}/{database}"),
        None => format!("{}:{}/{database}", opts.ip_or_hostname(), opts.tcp_port()),
    };
    let mut builder = OptsBuilder::from_opts(opts.clone())
        .socket(parameters.socket.clone())
        // The way that the URL names, and no other.
        .prefer_socket(false)
        .ssl_opts(parameters.tls(&host)?);
    let client = if opts.pass().is_none() { known_client(opts.user(), &host) } else { Client::default() };
    if opts.user().is_none() {
        builder = builder.user(client.user);
    }
    if opts.pass().is_none() {
        builder = builder.pass(client.password);
    }
    Ok(Target { opts: builder.into(), database, at })
}

impl Parameters {
    fn take(&mut self, name: &str, value: String) -> Result<bool, String> {
        match name {
            "ssl-mode" => self.mode = Some(value),
            "ssl-ca" => self.authority = Some(PathBuf::from(value)),
            "ssl-server-name" => self.server_name = Some(value),
            "socket" => self.socket = Some(value),
            "compression" | "max_allowed_packet" => return Ok(false),
            other => return Err(format!("the parameter {other} isn't known: {KNOWN}")),
        }
        Ok(true)
    }

    /// Who is taken for the server.
    fn trust(&self, host: &str) -> Result<Trust, String> {
        let Some(mode) = &self.mode else {
            let asks = self.authority.is_some() || self.server_name.is_some();
            let here = (self.socket.is_some() || is_here(host)) && !asks;
            return Ok(if here { Trust::Plain } else { Trust::Name });
        };
        match mode.to_ascii_uppercase().as_str() {
            "VERIFY_IDENTITY" => Ok(Trust::Name),
            "REQUIRED" => Ok(Trust::Anybody),
            "DISABLED" => Ok(Trust::Plain),
            "VERIFY_CA" => Err("ssl-mode=VERIFY_CA isn't to be had: the driver asks for the name too. Say ssl-mode=VERIFY_IDENTITY, \
                 and ssl-server-name=NAME where the server's certificate has another name than the URL"
                .to_owned()),
            "PREFERRED" => Err("ssl-mode=PREFERRED leaves it to whoever answers whether anything is encrypted: say VERIFY_IDENTITY, \
                 REQUIRED or DISABLED"
                .to_owned()),
            _ => Err(format!(
                "ssl-mode={mode} isn't known: there are VERIFY_IDENTITY (the default for servers elsewhere), REQUIRED, which \
                 encrypts and trusts anybody, and DISABLED"
            )),
        }
    }

    fn tls(&self, host: &str) -> Result<Option<SslOpts>, String> {
        let trust = self.trust(host)?;
        if self.socket.is_some() && trust != Trust::Plain {
            return Err("a socket's bytes stay on this machine, and aren't encrypted: leave out ssl-mode, ssl-ca and \
                        ssl-server-name"
                .to_owned());
        }
        if trust != Trust::Name && (self.authority.is_some() || self.server_name.is_some()) {
            return Err("ssl-ca and ssl-server-name say whom to trust, and nobody is asked: say ssl-mode=VERIFY_IDENTITY".to_owned());
        }
        match trust {
            Trust::Plain => Ok(None),
            Trust::Name => {
                named_provider();
                let name = self.server_name.clone().unwrap_or_else(|| host.to_owned());
                Ok(Some(trusting(self.authority.as_deref())?.with_danger_tls_hostname_override(Some(name))))
            }
            Trust::Anybody | Trust::Authority => {
                named_provider();
                let name = host.to_owned();
                let anybody = SslOpts::default().with_danger_accept_invalid_certs(true);
                Ok(Some(anybody.with_danger_tls_hostname_override(Some(name))))
            }
        }
    }
}

/// Believes these authorities, and no others that a driver has with it.
fn trusting(file: Option<&Path>) -> Result<SslOpts, String> {
    let roots = authorities(file, "ssl-ca")?.into_iter().map(|one| one.to_vec().into()).collect();
    Ok(SslOpts::default().with_disable_built_in_roots(true).with_root_certs(roots))
}

/// The driver takes the process's own choice of cryptography. Where nobody has chosen, it is ours.
fn named_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error says that somebody was faster: then it is theirs.
        drop(rustls::crypto::ring::default_provider().install_default());
    }
}

/// The driver wants a host, also where a socket is meant.
fn with_host(url: &str) -> String {
    let url = url.strip_prefix("mariadb://").map_or_else(|| url.to_owned(), |rest| format!("mysql://{rest}"));
    match url.strip_prefix("mysql:///") {
        Some(rest) => format!("mysql://localhost/{rest}"),
        None => url.replacen("@/", "@localhost/", 1),
    }
}

/// What the environment and the option file say of a client.
#[derive(Default)]
pub(super) struct Client {
    pub(super) host: Option<String>,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
}

/// By `MYSQL_PWD`, or else `~/.my.cnf`; what that has for another host or user isn't used.
fn known_client(user: Option<&str>, host: &str) -> Client {
    if let Ok(password) = std::env::var("MYSQL_PWD") {
        return Client { password: Some(password), ..Client::default() };
    }
    let file = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".my.cnf"));
    let Some(text) = file.and_then(|file| password_file(&file)) else { return Client::default() };
    let client = client_of(&text);
    let is_other = |said: &Option<String>, is: &str| said.as_ref().is_some_and(|said| said != is);
    let for_other = is_other(&client.host, host) || user.is_some_and(|user| is_other(&client.user, user));
    if for_other { Client::default() } else { client }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust(url: &str) -> Trust {
        let mut parameters = Parameters::default();
        let rest = without_parameters(url, |name, value| parameters.take(name, value)).unwrap();
        let opts = Opts::from_url(&with_host(&rest)).unwrap();
        parameters.trust(opts.ip_or_hostname()).unwrap()
    }

    #[test]
    fn a_server_elsewhere_has_to_prove_who_it_is_unless_the_url_says_otherwise() {
        for url in ["mysql://u@db.example.org/x", "mariadb://u@10.0.0.1:3307/x?compression=fast"] {
            assert_eq!(trust(url), Trust::Name, "{url}");
        }
        for url in [
            "mysql://u@localhost/x",
            "mysql://u@127.0.0.1:3307/x",
            "mysql://u@[::1]/x",
            "mysql:///x?socket=/run/mysqld/mysqld.sock",
            "mysql://u@/x?socket=%2frun%2fmysqld.sock",
        ] {
            assert_eq!(trust(url), Trust::Plain, "{url}");
        }
        assert_eq!(trust("mysql://u@localhost/x?ssl-mode=verify_identity"), Trust::Name);
        assert_eq!(
            trust("mysql://u@localhost/x?ssl-ca=a.pem"),
            Trust::Name,
            "who names an authority wants it asked"
        );
        assert_eq!(trust("mysql://u@db/x?ssl-mode=REQUIRED"), Trust::Anybody);
        assert_eq!(trust("mysql://u@db/x?ssl-mode=DISABLED"), Trust::Plain);
    }

    #[test]
    fn what_would_be_less_safe_than_it_looks_is_refused_and_the_password_never_shown() {
        for (parameters, told) in [
            ("ssl-mode=PREFERRED", "whoever answers"),
            ("ssl-mode=VERIFY_CA", "ssl-server-name"),
            ("ssl-mode=allow", "VERIFY_IDENTITY"),
            ("require_ssl=true&verify_ca=false", "require_ssl"),
            ("enable_cleartext_plugin=true", "enable_cleartext_plugin"),
            ("ssl-mode=REQUIRED&ssl-ca=/a.pem", "nobody is asked"),
            ("ssl-ca=/no/such%2ffile", "/no/such/file"),
            ("socket=/run/mysqld.sock&ssl-mode=REQUIRED", "socket"),
        ] {
            let error = target(&format!("mysql://u:s3cret@db/x?{parameters}")).unwrap_err();
            assert!(error.contains(told) && !error.contains("s3cret"), "{parameters}: {error}");
        }
        assert!(target("mysql://u:s3cret@db").unwrap_err().contains("no database"));
    }
}
