//! Connections: TCP and Unix sockets, plain or encrypted with TLS, and signals as poll events.

pub(crate) mod signals;
pub mod stream;
#[cfg(feature = "tls")]
pub(crate) mod tls;
#[cfg(not(feature = "tls"))]
#[path = "tls/disabled.rs"]
pub(crate) mod tls;
pub mod tls_config;
pub(crate) mod transport;
