//! Signals that end `oyez listen`, which first prints its position, and `oyez raw`.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mio::{Registry, Token};
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

use crate::cli::write_all;
use crate::display;
use crate::net::signals::{Signals, is_ignored};

/// SIGHUP, SIGINT and SIGTERM, except those that were ignored when the process started.
///
/// A second signal ends the process immediately, and so does a first one while the process may be
/// blocked in a write to standard output, unless that is a terminal: the end of a row restores its
/// autowrap.
#[derive(Debug)]
pub(super) struct Interrupt {
    /// The last signal, or 0.
    signal: Arc<AtomicUsize>,
    /// Wakes the poll.
    _signals: Signals,
}

impl Interrupt {
    /// `is_writing` is set while the process may be blocked.
    pub(super) fn register(
        registry: &Registry,
        token: Token,
        is_writing: &Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let mut signals = vec![SIGHUP, SIGINT, SIGTERM];
        signals.retain(|&signal| match is_ignored(signal) {
            Some(is_ignored) => !is_ignored,
            // A shell that starts a job with SIGINT ignored also redirects the job's input.
            None => signal == SIGTERM || signal == SIGINT && io::stdin().is_terminal(),
        });
        let (signal, is_second) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        for &number in &signals {
            if !io::stdout().is_terminal() {
                flag::register_conditional_default(number, Arc::clone(is_writing))?;
            }
            flag::register_conditional_default(number, Arc::clone(&is_second))?;
            flag::register(number, Arc::clone(&is_second))?;
            flag::register_usize(number, Arc::clone(&signal), number as usize)?;
        }
        Ok(Self { signal, _signals: Signals::register(registry, token, &signals)? })
    }

    /// Returns the last signal that has arrived, if any.
    pub(super) fn signal(&self) -> Option<i32> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            signal => i32::try_from(signal).ok(),
        }
    }
}

/// Ends the process by the signal's default action, so that a shell sees which signal ended it.
///
/// First enables autowrap. On Ctrl-C, the terminal discards pending output, which may include the
/// end of a row.
pub(super) fn end_by(signal: i32) {
    if io::stdout().is_terminal() && !display::is_dumb() {
        let _ = write_all(display::ENABLE_AUTOWRAP.as_bytes());
    }
    let _ = low_level::emulate_default_handler(signal);
}
