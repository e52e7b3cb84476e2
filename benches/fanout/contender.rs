//! The servers to compare, and how to start them.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

use crate::machine::{self, Cores};
use crate::protocol::Protocol;
use crate::workload::Shape;

/// Names of the contenders that the report treats specially.
pub(crate) const OYEZD: &str = "oyezd";
pub(crate) const BASELINE: &str = "baseline";
pub(crate) const BASELINE_AGAIN: &str = "baseline again";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Oyezd,
    Relay,
    Redis,
    Nats,
    Mosquitto,
    Ngircd,
    Ncat,
}

use Kind::{Mosquitto, Nats, Ncat, Ngircd, Oyezd, Redis, Relay};

/// A server to measure.
#[derive(Debug)]
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    kind: Kind,
    program: PathBuf,
}

impl Contender {
    /// All contenders except the baseline.
    pub(crate) fn all() -> [Self; 7] {
        // The relay is part of this program: see `--relay` in main.rs.
        let relay = std::env::current_exe().unwrap_or_default();
        [
            (OYEZD, Oyezd, env!("CARGO_BIN_EXE_oyezd").into()),
            ("bare relay", Relay, relay),
            ("Redis", Redis, "redis-server".into()),
            ("NATS", Nats, "nats-server".into()),
            ("mosquitto", Mosquitto, "mosquitto".into()),
            ("ngircd", Ngircd, "ngircd".into()),
            ("ncat --broker", Ncat, "ncat".into()),
        ]
        .map(|(name, kind, program)| Self { name, kind, program })
    }

    /// Another build of oyezd, twice. The difference between two measurements of the same binary is
    /// the noise.
    pub(crate) fn baselines(program: &Path) -> [Self; 2] {
        [BASELINE, BASELINE_AGAIN].map(|name| Self { name, kind: Oyezd, program: program.into() })
    }

    pub(crate) fn is_oyezd(&self) -> bool {
        self.kind == Oyezd
    }

    pub(crate) fn protocol(&self) -> Protocol {
        match self.kind {
            Oyezd => Protocol::Oyez,
            Relay | Ncat => Protocol::Raw,
            Redis => Protocol::Redis,
            Nats => Protocol::Nats,
            Mosquitto => Protocol::Mqtt,
            Ngircd => Protocol::Irc,
        }
    }

    /// Returns whether the server handles this load correctly, and in reasonable time.
    pub(crate) fn supports(&self, shape: Shape, tls: bool) -> bool {
        let Shape { publishers, size, window, .. } = shape;
        let clients = shape.max_clients();
        match self.kind {
            Oyezd => true,
            // The relay forwards bytes without splitting them into lines. If much input is
            // pending, a read may end inside a line, and another publisher's line follows.
            Relay => !tls && (publishers == 1 || window <= 4),
            Redis => !tls && clients <= 2000,
            Nats => clients <= 2000,
            Mosquitto => clients <= 500,
            // An IRC line has at most 512 bytes. With 1000 clients, ngircd disconnects some of them
            // under this load.
            Ngircd => !tls && size <= 400 && clients <= 500,
            // Ncat uses select(2), which limits the number of clients, and does not split lines
            // either.
            Ncat => !tls && clients <= 500 && (publishers == 1 || window <= 4),
        }
    }

