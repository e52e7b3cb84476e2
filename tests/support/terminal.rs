//! A terminal that a test looks at.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use super::{Program, TIMEOUT};

/// Both ends of a new terminal: the one that a person has, and the one that programs have.
pub fn open() -> (File, File) {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let name = ptsname(&controller, Vec::new()).unwrap();
    let terminal = OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    (controller.into(), terminal)
}

/// A terminal with a program in it, and what it shows.
pub struct Terminal {
    pub program: Program,
    controller: File,
    terminal: File,
    bytes: Receiver<Vec<u8>>,
    screen: vt100::Parser,
    /// All that was ever sent to it.
    sent: Vec<u8>,
}

impl Terminal {
    /// Starts a program on a terminal with so many rows and columns.
    pub fn start(command: &mut Command, rows: u16, columns: u16) -> Self {
        Self::start_as("xterm", command, rows, columns)
    }

    /// The same on a terminal of this kind.
    pub fn start_as(term: &str, command: &mut Command, rows: u16, columns: u16) -> Self {
        let (controller, terminal) = open();
        resize(&terminal, rows, columns);
        let mut reader = controller.try_clone().unwrap();
        let (sender, bytes) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // When nobody has the other end any more, reading fails.
            while let Ok(len @ 1..) = reader.read(&mut buffer)
                && sender.send(buffer[..len].to_vec()).is_ok()
            {}
        });
        command.stdin(terminal.try_clone().unwrap()).stdout(terminal.try_clone().unwrap());
        let program = Program::start_with_piped_stderr(command.env("TERM", term));
        let screen = vt100::Parser::new(some(rows), some(columns), 1000);
        Self { program, controller, terminal, bytes, screen, sent: Vec::new() }
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.controller.write_all(keys.as_bytes()).unwrap();
    }

    /// Gives it another size.
    pub fn resize(&mut self, rows: u16, columns: u16) {
        self.screen.screen_mut().set_size(some(rows), some(columns));
        resize(&self.terminal, rows, columns);
        // The terminal is not the program's controlling one, so nobody else tells it.
        self.program.signal("WINCH");
    }

    /// Reads no more of what is sent to it.
    pub fn look_away(&mut self) {
        self.bytes = channel().1;
    }

    /// What is sent to it within this time.
    pub fn rest_of_what_is_sent_in(&mut self, time: Duration) -> String {
        let mut sent = vec![];
        while let Ok(bytes) = self.bytes.recv_timeout(time) {
            sent.extend(bytes);
        }
        String::from_utf8_lossy(&sent).into_owned()
    }

    /// How it is set.
    pub fn modes(&self) -> Termios {
        tcgetattr(&self.terminal).unwrap()
    }

    /// What it shows, row by row, without empty rows at the end.
    pub fn rows(&self) -> Vec<String> {
        let text = self.screen.screen().contents();
        text.trim_end_matches('\n').split('\n').map(|row| row.trim_end().to_owned()).collect()
    }

    /// Everything that was sent to it.
    pub fn sent(&self) -> String {
        String::from_utf8_lossy(&self.sent).into_owned()
    }

    /// In which row and column the cursor is.
    pub fn cursor(&self) -> (u16, u16) {
        self.screen.screen().cursor_position()
    }

    /// Waits until it shows what is asked for.
    #[track_caller]
    pub fn wait_until(&mut self, is_there: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + TIMEOUT;
        while !is_there(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.bytes.recv_timeout(left) {
                Ok(bytes) => {
                    self.screen.process(&bytes);
                    self.sent.extend_from_slice(&bytes);
                }
                Err(_) => panic!("this is what it shows:\n{}", self.rows().join("\n")),
            }
        }
    }

    /// Waits until the last rows are these, without the time that stands before messages.
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
        time.bytes().zip(*b"00:00 ").all(|(byte, pattern)| match pattern {
            b'0' => byte.is_ascii_digit(),
            pattern => byte == pattern,
        })
    };
    match row.split_at_checked(6) {
        Some((time, rest)) if is_time(time) => rest,
        _ => row,
    }
}
