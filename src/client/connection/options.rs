//! How to connect to the server.

use std::path::PathBuf;
use std::time::Duration;

use crate::client::connection::address::ServerAddress;
use crate::net::tls_config::ClientTlsConfig;

/// The options of every command that connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectOptions {
    /// The server's address.
    pub server: ServerAddress,
    /// The name to take there. It must be well-formed.
    pub name: Option<String>,
    /// The file with the secret to authenticate with.
    pub secret_file: Option<PathBuf>,
    /// How to set up TLS; `None` connects without it.
    pub tls: Option<ClientTlsConfig>,
    /// Whether the secret may be sent over a network without TLS.
    pub insecure: bool,
    /// How long to wait for a reply before the connection counts as lost.
    pub timeout: Duration,
    /// Whether to keep the connection alive, and to reconnect when it is lost.
    pub reconnect: bool,
}
