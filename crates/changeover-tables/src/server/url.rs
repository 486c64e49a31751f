//! What the URLs of servers have in common: their parameters, whether the server is on this machine, and files of passwords.

use std::net::IpAddr;
use std::path::Path;

/// Takes a URL's parameters apart from the rest: each is offered, decoded, to `ours`, and those that it doesn't know stay where
/// they were.
///
/// # Errors
/// What `ours` says, or that a parameter isn't encoded as it should be.
pub(crate) fn without_parameters(
    url: &str,
    mut ours: impl FnMut(&str, String) -> Result<bool, String>,
) -> Result<String, String> {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let mut others = Vec::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let known = match part.split_once('=') {
            Some((name, value)) => ours(name, decoded(value).map_err(|cause| format!("{name}: {cause}"))?)?,
            None => false,
        };
        if !known {
            others.push(part);
        }
    }
    Ok(if others.is_empty() { base.to_owned() } else { format!("{base}?{}", others.join("&")) })
}

/// A percent-encoded text.
fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next(), rest.next()].map(|c| c.and_then(|c| char::from(c).to_digit(16)));
        let [Some(high), Some(low)] = digits else { return Err("a % that begins no byte".to_owned()) };
        bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
    }
    String::from_utf8(bytes).map_err(|_| "bytes that are no UTF-8".to_owned())
}

/// Whether a host is this machine: nobody is between us and it.
pub(crate) fn is_here(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// A file that may have a password, unless others may read it: then it isn't used, and that is told.
pub(crate) fn password_file(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    if others_may_read(file) {
        tracing::warn!(file = %file.display(), "the password file isn't used: others may read it; chmod 0600 it");
        return None;
    }
    Some(text)
}

#[cfg(unix)]
fn others_may_read(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn others_may_read(_: &Path) -> bool {
    false
}
