//! The servers that are compared: how each is started.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

use crate::load::Shape;
use crate::machine::{self, Cores};
use crate::wire::Wire;

/// A server that can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    Oyezd,
    Relay,
    Redis,
    Nats,
    Mosquitto,
    Ngircd,
    Ncat,
}

use Contender::{Mosquitto, Nats, Ncat, Ngircd, Oyezd, Redis, Relay};

impl Contender {
    pub(crate) const ALL: [Self; 7] = [Oyezd, Relay, Redis, Nats, Mosquitto, Ngircd, Ncat];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Oyezd => "oyezd",
            Relay => "bare relay",
            Redis => "Redis",
            Nats => "NATS",
            Mosquitto => "mosquitto",
            Ngircd => "ngircd",
            Ncat => "ncat --broker",
        }
    }

    pub(crate) fn wire(self) -> Wire {
        match self {
            Oyezd => Wire::Oyez,
            Relay | Ncat => Wire::Raw,
            Redis => Wire::Redis,
            Nats => Wire::Nats,
            Mosquitto => Wire::Mqtt,
            Ngircd => Wire::Irc,
        }
    }

    /// Whether it does this at all, and right, in a time that can be waited for.
    pub(crate) fn can(self, shape: Shape, tls: bool) -> bool {
        let Shape { senders, size, window, .. } = shape;
        let clients = shape.clients();
        match self {
            Oyezd => true,
            // It knows no lines: where much waits to be read, it puts one sender's into another's.
            Relay => !tls && (senders == 1 || window <= 4),
            Redis => !tls && clients <= 2000,
            Nats => clients <= 2000,
            Mosquitto => clients <= 500,
            // A line of IRC has 512 bytes.
            Ngircd => !tls && size <= 400 && clients <= 2000,
            // It waits with select.
            Ncat => !tls && clients <= 500 && (senders == 1 || window <= 4),
        }
    }

    /// The program that has to be installed.
    fn program(self) -> PathBuf {
        match self {
            Oyezd => env!("CARGO_BIN_EXE_oyezd").into(),
            Relay => std::env::current_exe().unwrap_or_default(),
            Redis => "redis-server".into(),
            Nats => "nats-server".into(),
            Mosquitto => "mosquitto".into(),
            Ngircd => "ngircd".into(),
            Ncat => "ncat".into(),
        }
    }

    /// Whether it is there.
    pub(crate) fn is_installed(self) -> bool {
        let program = self.program();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/".into()]);
        folders.map(|folder| folder.join(&program)).any(|file| file.is_file())
    }

    /// How it is told to listen at a port of the loopback address, for so many clients.
    fn command(self, port: u16, clients: usize, tls: Option<&Tls>, folder: &Path) -> Command {
        let mut command = Command::new(self.program());
        let most = (clients + 100).to_string();
        let file = folder.join("configuration");
        let configure = |text: String| fs::write(&file, text).expect("the folder is ours");
        match self {
            Oyezd => {
                command.args(["--log-level", "warn", "--max-clients", &most]);
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
                command.args(["--save", "", "--appendonly", "no", "--maxclients", &most]);
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
                    "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nuser root\n\
                     log_type error\nmax_queued_messages 100000\nmax_queued_bytes 0\n{tls}"
                ));
                command.arg("-c").arg(&file);
            }
            Ngircd => {
                configure(format!(
                    "[Global]\nName = irc.example.net\nInfo = x\nListen = 127.0.0.1\nPorts = {port}\n\
                     [Limits]\nMaxConnections = 0\nMaxConnectionsIP = 0\nMaxPenaltyTime = 0\n\
                     [Options]\nDNS = no\nIdent = no\nPAM = no\n"
                ));
                command.args(["--nodaemon", "--config"]).arg(&file);
            }
            Ncat => {
                command.args(["--listen", "127.0.0.1", &port.to_string(), "--broker"]);
                command.args(["--max-conns", &most]);
            }
        }
        command
    }
}

/// A certificate for the loopback address, and clients that trust it.
pub(crate) struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    pub(crate) client: Arc<ClientConfig>,
    _folder: TempDir,
}

impl Tls {
    pub(crate) fn make() -> Result<Self, String> {
        let make = || -> Result<Self, Box<dyn std::error::Error>> {
            let CertifiedKey { cert, signing_key } =
                generate_simple_self_signed(["127.0.0.1".to_string()])?;
            let folder = tempfile::tempdir()?;
            let (certificate, key) =
                (folder.path().join("cert.pem"), folder.path().join("key.pem"));
            fs::write(&certificate, cert.pem())?;
            fs::write(&key, signing_key.serialize_pem())?;
            let mut roots = RootCertStore::empty();
            roots.add(cert.der().clone())?;
            let client =
                ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
            Ok(Self { certificate, key, client: Arc::new(client), _folder: folder })
        };
        make().map_err(|error| format!("cannot make a certificate: {error}"))
    }
}

/// A server that runs, on its own core. It is killed when it is let go of.
pub(crate) struct Running {
    child: Child,
    pub(crate) port: u16,
    _folder: TempDir,
}

impl Running {
    pub(crate) fn start(
        contender: Contender,
        cores: Cores,
        clients: usize,
        tls: Option<&Tls>,
    ) -> Result<Self, String> {
        let start = || {
            let folder = tempfile::tempdir()?;
            // What is free now will be so in a moment: nobody else takes ports here.
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            let mut command = contender.command(port, clients, tls, folder.path());
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            machine::pin(cores.server)?;
            let child = command.spawn();
            machine::pin(cores.generator)?;
            Ok(Self { child: child?, port, _folder: folder })
        };
        start()
            .map_err(|error: std::io::Error| format!("cannot start {}: {error}", contender.name()))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
