//! TLS with rustls. ring is the only cryptography provider in the build, so rustls selects it.

mod certificates;
mod client;
mod error;
mod self_signed;
mod server;
mod stream;

pub(crate) use client::ClientTls;
pub(crate) use server::ServerTls;
