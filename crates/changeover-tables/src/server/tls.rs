//! Who is taken for a server, and whose certificates are believed. Whatever is judged, the connection is encrypted, or there is
//! none.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Who is taken for the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Nobody is asked, and nothing is encrypted.
    Plain,
    /// Whoever answers.
    Anybody,
    /// Whoever has a certificate of a trusted authority, whatever its name.
    Authority,
    /// Who has one for the server's name.
    Name,
}

/// The authorities that are trusted: those of this file, which the URL's `parameter` names, or else those that this machine trusts.
///
/// # Errors
/// If there is no such file, or nobody is trusted.
pub(crate) fn authorities(
    file: Option<&Path>,
    parameter: &str,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let Some(file) = file else { return of_this_machine(parameter) };
    let told = |cause: String| format!("{parameter} {}: {cause}", file.display());
    let mut all = Vec::new();
    for one in CertificateDer::pem_file_iter(file).map_err(|error| told(error.to_string()))? {
        let one = one.map_err(|error| told(error.to_string()))?;
        RootCertStore::empty().add(one.clone()).map_err(|error| told(error.to_string()))?;
        all.push(one);
    }
    if all.is_empty() { Err(told("it has no certificate".to_owned())) } else { Ok(all) }
}

fn of_this_machine(parameter: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "a certificate of this machine's can't be read");
    }
    let sound = |one: &CertificateDer<'static>| RootCertStore::empty().add(one.clone()).is_ok();
    let all: Vec<_> = found.certs.into_iter().filter(sound).collect();
    if all.is_empty() {
        return Err(format!("this machine trusts no authority: name one by {parameter}=FILE"));
    }
    Ok(all)
}
