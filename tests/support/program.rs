//! Runs programs and captures their output.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::TIMEOUT;

/// The variables that change what `oyez` does. Tests set those that they need. Without a home
/// directory, `oyez` knows no servers.
const ENVIRONMENT: [&str; 9] = [
    "OYEZ_SERVER",
    "OYEZ_SECRET_FILE",
    "OYEZ_NAME",
    "OYEZ_TLS",
    "OYEZ_TLS_CA",
    "OYEZ_TLS_FINGERPRINT",
    "XDG_STATE_HOME",
    "HOME",
    "NO_COLOR",
];

/// Returns a command that runs the built `oyez`, without arguments.
pub fn oyez() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oyez"));
    for variable in ENVIRONMENT {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
    command
}

/// The exit status and output of a program that succeeds and prints nothing.
pub const SILENT_SUCCESS: (i32, String, String) = (0, String::new(), String::new());

/// Runs a program that must succeed and print nothing to stderr. Returns its stdout.
#[track_caller]
pub fn succeeds(command: &mut Command) -> String {
    let (status, stdout, stderr) = Program::run(command);
    assert_eq!((status, stderr.as_str()), (0, ""));
    stdout
}

/// Runs a program that must fail with this status and print only one line, to stderr: its name and
/// an error that contains this text.
#[track_caller]
pub fn fails(command: &mut Command, status: i32, error: &str) {
    let name = Path::new(command.get_program()).file_name().unwrap().to_str().unwrap();
    let prefix = format!("{name}: ");
    let (actual, stdout, stderr) = Program::run(command);
    assert_eq!((actual, stdout.as_str()), (status, ""), "{stderr}");
    assert!(stderr.starts_with(&prefix) && stderr.contains(error), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

/// A running program and its output. Dropping it kills the program.
pub struct Program {
    child: Child,
    pub stdout: Output,
    pub stderr: Output,
}

/// The lines that a program prints to one of its streams.
pub struct Output {
    /// Lines that the test has not read. Each ends with LF, except possibly the last one.
    lines: Receiver<String>,
    /// Lines that the test has read, kept for failure messages and `all`.
    seen: Vec<String>,
}

impl Program {
    /// Starts a program and captures both of its output streams.
    pub fn start(command: &mut Command) -> Self {
        command.stdout(Stdio::piped());
        Self::start_with_piped_stderr(command)
    }

    /// Starts a program and captures only its stderr. Its stdout is what the command sets.
    pub fn start_with_piped_stderr(command: &mut Command) -> Self {
        command.stderr(Stdio::piped()).spawn().unwrap().into()
    }

    /// Runs a program with this input on a pipe. Returns its exit status and output.
    #[track_caller]
    pub fn run_with(command: &mut Command, input: &[u8]) -> (i32, String, String) {
        let mut program = Self::start(command.stdin(Stdio::piped()));
        program.write_input(input);
        program.close_input();
        program.wait_all()
    }

    /// Runs a program. Returns its exit status and output.
    #[track_caller]
    pub fn run(command: &mut Command) -> (i32, String, String) {
        Self::start(command).wait_all()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes to stdin, which must be a pipe. Ignores errors: the program may have closed its end.
    pub fn write_input(&mut self, bytes: &[u8]) {
        let _ = self.child.stdin.as_mut().unwrap().write_all(bytes);
    }

    pub fn close_input(&mut self) {
        self.child.stdin = None;
    }

    /// Sends a signal by its name, without the SIG prefix.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Returns the exit status if the program has exited.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until the program exits.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            match self.try_wait() {
                Some(status) => return status,
                None if Instant::now() > deadline => panic!("the program does not exit"),
                // `Child` has no wait with a timeout, so this polls.
                None => thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Waits until the program exits. Returns its exit status, or -1 after a signal, and its
    /// output.
    #[track_caller]
    pub fn wait_all(mut self) -> (i32, String, String) {
        let status = self.wait();
        (status.code().unwrap_or(-1), self.stdout.all(), self.stderr.all())
    }
}

impl From<Child> for Program {
    fn from(mut child: Child) -> Self {
        let stdout = Output::capture(child.stdout.take());
        let stderr = Output::capture(child.stderr.take());
        Self { child, stdout, stderr }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Output {
    /// Reads lines from the pipe, if there is one.
    pub fn capture(pipe: Option<impl Read + Send + 'static>) -> Self {
        let (sender, lines) = channel();
        if let Some(pipe) = pipe {
            thread::spawn(move || {
                let mut pipe = BufReader::new(pipe);
                loop {
                    let mut line = Vec::new();
                    let len = pipe.read_until(b'\n', &mut line).unwrap();
                    let line = String::from_utf8_lossy(&line).into_owned();
                    if len == 0 || sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Self { lines, seen: Vec::new() }
    }

    /// Returns the next line, without its LF.
    #[track_caller]
    pub fn line(&mut self) -> String {
        match self.lines.recv_timeout(TIMEOUT) {
            Ok(line) => {
                self.seen.push(line.clone());
                line.trim_end_matches('\n').to_owned()
            }
            Err(_) => panic!("no line was printed after:\n{}", self.seen.concat()),
        }
    }

    /// Returns the next line, which must contain this text.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let line = self.line();
        assert!(line.contains(text), "expected {text:?} in {line:?}");
        line
    }

    /// Waits for the next line that contains this text and returns it.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Waits for the end of the output and returns all of it.
    pub fn all(&mut self) -> String {
        self.seen.extend(self.lines.iter());
        self.seen.concat()
    }
}
