//! Connections over TCP and Unix sockets, plain or encrypted with TLS. Also signals as poll events.

pub(crate) mod address;
pub(crate) mod address_guess;
pub mod listen_address;
pub(crate) mod signals;
pub mod stream;
pub(crate) mod tls;
pub mod tls_config;
pub(crate) mod transport;
