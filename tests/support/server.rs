//! A server of the test's own, on a port of its own.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use tempfile::TempDir;

use super::{Client, Program};

/// The built binary, to be given arguments.
pub fn oyezd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oyezd"));
    command.stdin(Stdio::null());
    command
}

/// A running `oyezd`. It is killed when the test lets go of it.
pub struct Server {
    program: Program,
    pub address: Address,
    /// Where it makes its certificate, if it does.
    folder: Option<TempDir>,
}

#[derive(Clone, Debug)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
    /// Encrypted, and the file with the certificate to trust.
    Tls(SocketAddr, PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tls(address, _) => address.fmt(f),
        }
    }
}

impl Server {
    /// Starts a server on a free port of the loopback address.
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = oyezd();
        command.args(["--listen", "127.0.0.1:0"]).args(arguments);
        Self::spawn(command)
    }

    /// Starts a server by way of a shell, which carries out a script before.
    pub fn start_after(script: &str, arguments: &[&str]) -> Self {
        let program = oyezd().get_program().to_str().unwrap().to_owned();
        let arguments = arguments.join(" ");
        let script = format!("{script}\nexec {program} --listen 127.0.0.1:0 {arguments}");
        let mut command = Command::new("bash");
        command.args(["-c", &script]);
        Self::spawn(command)
    }

    /// Starts a server with a command that says where to listen.
    pub fn spawn(mut command: Command) -> Self {
        let mut program = Program::start_with_piped_stderr(&mut command);
        let line = program.stderr.wait_for("listening on ");
        Self { program, address: address_in(&line), folder: None }
    }

    /// Starts a server on a free port of the loopback address, where everything is encrypted.
    pub fn start_tls(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certificates = folder.path().join("tls");
        let mut command = oyezd();
        command.args(["--listen-tls", "127.0.0.1:0", "--tls-self-signed"]).arg(&certificates);
        let mut server = Self::spawn({
            command.args(arguments);
            command
        });
        server.address = Address::Tls(server.tcp(), certificates.join("cert.pem"));
        server.folder = Some(folder);
        server
    }

    pub fn tcp(&self) -> SocketAddr {
        match &self.address {
            Address::Tcp(address) | Address::Tls(address, _) => *address,
            Address::Unix(path) => panic!("it listens at {}", path.display()),
        }
    }

    pub fn port(&self) -> u16 {
        self.tcp().port()
    }

    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// A new client, whose welcome was read.
    pub fn client(&self) -> Client {
        let mut client = Client::connect(&self.address);
        client.welcome();
        client
    }

    /// Waits for a line of the log that holds `text`, among those not waited for before.
    #[track_caller]
    pub fn wait_for_log(&mut self, text: &str) -> String {
        self.program.stderr.wait_for(text)
    }

    /// One value of `stats`, asked for by a client of its own.
    pub fn stat(&self, key: &str) -> u64 {
        self.client().stat(key)
    }

    /// Sends a signal, by its name.
    pub fn signal(&self, name: &str) {
        self.program.signal(name);
    }

    /// Waits for the end of the process: its status, and the whole log.
    #[track_caller]
    pub fn wait(mut self) -> (ExitStatus, String) {
        (self.program.wait(), self.program.stderr.all())
    }

    /// How many descriptors the process has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Memory that the process holds now and held at most, in KiB.
    pub fn memory_kib(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let value = |key: &str| -> u64 {
            let line = status.lines().find(|line| line.starts_with(key)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        (value("VmRSS:"), value("VmHWM:"))
    }

    /// Processor time that the process has used, in clock ticks of a hundredth of a second.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let fields: Vec<&str> = fields.split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

pub fn address_in(line: &str) -> Address {
    let (_, rest) = line.split_once("listening on ").unwrap();
    match rest.strip_prefix("unix:") {
        Some(path) => Address::Unix(path.into()),
        None => Address::Tcp(rest.split([',', ' ']).next().unwrap().parse().unwrap()),
    }
}
