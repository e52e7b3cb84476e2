//! The terminal, taken over for the time of the chat.

use std::io;

use rustix::process::{Signal, getpgrp, kill_current_process_group};
use rustix::termios::{
    OptionalActions, OutputModes, Termios, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr,
};

use crate::client::stdio::write_all;

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

    /// Whether it is this program that has the terminal. Who is in the background must neither read
    /// it nor change it, or is stopped.
    pub(super) fn is_ours(&self) -> bool {
        // A terminal that is not the session's own can be had in any case.
        tcgetpgrp(io::stdin()).map_or(true, |in_front| in_front == getpgrp())
    }

    fn enter(&self) -> io::Result<()> {
        let mut raw = self.found.clone();
        raw.make_raw();
        // What other programs write there while we have it ends its lines as ever.
        raw.output_modes |= self.found.output_modes & OutputModes::OPOST;
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        let _ = write_all(TELL_PASTES);
        Ok(())
    }

    /// Takes the terminal over again, if it is there to be taken.
    pub(super) fn enter_again(&self) -> io::Result<()> {
        if self.is_ours() { self.enter() } else { Ok(()) }
    }

    /// Gives it back.
    fn leave(&self) {
        if self.is_ours() {
            // Nothing can be done about a terminal that takes nothing.
            let _ = write_all(RESET);
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.found);
        }
    }

    /// Stops the program and those that were started with it, as Ctrl-Z has it, until somebody lets
    /// them go on.
    pub(super) fn suspend(&self) -> io::Result<()> {
        self.leave();
        kill_current_process_group(Signal::TSTP)?;
        self.enter_again()
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
