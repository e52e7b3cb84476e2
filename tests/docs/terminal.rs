//! A shell that reads commands and their input line by line and marks the end of each command.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::support::Program;

/// When a command exits, the shell prints this character and the exit status.
const PROMPT: char = '\u{1e}';

/// Reads one line at a time, so that a command can read the next lines as its standard input.
const SHELL: &str = "exec 2>&1; trap : INT; while IFS= read -r _typed; do eval \"$_typed\"; \
                     printf '\\036%s\\n' $?; done";

/// A shell in its own process group. Dropping it kills the whole group.
pub struct Terminal {
    shell: Program,
    /// A command was started in the background.
    pub has_jobs: bool,
    /// The exit status that follows a last line without LF.
    status: Option<i32>,
}

/// The next output of a terminal.
pub enum Next {
    Line(String),
    /// The command exited with this status.
    Prompt(i32),
}

impl Terminal {
    /// Starts the shell. `prepare` sets its directory and environment.
    pub fn open(prepare: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new("bash");
        command.args(["-c", SHELL]).stdin(Stdio::piped()).process_group(0);
        prepare(&mut command);
        Self { shell: Program::start(&mut command), has_jobs: false, status: None }
    }

    /// Types a command. The previous command must have exited.
    pub fn run(&mut self, command: &str) {
        self.has_jobs |= command.ends_with('&');
        self.type_line(command);
    }

    /// Types a line of input for the running command.
    pub fn type_line(&mut self, line: &str) {
        self.shell.write_input(format!("{line}\n").as_bytes());
    }

    /// Presses Ctrl-C.
    pub fn interrupt(&self) {
        self.signal(Signal::INT).expect("the shell is running");
    }

    /// Waits for a line or a prompt.
    pub fn next(&mut self) -> Next {
        if let Some(status) = self.status.take() {
            return Next::Prompt(status);
        }
        let line = self.shell.stdout.line();
        let Some((line, status)) = line.split_once(PROMPT) else { return Next::Line(line) };
        let status = status.parse().expect("the shell prints a number");
        if line.is_empty() {
            return Next::Prompt(status);
        }
        self.status = Some(status);
        Next::Line(line.to_owned())
    }

    fn signal(&self, signal: Signal) -> rustix::io::Result<()> {
        let shell = Pid::from_raw(self.shell.pid().cast_signed()).expect("no process has the id 0");
        kill_process_group(shell, signal)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.signal(Signal::KILL);
    }
}
