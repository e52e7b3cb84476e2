//! The log: one event, one line on stderr, and never a reason to wait or to die.
//!
//! `simple_logger` writes with `eprintln!`, which blocks on a pipe that nobody reads and panics on
//! one that nobody holds. So this stands around it: a line is written only if stderr takes it now,
//! and the lines that it did not take are counted, and reported when it takes more.

use std::io::Write as _;
use std::panic::{self, AssertUnwindSafe};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use simple_logger::SimpleLogger;

use crate::escape::escape_untrusted;

/// The longest message, in bytes. With its time and level it stays under PIPE_BUF, which a pipe
/// that has room at all takes without blocking.
const MAX_MESSAGE: usize = 3 * 1024;

/// What every line is marked with: whose log it is. Which module wrote it is nothing to its readers.
const TARGET: &str = "oyezd";

static DROPPED: AtomicU64 = AtomicU64::new(0);
static REPORTED: AtomicU64 = AtomicU64::new(0);
/// The last line may have been written in part.
static IS_TORN: AtomicBool = AtomicBool::new(false);
static IS_WRITING: AtomicBool = AtomicBool::new(false);

static LOGGER: OnceLock<Guarded> = OnceLock::new();

struct Guarded(SimpleLogger);

/// Starts the log at the level given, with UTC times. To be called once.
pub fn start(level: LevelFilter) {
    unblock_stderr();
    let inner = SimpleLogger::new().with_level(level).with_utc_timestamps();
    let logger = LOGGER.get_or_init(|| Guarded(inner));
    if log::set_logger(logger).is_ok() {
        log::set_max_level(level);
    }
    // What a failed write has to say would go where the write has failed.
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !IS_WRITING.load(Relaxed) {
            default(info);
        }
    }));
}

/// Gives this process a stderr that refuses instead of blocking, where it has a terminal or a pipe of
/// it. A terminal that nobody reads takes half a line and then waits; and between asking a pipe
/// whether it has room and writing to it, somebody else may have filled it. It is opened anew, so
/// that other processes' stderr stays as it is.
#[cfg(target_os = "linux")]
fn unblock_stderr() {
    use rustix::fs::{FileType, Mode, OFlags, fstat, open};
    let stderr = std::io::stderr();
    let kind = fstat(&stderr).map(|status| FileType::from_raw_mode(status.st_mode));
    if matches!(kind, Ok(FileType::Fifo | FileType::CharacterDevice)) {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        if let Ok(own) = open("/proc/self/fd/2", flags, Mode::empty()) {
            let _ = rustix::stdio::dup2_stderr(own);
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn unblock_stderr() {}

/// How many lines were dropped since the start.
pub fn dropped() -> u64 {
    DROPPED.load(Relaxed)
}

/// Says how many lines were dropped since this was last said, if any were and stderr takes it.
pub fn report_dropped() {
    let dropped = dropped();
    let new = dropped - REPORTED.load(Relaxed);
    let Some(logger) = LOGGER.get().filter(|_| new > 0) else { return };
    let message = format!("{new} lines of the log were dropped: stderr did not take them");
    if logger.write(Level::Warn, &message) {
        REPORTED.store(dropped, Relaxed);
    }
}

impl Guarded {
    /// Writes a line, if stderr takes it now; says whether it did.
    fn write(&self, level: Level, message: &str) -> bool {
        if !stderr_takes_more() || !end_torn_line() {
            return false;
        }
        IS_WRITING.store(true, Relaxed);
        let write = || {
            let message = format_args!("{message}");
            self.0.log(&Record::builder().level(level).target(TARGET).args(message).build());
        };
        let result = panic::catch_unwind(AssertUnwindSafe(write));
        IS_WRITING.store(false, Relaxed);
        IS_TORN.store(result.is_err(), Relaxed);
        result.is_ok()
    }
}

impl Log for Guarded {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let is_enabled = self.enabled(record.metadata());
        if is_enabled
            && !self
                .write(record.level(), &escape_untrusted(&record.args().to_string(), MAX_MESSAGE))
        {
            DROPPED.fetch_add(1, Relaxed);
        }
    }

    fn flush(&self) {}
}

/// Whether a new line can begin, if need be after an end for one that was written in part.
fn end_torn_line() -> bool {
    !IS_TORN.load(Relaxed) || std::io::stderr().write_all(b"\n").is_ok()
}

fn stderr_takes_more() -> bool {
    let stderr = std::io::stderr();
    let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents() == PollFlags::OUT
}
