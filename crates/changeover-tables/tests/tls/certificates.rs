//! A certificate for `localhost`, and the authorities that did and didn't sign it, as files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

/// `right.pem` and `wrong.pem` are authorities, `server.pem` and `server.key` the server's.
pub(super) struct Certificates(TempDir);

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

impl Certificates {
    pub(super) fn new() -> Self {
        let (right, wrong) = (authority("right"), authority("wrong"));
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &right).unwrap();
        let folder = tempfile::tempdir().unwrap();
        // A server runs as somebody else.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for (file, pem) in [
            ("right.pem", right.pem()),
            ("wrong.pem", wrong.pem()),
            ("server.pem", certificate.pem()),
            ("server.key", key.serialize_pem()),
        ] {
            fs::write(folder.path().join(file), pem).unwrap();
        }
        Self(folder)
    }

    pub(super) fn folder(&self) -> String {
        self.0.path().display().to_string()
    }

    pub(super) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.path().join(file)).unwrap()
    }
}
