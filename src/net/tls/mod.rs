//! TLS 1.2 and 1.3, for the server and the client: certificates, the handshake, and encrypted
//! streams.
//!
//! Only `enabled` uses rustls. In a build without the feature `tls`, `disabled` has the same types,
//! whose constructors fail.

#[cfg(not(feature = "tls"))]
mod disabled;
#[cfg(feature = "tls")]
mod enabled;

#[cfg(not(feature = "tls"))]
pub(crate) use disabled::{ClientTls, ServerTls};
#[cfg(feature = "tls")]
pub(crate) use enabled::{ClientTls, ServerTls};

#[cfg(all(feature = "tls", test))]
pub(crate) use enabled::every_failure;
