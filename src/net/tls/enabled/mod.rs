//! TLS with rustls, and the cryptography of ring.

mod alerts;
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
mod wording;

pub(crate) use client::ClientTls;
#[cfg(test)]
pub(crate) use error::every_failure;
pub(crate) use server::ServerTls;
