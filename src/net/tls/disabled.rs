//! A build without TLS: creating any of these types fails, so none of their methods ever runs.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::marker::PhantomData;
use std::path::Path;

use crate::net::stream::Stream;
use crate::net::tls_config::{ClientTlsConfig, Fingerprint, ServerTlsConfig};
use crate::net::transport::Sent;
use crate::read_outcome::ReadOutcome;

const NO_TLS: &str = "this build does not support TLS; rebuild with: cargo build --features tls";

#[derive(Clone, Debug)]
pub(crate) struct ServerTls(Infallible);

impl ServerTls {
    pub(crate) fn read(_: &ServerTlsConfig) -> Result<Self, String> {
        Err(NO_TLS.to_owned())
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        match self.0 {}
    }

    pub(crate) fn key_file(&self) -> &Path {
        match self.0 {}
    }

    pub(crate) fn accept<S>(&self, _: S) -> io::Result<TlsStream<S>> {
        match self.0 {}
    }
}

#[derive(Clone, Debug)]
pub(crate) struct ClientTls(Infallible);

impl ClientTls {
    pub(crate) fn new(_: &str, _: &ClientTlsConfig) -> Result<Self, String> {
        Err(NO_TLS.to_owned())
    }

    pub(crate) fn connect<S>(&self, _: S) -> io::Result<TlsStream<S>> {
        match self.0 {}
    }
}

#[derive(Debug)]
pub(crate) struct TlsStream<S = Stream>(Infallible, PhantomData<S>);

impl<S> TlsStream<S> {
    pub(crate) fn socket_mut(&mut self) -> &mut S {
        match self.0 {}
    }

    pub(crate) fn is_handshake_complete(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn read<'a>(&mut self, _: &'a mut [u8]) -> (ReadOutcome<'a>, usize) {
        match self.0 {}
    }

    pub(crate) fn write(&mut self, _: &[IoSlice<'_>]) -> io::Result<Sent> {
        match self.0 {}
    }

    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        match self.0 {}
    }

    pub(crate) fn shutdown_write(&mut self) -> io::Result<bool> {
        match self.0 {}
    }
}
