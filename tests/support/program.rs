//! A program that a test has started.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::TIMEOUT;

/// The built client, to be given arguments.
pub fn oyez() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oyez"));
    command.stdin(Stdio::null()).env_remove("OYEZ_SERVER").env_remove("NO_COLOR");
    command
}

/// A running program, and what it prints. It is killed when the test lets go of it.
pub struct Program {
    child: Child,
    pub stdout: Printed,
    pub stderr: Printed,
}

/// Lines that a program prints, as they come, each with its LF if it has one.
pub struct Printed {
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Program {
    /// Starts a program. What it prints is taken away from it, wherever the command sends it.
    pub fn start(command: &mut Command) -> Self {
        command.stdout(Stdio::piped());
        Self::start_with_piped_stderr(command)
    }

    /// The same, but leaves standard output to the command.
    pub fn start_with_piped_stderr(command: &mut Command) -> Self {
        command.stderr(Stdio::piped()).spawn().unwrap().into()
    }

    /// Runs a program with this text as its standard input, through a pipe.
    pub fn run_with(command: &mut Command, input: &[u8]) -> (i32, String, String) {
        let mut program = Self::start(command.stdin(Stdio::piped()));
        program.feed(input);
        program.end_input();
        program.wait_all()
    }

    /// Runs a program that must end by itself: its status and what it printed.
    pub fn run(command: &mut Command) -> (i32, String, String) {
        Self::start(command).wait_all()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes to standard input, which the command has made a pipe. That nobody reads it is no error.
    pub fn feed(&mut self, bytes: &[u8]) {
        let _ = self.child.stdin.as_mut().unwrap().write_all(bytes);
    }

    pub fn end_input(&mut self) {
        self.child.stdin = None;
    }

    /// Sends a signal, by its name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// The status, if it has ended.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for the end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            match self.try_wait() {
                Some(status) => return status,
                None if Instant::now() > deadline => panic!("the program does not end"),
                // There is no event to wait for with a bound; this is no synchronisation.
                None => thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Waits for the end: the status, and all that was printed. A program ended by a signal has the
    /// status -1.
    #[track_caller]
    pub fn wait_all(mut self) -> (i32, String, String) {
        let status = self.wait();
        (status.code().unwrap_or(-1), self.stdout.all(), self.stderr.all())
    }
}

impl From<Child> for Program {
    fn from(mut child: Child) -> Self {
        let stdout = Printed::of(child.stdout.take());
        let stderr = Printed::of(child.stderr.take());
        Self { child, stdout, stderr }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Printed {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
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

    /// The next line.
    #[track_caller]
    pub fn line(&mut self) -> String {
        match self.lines.recv_timeout(TIMEOUT) {
            Ok(line) => {
                self.seen.push(line.clone());
                line.trim_end_matches('\n').to_owned()
            }
            Err(_) => panic!("no line came after:\n{}", self.seen.concat()),
        }
    }

    /// The next line, which must hold this text.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let line = self.line();
        assert!(line.contains(text), "{text:?} was expected, and came: {line:?}");
        line
    }

    /// The next line that holds this text.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(text) {
                return line;
            }
        }
    }

    /// All that was printed, up to the end.
    pub fn all(&mut self) -> String {
        self.seen.extend(self.lines.iter());
        self.seen.concat()
    }
}
