//! What there is instead of TLS, in a build without it: types of which there are no values.

use std::io::{self, IoSlice};
use std::path::Path;

use crate::net::stream::Stream;
use crate::net::tls_config::{ClientTrust, Fingerprint, ServerTrust};
use crate::net::transport::Sent;
use crate::read_outcome::ReadOutcome;

const WITHOUT: &str =
    "this program was built without tls; build it with: cargo build --features tls";

#[derive(Clone, Debug)]
pub(crate) enum ServerTls {}

impl ServerTls {
    pub(crate) fn read(_: &ServerTrust) -> Result<Self, String> {
        Err(WITHOUT.to_owned())
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        match *self {}
    }

    pub(crate) fn key_file(&self) -> &Path {
        match *self {}
    }

    pub(crate) fn accept(&self, _: Stream) -> io::Result<TlsStream> {
        match *self {}
    }
}

#[derive(Clone, Debug)]
pub(crate) enum ClientTls {}

impl ClientTls {
    pub(crate) fn new(_: &str, _: &ClientTrust) -> Result<Self, String> {
        Err(WITHOUT.to_owned())
    }

    pub(crate) fn connect(&self, _: Stream) -> io::Result<TlsStream> {
        match *self {}
    }
}

#[derive(Debug)]
pub(crate) enum TlsStream {}

impl TlsStream {
    pub(crate) fn stream_mut(&mut self) -> &mut Stream {
        match *self {}
    }

    pub(crate) fn is_established(&self) -> bool {
        match *self {}
    }

    pub(crate) fn read<'a>(&mut self, _: &'a mut [u8]) -> ReadOutcome<'a> {
        match *self {}
    }

    pub(crate) fn take_overhead(&mut self) -> usize {
        match *self {}
    }

    pub(crate) fn write(&mut self, _: &[IoSlice<'_>]) -> io::Result<Sent> {
        match *self {}
    }

    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        match *self {}
    }

    pub(crate) fn finish(&mut self) -> io::Result<bool> {
        match *self {}
    }
}
