//! Test certificates and TLS client connections.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    date_time_ymd,
};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::TIMEOUT;

/// A certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Creates an authority and writes its certificate to `file`.
    pub fn new(file: &Path) -> Self {
        let mut parameters = CertificateParams::new([]).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // A verifier looks up the issuer by name, so each authority needs a unique one.
        parameters.distinguished_name.push(DnType::CommonName, file.to_str().unwrap());
        let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap());
        let issuer = issuer.unwrap();
        fs::write(file, issuer.pem()).unwrap();
        Self(issuer)
    }

    /// Issues a certificate for a host name. Writes the certificate and its key to these files.
    pub fn issue(&self, name: &str, certificate: &Path, key: &Path) {
        self.issue_until(name, 4000, certificate, key);
    }

    /// Like `issue`, but the certificate expires on January 1 of `year`.
    pub fn issue_until(&self, name: &str, year: i32, certificate: &Path, key: &Path) {
        let mut parameters = CertificateParams::new([name.to_owned()]).unwrap();
        parameters.not_after = date_time_ymd(year, 1, 1);
        let pair = KeyPair::generate().unwrap();
        fs::write(certificate, parameters.signed_by(&pair, &self.0).unwrap().pem()).unwrap();
        fs::write(key, pair.serialize_pem()).unwrap();
    }
}

/// Writes a self-signed certificate that is also an authority's, as `openssl req -x509` creates it,
/// and its key. It expires on January 1 of `year`.
pub fn self_sign(name: &str, year: i32, certificate: &Path, key: &Path) {
    self_sign_as("somebody", name, year, certificate, key);
}

/// Like `self_sign`, with this common name as the subject and issuer.
pub fn self_sign_as(subject: &str, name: &str, year: i32, certificate: &Path, key: &Path) {
    let mut parameters = CertificateParams::new([name.to_owned()]).unwrap();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, subject);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.not_after = date_time_ymd(year, 1, 1);
    let pair = KeyPair::generate().unwrap();
    fs::write(certificate, parameters.self_signed(&pair).unwrap().pem()).unwrap();
    fs::write(key, pair.serialize_pem()).unwrap();
    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
}

pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// Wraps a connection to `localhost` in TLS. The only trusted authority is the certificate in the
/// file `roots`. The first read or write performs the handshake.
pub fn connect(stream: TcpStream, roots: &Path) -> TlsStream {
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.set_write_timeout(Some(TIMEOUT)).unwrap();
    let mut store = RootCertStore::empty();
    store.add(CertificateDer::from_pem_file(roots).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
}
