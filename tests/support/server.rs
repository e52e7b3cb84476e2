//! A server of the test's own, on a port of its own.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use super::{Client, PATIENCE};

/// The built binary, to be given arguments.
pub fn oyezd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oyezd"));
    command.stdin(Stdio::null()).env_remove("RUST_LOG");
    command
}

/// A running `oyezd`. It is killed when the test lets go of it.
pub struct Server {
    child: Child,
    pub address: Address,
    log: Receiver<String>,
    seen: Vec<String>,
}

#[derive(Clone, Debug)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Server {
    /// Starts a server on a free port of the loopback address.
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = oyezd();
        command.args(["--listen", "127.0.0.1:0"]).args(arguments);
        Self::spawn(command)
    }

    /// Starts a server with a command that says where to listen.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, log) = channel();
        thread::spawn(move || {
            for line in stderr.lines() {
                if sender.send(line.unwrap()).is_err() {
                    break;
                }
            }
        });
        let unknown = Address::Unix(PathBuf::new());
        let mut server = Self { child, address: unknown, log, seen: Vec::new() };
        let line = server.wait_for_log("listening on ");
        server.address = address_in(&line);
        server
    }

    pub fn tcp(&self) -> SocketAddr {
        match &self.address {
            Address::Tcp(address) => *address,
            Address::Unix(path) => panic!("it listens at {}", path.display()),
        }
    }

    pub fn port(&self) -> u16 {
        self.tcp().port()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A new client, whose welcome was read.
    pub fn client(&self) -> Client {
        let mut client = Client::connect(&self.address);
        client.welcome();
        client
    }

    /// Waits for a line of the log that holds `text`, among those not waited for before.
    pub fn wait_for_log(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.log.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(_) => panic!("no {text:?} in the log:\n{}", self.seen.join("\n")),
            }
        }
    }

    /// One value of `stats`, asked for by a client of its own.
    pub fn stat(&self, key: &str) -> u64 {
        self.client().stat(key)
    }

    /// Sends a signal, by its name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Waits for the end of the process: its status, and the whole log.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > deadline => panic!("the server does not end"),
                // There is no event to wait for with a bound; this is no synchronisation.
                None => thread::sleep(std::time::Duration::from_millis(2)),
            }
        };
        self.seen.extend(self.log.iter());
        (status, self.seen.join("\n"))
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

    /// Runs a program that must end by itself, and returns what it printed.
    pub fn run(command: &mut Command) -> (ExitStatus, String, String) {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let out = thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).unwrap();
            text
        });
        let mut err = String::new();
        stderr.read_to_string(&mut err).unwrap();
        (child.wait().unwrap(), out.join().unwrap(), err)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn address_in(line: &str) -> Address {
    let (_, rest) = line.split_once("listening on ").unwrap();
    match rest.strip_prefix("unix:") {
        Some(path) => Address::Unix(path.into()),
        None => Address::Tcp(rest.split([',', ' ']).next().unwrap().parse().unwrap()),
    }
}
