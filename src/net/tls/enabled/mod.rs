//! TLS by rustls. ring is the only provider of cryptography in the build, so rustls selects it.

mod certificate_error;
mod certificates;
mod client;
mod error;
mod expiry;
mod file_kind;
mod key;
mod oid;
mod self_signed;
mod server;
mod stream;
mod trust;
mod validity;

pub(crate) use client::ClientTls;
pub(crate) use server::ServerTls;
