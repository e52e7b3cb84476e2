//! The terminal, taken over for the time of the chat.

use std::io::{self, Write as _};

use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{OptionalActions, OutputModes, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// A terminal that gives every key as it is pressed, and shows none by itself. It is given back as it
/// was when this is dropped.
#[derive(Debug)]
pub(super) struct Terminal {
    found: Termios,
}

/// Has the terminal say where something that is pasted begins and ends.
const TELL_PASTES: &[u8] = b"\x1b[?2004h";
/// Undoes it, and whatever a half-drawn row may have left.
const RESET: &[u8] = b"\x1b[?2004l\x1b[?7h\x1b[m";

impl Terminal {
    pub(super) fn take() -> io::Result<Self> {
        let terminal = Self { found: tcgetattr(io::stdin())? };
        terminal.enter()?;
        Ok(terminal)
    }

    /// Takes the terminal over, again if need be.
    pub(super) fn enter(&self) -> io::Result<()> {
        let mut raw = self.found.clone();
        raw.make_raw();
        // What other programs write there while we have it ends its lines as ever.
        raw.output_modes |= self.found.output_modes & OutputModes::OPOST;
        tcsetattr(io::stdin(), OptionalActions::Drain, &raw)?;
        write(TELL_PASTES);
        Ok(())
    }

    /// Gives it back.
    fn leave(&self) {
        write(RESET);
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.found);
    }

    /// Stops the program, as Ctrl-Z has it, until somebody lets it go on.
    pub(super) fn suspend(&self) -> io::Result<()> {
        self.leave();
        kill_process(getpid(), Signal::TSTP)?;
        self.enter()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.leave();
    }
}

/// How many columns the terminal has; 80 if it does not know.
pub(super) fn columns() -> usize {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        _ => 80,
    }
}

/// Nothing can be done about a terminal that takes nothing.
fn write(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}
