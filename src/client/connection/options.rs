//! Where to go, and how.

use std::path::PathBuf;
use std::time::Duration;

use crate::client::connection::address::ServerAddress;
use crate::net::tls_config::ClientTlsConfig;

/// When nothing was heard for this part of the timeout, a server that one stays with is asked whether
/// it is there. It also shows a server that ends idle connections that this one is alive.
const SILENCE_BEFORE_PING: u32 = 4;

/// How to come to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectOptions {
    /// Where it is.
    pub server: ServerAddress,
    /// What to be called there: a well-formed name. Later, what the server has confirmed last.
    pub name: Option<String>,
    /// The file with the secret that it asks for.
    pub secret_file: Option<PathBuf>,
    /// How to encrypt the connection, if it is to be.
    pub tls: Option<ClientTlsConfig>,
    /// Whether the secret may go over a network in the clear.
    pub insecure: bool,
    /// How long to wait for an answer before the connection counts as lost.
    pub timeout: Duration,
    /// Whether to come back when the connection is lost, and to keep it alive.
    pub reconnect: bool,
}

impl ConnectOptions {
    /// How long the server may be silent before it is asked whether it is there.
    pub(crate) fn silence_before_ping(&self) -> Duration {
        self.timeout / SILENCE_BEFORE_PING
    }
}
