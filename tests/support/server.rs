//! A server process for one test, on its own port.

use std::borrow::BorrowMut;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Client, Program, TIMEOUT, wait_until};

/// Returns a command that runs the built `oyezd`, without arguments.
pub fn oyezd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oyezd"));
    command.stdin(Stdio::null());
    command
}

/// A running `oyezd`. Dropping it kills the process.
pub struct Server {
    program: Program,
    pub address: Address,
    /// The directory with the self-signed certificate, deleted on drop.
    certificates: Option<TempDir>,
}

#[derive(Clone, Debug)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
    /// A TLS listener, and the file with the certificate to trust.
    Tls(SocketAddr, PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) | Self::Tls(address, _) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Server {
    /// Starts a server on a free loopback port.
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = oyezd();
        command.args(["--listen", "127.0.0.1:0"]).args(arguments);
        Self::spawn(command)
    }

    /// Starts a server on a free loopback port, from a shell that runs `script` first.
    pub fn start_after_script(script: &str, arguments: &[&str]) -> Self {
        let program = oyezd().get_program().to_str().unwrap().to_owned();
        let arguments = arguments.join(" ");
        let script = format!("{script}\nexec {program} --listen 127.0.0.1:0 {arguments}");
        let mut command = Command::new("bash");
        command.args(["-c", &script]);
        Self::spawn(command)
    }

    /// Starts a server with TLS on a free loopback port.
    pub fn start_tls(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = oyezd();
        command.args(["--listen-tls", "127.0.0.1:0", "--tls-self-signed"]).arg(folder.path());
        let mut server = Self::spawn(command.args(arguments));
        server.address = Address::Tls(server.tcp(), folder.path().join("cert.pem"));
        server.certificates = Some(folder);
        server
    }

    /// Starts a server with a complete command and waits until it listens.
    pub fn spawn(mut command: impl BorrowMut<Command>) -> Self {
        let mut program = Program::start_with_piped_stderr(command.borrow_mut());
        let line = program.stderr.wait_for("listening on ");
        Self { program, address: listening_address(&line), certificates: None }
    }

    /// Starts a server that listens on this Unix socket and logs to `stderr`, with a command that
    /// is complete except for that.
    pub fn spawn_with_log(mut command: Command, stderr: impl Into<Stdio>, path: PathBuf) -> Self {
        let program = Program::from(command.stderr(stderr).spawn().unwrap());
        // The log does not say when the server listens.
        wait_until(|| UnixStream::connect(&path).is_ok());
        Self { program, address: Address::Unix(path), certificates: None }
    }

    pub fn tcp(&self) -> SocketAddr {
        match &self.address {
            Address::Tcp(address) | Address::Tls(address, _) => *address,
            Address::Unix(path) => panic!("the server listens on unix:{}", path.display()),
        }
    }

    pub fn port(&self) -> u16 {
        self.tcp().port()
    }

    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// Connects a new client and reads its welcome line.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect_and_read_welcome(&self.address)
    }

    /// Waits for the next log line that contains this text and returns it.
    #[track_caller]
    pub fn wait_for_log(&mut self, text: &str) -> String {
        self.program.stderr.wait_for(text)
    }

    /// Sends `stats` over a new connection and returns the value of this key.
    #[track_caller]
    pub fn stat(&self, key: &str) -> u64 {
        self.client().stat(key)
    }

    /// Sends a signal by its name, without the SIG prefix.
    pub fn signal(&self, name: &str) {
        self.program.signal(name);
    }

    pub fn has_exited(&mut self) -> bool {
        self.program.try_wait().is_some()
    }

    /// Waits until the process exits. Returns its exit status and the whole log.
    #[track_caller]
    pub fn wait(mut self) -> (ExitStatus, String) {
        (self.program.wait(), self.program.stderr.all())
    }

    /// Returns how many file descriptors the process has open.
    pub fn open_descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Returns the resident memory of the process in KiB.
    pub fn memory_kib(&self) -> u64 {
        self.process_status("VmRSS:")
    }

    /// Returns the peak resident memory of the process in KiB.
    pub fn peak_memory_kib(&self) -> u64 {
        self.process_status("VmHWM:")
    }

    /// Asserts that the server sleeps while nothing happens.
    ///
    /// This counts wakeups instead of measuring CPU time, so it works on a slow or busy host. A
    /// loop that spins never sleeps, and a loop that polls wakes up often.
    #[track_caller]
    pub fn assert_idle(&self) {
        let before = self.wait_until_asleep();
        // The period of observation. It waits for no event.
        thread::sleep(Duration::from_millis(500));
        let wakeups = self.wait_until_asleep() - before;
        // Listeners that pause for lack of descriptors retry every 100 ms.
        assert!(wakeups <= 20, "the idle server woke up {wakeups} times in half a second");
    }

    /// Waits until the process sleeps. Returns how often it has gone to sleep so far.
    #[track_caller]
    fn wait_until_asleep(&self) -> u64 {
        let deadline = Instant::now() + TIMEOUT;
        while !self.is_asleep() {
            assert!(Instant::now() < deadline, "the server never sleeps: its event loop spins");
            thread::yield_now();
        }
        self.process_status("voluntary_ctxt_switches:")
    }

    fn is_asleep(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // The process state follows the program's name in parentheses.
        stat.rsplit_once(") ").unwrap().1.starts_with('S')
    }

    /// Returns one numeric field of /proc/PID/status.
    fn process_status(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

/// Returns the address in a `listening on` log line.
pub fn listening_address(line: &str) -> Address {
    let (_, rest) = line.split_once("listening on ").unwrap();
    match rest.strip_prefix("unix:") {
        Some(path) => Address::Unix(path.into()),
        None => Address::Tcp(rest.split([',', ' ']).next().unwrap().parse().unwrap()),
    }
}
