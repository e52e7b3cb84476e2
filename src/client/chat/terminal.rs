//! The terminal: raw mode and job control.

use std::io;

use rustix::process::{Signal, getpgrp, kill_current_process_group};
use rustix::termios::{OptionalActions, OutputModes, Termios, tcgetattr, tcgetpgrp, tcsetattr};

use crate::client::stdio::write_all;

const ENABLE_BRACKETED_PASTE: &[u8] = b"\x1b[?2004h";

/// Disables bracketed paste. Enables autowrap and resets the color, in case a row was drawn only
/// partially.
const RESET: &[u8] = b"\x1b[?2004l\x1b[?7h\x1b[m";

/// A terminal in raw mode: keys arrive immediately and are not echoed. Dropping it restores the
/// original settings.
#[derive(Debug)]
pub(super) struct Terminal {
    original: Termios,
}

impl Terminal {
    pub(super) fn enter() -> io::Result<Self> {
        let terminal = Self { original: tcgetattr(io::stdin())? };
        terminal.set_raw()?;
        Ok(terminal)
    }

    /// Returns whether this process is in the foreground. The system stops a background process
    /// that uses the terminal.
    pub(super) fn is_foreground(&self) -> bool {
        // This fails if the terminal is not the controlling one. Then there is no job control.
        tcgetpgrp(io::stdin()).map_or(true, |foreground| foreground == getpgrp())
    }

    fn set_raw(&self) -> io::Result<()> {
        let mut raw = self.original.clone();
        raw.make_raw();
        // Keep output processing: other programs may write to this terminal, and end their lines
        // with LF alone.
        raw.output_modes |= self.original.output_modes & OutputModes::OPOST;
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        let _ = write_all(ENABLE_BRACKETED_PASTE);
        Ok(())
    }

    /// Sets raw mode again, because another program may have used the terminal.
    pub(super) fn reenter(&self) -> io::Result<()> {
        if self.is_foreground() { self.set_raw() } else { Ok(()) }
    }

    /// Restores the original settings. Ignores errors: the terminal may no longer exist.
    fn restore(&self) {
        if self.is_foreground() {
            let _ = write_all(RESET);
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.original);
        }
    }

    /// Stops the process group, as Ctrl-Z does, until the shell resumes it.
    pub(super) fn suspend(&self) -> io::Result<()> {
        self.restore();
        kill_current_process_group(Signal::TSTP)?;
        self.reenter()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.restore();
    }
}
