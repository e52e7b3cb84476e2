//! The connection options.

use std::path::PathBuf;
use std::time::Duration;

use crate::client::connection::address::ServerAddress;
use crate::net::tls_config::ClientTlsConfig;

/// How to connect to the server. All commands share these options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectOptions {
    /// The server's address.
    pub server: ServerAddress,
    /// The name to request. It must be valid.
    pub name: Option<String>,
    /// Whether to continue without the name if the server refuses it. The chat always does.
    pub is_name_optional: bool,
    /// The file that contains the secret for authentication.
    pub secret_file: Option<PathBuf>,
    /// The TLS settings. `None` disables TLS.
    pub tls: Option<ClientTlsConfig>,
    /// The file of the certificates that the user has accepted. `None` if the user has no home
    /// directory.
    pub known_servers: Option<PathBuf>,
    /// Whether the secret may be sent over a network without TLS.
    pub insecure: bool,
    /// The maximum time to wait for a reply. After that, the connection counts as lost.
    pub timeout: Duration,
    /// Whether to send keep-alives, and to reconnect when the connection is lost.
    pub reconnect: bool,
    /// Whether to retry until the first connection succeeds, unless the failure is permanent.
    pub wait: bool,
}
