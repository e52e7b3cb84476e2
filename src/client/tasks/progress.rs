//! How far a long task has come, for who watches.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// How often it is shown anew.
const PAUSE: Duration = Duration::from_millis(200);

/// A line on the terminal that says how far it has come.
pub(crate) struct Progress {
    is_wanted: bool,
    is_shown: bool,
    next: Instant,
}

impl Progress {
    pub(crate) fn new() -> Self {
        // Where lines are typed, it would be in the way.
        let is_wanted = std::io::stderr().is_terminal() && !std::io::stdin().is_terminal();
        Self { is_wanted, is_shown: false, next: Instant::now() + PAUSE }
    }

    pub(crate) fn show(&mut self, out: u64, on_their_way: usize) {
        let now = Instant::now();
        if self.is_wanted && self.next <= now {
            Self::write(&format!("{out} lines out, {on_their_way} on their way"));
            self.is_shown = true;
            self.next = now + PAUSE;
        }
    }

    pub(crate) fn clear(&mut self) {
        if self.is_shown {
            Self::write("");
            self.is_shown = false;
        }
    }

    /// Puts a text in place of the one before, and the cursor at its beginning.
    fn write(text: &str) {
        let _ = write!(std::io::stderr(), "\r{text:<60}\r");
    }
}