    pub(crate) fn is_installed(&self) -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
        // Joining an absolute path yields that path.
        folders.map(|folder| folder.join(&self.program)).any(|file| file.is_file())
    }

    /// Returns the command that starts the server on a loopback port.
    fn command(&self, port: u16, clients: usize, tls: Option<&Tls>, folder: &Path) -> Command {
        let mut command = Command::new(&self.program);
        let max_clients = (clients + 100).to_string();
        let file = folder.join("configuration");
        let configure =
            |text: String| fs::write(&file, text).expect("a new temporary directory is writable");
        match self.kind {
            Oyezd => {
                command.args(["--log-level", "warn", "--max-clients", &max_clients]);
                let address = format!("127.0.0.1:{port}");
                match tls {
                    None => command.args(["--listen", &address]),
                    Some(tls) => command
                        .args(["--listen-tls", &address, "--tls-cert"])
                        .arg(&tls.certificate)
                        .arg("--tls-key")
                        .arg(&tls.key),
                };
            }
            Relay => {
                command.args(["--relay", &port.to_string()]);
            }
            Redis => {
                command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
                command.args(["--save", "", "--appendonly", "no", "--maxclients", &max_clients]);
            }
            Nats => {
                command.args(["--addr", "127.0.0.1", "--port", &port.to_string()]);
                if let Some(tls) = tls {
                    command.arg("--tls").arg("--tlscert").arg(&tls.certificate);
                    command.arg("--tlskey").arg(&tls.key);
                }
            }
            Mosquitto => {
                let tls = tls.map_or(String::new(), |tls| {
                    let (certificate, key) = (tls.certificate.display(), tls.key.display());
                    format!("certfile {certificate}\nkeyfile {key}\n")
                });
                configure(format!(
                    "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n\
                     user root\nlog_type error\nmax_queued_messages 100000\n\
                     max_queued_bytes 0\n{tls}"
                ));
                command.arg("-c").arg(&file);
            }
            Ngircd => {
                configure(format!(
                    "[Global]\nName = irc.example.net\nInfo = x\n\
                     Listen = 127.0.0.1\nPorts = {port}\n\
                     [Limits]\nMaxConnections = 0\nMaxConnectionsIP = 0\nMaxPenaltyTime = 0\n\
                     [Options]\nDNS = no\nIdent = no\nPAM = no\n"
                ));
                command.args(["--nodaemon", "--config"]).arg(&file);
            }
            Ncat => {
                command.args(["--listen", "127.0.0.1", &port.to_string(), "--broker"]);
                command.args(["--max-conns", &max_clients]);
            }
        }
        command
    }
}

/// A self-signed certificate for the loopback address, and a client configuration that trusts it.
pub(crate) struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    pub(crate) client: Arc<ClientConfig>,
    _folder: TempDir,
}

impl Tls {
    pub(crate) fn generate() -> Result<Self, String> {
        let generate = || -> Result<Self, Box<dyn std::error::Error>> {
            let CertifiedKey { cert, signing_key } =
                generate_simple_self_signed(["127.0.0.1".to_string()])?;
            let folder = tempfile::tempdir()?;
            let certificate = folder.path().join("cert.pem");
            let key = folder.path().join("key.pem");
            fs::write(&certificate, cert.pem())?;
            fs::write(&key, signing_key.serialize_pem())?;
            let mut roots = RootCertStore::empty();
            roots.add(cert.der().clone())?;
            let client =
                ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
            Ok(Self { certificate, key, client: Arc::new(client), _folder: folder })
        };
        generate().map_err(|error| format!("cannot generate a certificate: {error}"))
    }
}

/// A server process on its own core. Dropping it kills the process.
pub(crate) struct RunningServer {
    child: Child,
    pub(crate) port: u16,
    _folder: TempDir,
}

impl RunningServer {
    pub(crate) fn start(
        contender: &Contender,
        cores: Cores,
        clients: usize,
        tls: Option<&Tls>,
    ) -> Result<Self, String> {
        let start = || {
            let folder = tempfile::tempdir()?;
            // The listener is closed immediately, so that the server can bind its port.
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            let mut command = contender.command(port, clients, tls, folder.path());
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            // The child inherits this thread's CPU affinity.
            machine::pin(cores.server)?;
            let child = command.spawn();
            machine::pin(cores.generator)?;
            Ok(Self { child: child?, port, _folder: folder })
        };
        start().map_err(|error: io::Error| format!("cannot start {}: {error}", contender.name))
    }

    pub(crate) fn cpu_seconds(&self) -> Result<f64, String> {
        machine::cpu_seconds(self.child.id())
            .map_err(|error| format!("cannot read its CPU time: {error}"))
    }

    pub(crate) fn resident_bytes(&self) -> Result<u64, String> {
        machine::resident_bytes(self.child.id())
            .map_err(|error| format!("cannot read its memory use: {error}"))
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        // Both fail only if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
