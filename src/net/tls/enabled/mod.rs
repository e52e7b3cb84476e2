//! TLS by rustls, with ring for the cryptography.

mod certificates;
mod client;
mod error;
mod self_signed;
mod server;
mod stream;

pub(crate) use client::ClientTls;
pub(crate) use server::ServerTls;
pub(crate) use stream::TlsStream;
