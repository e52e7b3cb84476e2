//! A build without TLS: the constructors return an error, so no other method can be called.

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::credentials::file::Files;
use crate::net::stream::Socket;
use crate::net::tls_config::{ClientTlsConfig, Fingerprint, ServerTlsConfig};
use crate::net::transport::Transport;

const NO_TLS: &str = "this build does not support TLS; rebuild with: cargo build --features tls";

#[derive(Clone, Debug)]
pub(crate) struct ServerTls {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) key_file: PathBuf,
    pub(crate) renewal: Option<String>,
    never: Infallible,
}

impl ServerTls {
    pub(crate) fn read(_: &ServerTlsConfig, _: &mut Files) -> Result<Self, String> {
        Err(NO_TLS.to_owned())
    }

    pub(crate) fn warnings(&self, _: SystemTime) -> Vec<String> {
        match self.never {}
    }

    pub(crate) fn accept<S: Socket>(&self, _: S) -> io::Result<Box<dyn Transport<S>>> {
        match self.never {}
    }
}

#[derive(Clone, Debug)]
pub(crate) struct ClientTls(Infallible);

impl ClientTls {
    pub(crate) fn new(_: &str, _: &ClientTlsConfig, _: &mut Files) -> Result<Self, String> {
        Err(NO_TLS.to_owned())
    }

    pub(crate) fn pin(&mut self, _: Fingerprint) {
        match self.0 {}
    }

    pub(crate) fn connect<S: Socket>(&self, _: S) -> io::Result<Box<dyn Transport<S>>> {
        match self.0 {}
    }
}
