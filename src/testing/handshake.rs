//! The property that the fuzz target `tls` checks.

use std::sync::OnceLock;

use super::faulty_socket::{FaultySocket, Random};
use crate::net::tls::ServerTls;
use crate::net::tls_config::{Identity, ServerTlsConfig};
use crate::read_outcome::ReadOutcome;

/// Checks that arbitrary bytes from a peer never complete a handshake, and never keep the server
/// busy for long. The first byte is the seed for the socket's faults.
pub fn never_completes(data: &[u8]) {
    static TLS: OnceLock<ServerTls> = OnceLock::new();
    let tls = TLS.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("oyez-testing-{}", std::process::id()));
        let identity = Identity::SelfSigned { folder: folder.clone() };
        let tls = ServerTls::read(&ServerTlsConfig { identity, client_ca: None });
        let _ = std::fs::remove_dir_all(folder);
        tls.expect("a certificate can be created")
    });
    let Some((seed, data)) = data.split_first() else { return };
    let ([socket, _peer], pipes) = FaultySocket::pair(&Random::new((*seed).into()));
    pipes[0].borrow_mut().bytes.extend(data);
    pipes[0].borrow_mut().is_ended = true;
    let mut connection = tls.accept(socket).expect("a connection");
    let mut buffer = [0; 4096];
    for turn in 0.. {
        assert!(turn < 10_000 + 100 * data.len(), "reading does not end");
        match connection.read(&mut buffer).0 {
            ReadOutcome::Data(_) => panic!("data without a handshake"),
            ReadOutcome::Eof | ReadOutcome::Truncated | ReadOutcome::Failed(_) => break,
            _ => {}
        }
        assert!(!connection.is_handshake_complete(), "arbitrary bytes completed the handshake");
        // Discard the server's output, so that its buffer never fills.
        pipes[1].borrow_mut().bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn committed_corpus_never_completes_a_handshake() {
        crate::testing::replay_corpus("tls", super::never_completes);
    }
}
