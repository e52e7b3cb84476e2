//! Runs programs on a pseudoterminal and emulates its screen.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use super::{Program, TIMEOUT};

/// Opens a pseudoterminal. Returns the controller, for the test, and the terminal, for the program.
pub fn open() -> (File, File) {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let name = ptsname(&controller, Vec::new()).unwrap();
    let terminal = OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    (controller.into(), terminal)
}

/// A program running on a terminal.
pub struct Terminal {
    pub program: Program,
    controller: File,
    terminal: File,
    bytes: Receiver<Vec<u8>>,
    screen: vt100::Parser,
    /// The output that [`wait_until`](Self::wait_until) has processed.
    output: Vec<u8>,
}

impl Terminal {
    /// Starts a program on an xterm of this size. Its standard error is not the terminal.
    pub fn start(command: &mut Command, rows: u16, columns: u16) -> Self {
        Self::start_as("xterm", command, rows, columns)
    }

    /// Starts a program on a terminal of this type and size. The locale is UTF-8 unless the command
    /// sets LC_ALL.
    pub fn start_as(term: &str, command: &mut Command, rows: u16, columns: u16) -> Self {
        Self::start_on(open(), command.stderr(Stdio::piped()).env("TERM", term), rows, columns)
    }

    /// Starts a program on an xterm of this size, with its standard error.
    pub fn start_with_stderr(command: &mut Command, rows: u16, columns: u16) -> Self {
        let (controller, terminal) = open();
        command.stderr(terminal.try_clone().unwrap()).env("TERM", "xterm");
        Self::start_on((controller, terminal), command, rows, columns)
    }

    fn start_on(
        (controller, terminal): (File, File),
        command: &mut Command,
        rows: u16,
        columns: u16,
    ) -> Self {
        resize(&terminal, rows, columns);
        let mut reader = controller.try_clone().unwrap();
        let (sender, bytes) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Reading fails once the program and the test have closed the terminal.
            while let Ok(len @ 1..) = reader.read(&mut buffer)
                && sender.send(buffer[..len].to_vec()).is_ok()
            {}
        });
        command.stdin(terminal.try_clone().unwrap()).stdout(terminal.try_clone().unwrap());
        let has_locale = command.get_envs().any(|(name, _)| name == "LC_ALL");
        if !has_locale {
            command.env("LC_ALL", "C.UTF-8");
        }
        let program = Program::from(command.spawn().unwrap());
        let screen = vt100::Parser::new(some(rows), some(columns), 1000);
        Self { program, controller, terminal, bytes, screen, output: Vec::new() }
    }

    /// Sends keys, given as the bytes that a terminal sends for them.
    pub fn press(&mut self, keys: &str) {
        self.press_bytes(keys.as_bytes());
    }

    /// Sends bytes, which may not be UTF-8.
    pub fn press_bytes(&mut self, bytes: &[u8]) {
        self.controller.write_all(bytes).unwrap();
    }

    /// Resizes the terminal and notifies the program.
    pub fn resize(&mut self, rows: u16, columns: u16) {
        self.screen.screen_mut().set_size(some(rows), some(columns));
        resize(&self.terminal, rows, columns);
        // The terminal is not the program's controlling terminal, so the kernel sends no SIGWINCH.
        self.program.signal("WINCH");
    }

    /// Stops reading the program's output.
    pub fn stop_reading(&mut self) {
        self.bytes = channel().1;
    }

    /// Returns the output until the program writes nothing for this long. Does not update the
    /// screen.
    pub fn read_until_quiet_for(&mut self, time: Duration) -> String {
        let mut output = vec![];
        while let Ok(bytes) = self.bytes.recv_timeout(time) {
            output.extend(bytes);
        }
        String::from_utf8_lossy(&output).into_owned()
    }

    /// Returns the terminal's settings.
    pub fn modes(&self) -> Termios {
        tcgetattr(&self.terminal).unwrap()
    }

    /// Returns the rows of the screen, without trailing empty rows.
    pub fn rows(&self) -> Vec<String> {
        let text = self.screen.screen().contents();
        text.trim_end_matches('\n').split('\n').map(|row| row.trim_end().to_owned()).collect()
    }

    /// Returns the rows of the screen as drawn: one that the terminal wrapped is two rows.
    pub fn drawn_rows(&self) -> Vec<String> {
        let columns = self.screen.screen().size().1.into();
        self.screen.screen().rows(0, columns).map(|row| row.trim_end().to_owned()).collect()
    }

    /// Returns the output that [`wait_until`](Self::wait_until) has processed.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    /// Returns the cursor's row and column.
    pub fn cursor(&self) -> (u16, u16) {
        self.screen.screen().cursor_position()
    }

    /// Reads output and updates the screen until the condition holds.
    #[track_caller]
    pub fn wait_until(&mut self, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + TIMEOUT;
        while !condition(self) {
            let timeout = deadline.saturating_duration_since(Instant::now());
            match self.bytes.recv_timeout(timeout) {
                Ok(bytes) => {
                    self.screen.process(&bytes);
                    self.output.extend_from_slice(&bytes);
                }
                Err(_) => panic!("timed out; the screen shows:\n{}", self.rows().join("\n")),
            }
        }
    }

    /// Waits until these are the last rows of the screen. Ignores the times in front of messages.
    #[track_caller]
    pub fn expect(&mut self, rows: &[&str]) {
        self.wait_until(|terminal| {
            let shown = terminal.rows();
            let shown: Vec<&str> = shown.iter().map(|row| without_time(row)).collect();
            shown.ends_with(rows)
        });
    }
}

fn resize(terminal: &File, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).unwrap();
}

fn some(count: u16) -> NonZero<u16> {
    NonZero::new(count).unwrap()
}

fn without_time(row: &str) -> &str {
    let is_time = |time: &str| {
        time == "--:-- "
            || time.bytes().zip(*b"00:00 ").all(|(byte, pattern)| match pattern {
                b'0' => byte.is_ascii_digit(),
                pattern => byte == pattern,
            })
    };
    match row.split_at_checked(6) {
        Some((time, rest)) if is_time(time) => rest,
        _ => row,
    }
}
