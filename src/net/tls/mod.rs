//! TLS 1.2 and 1.3, for the server and the client: certificates, the handshake, and encrypted
//! streams.
//!
//! Only `enabled` knows rustls. A build without the feature `tls` has the same types in `disabled`,
//! of which no value can be made.

#[cfg(not(feature = "tls"))]
mod disabled;
#[cfg(feature = "tls")]
mod enabled;

#[cfg(not(feature = "tls"))]
pub(crate) use disabled::{ClientTls, ServerTls};
#[cfg(feature = "tls")]
pub(crate) use enabled::{ClientTls, ServerTls};
