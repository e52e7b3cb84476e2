//! The log: one line on stderr per event. Logging never blocks or ends the server.
//!
//! `simple_logger` writes with `eprintln!`, which blocks on a pipe that nobody reads and panics on
//! a pipe that is closed. This module's logger wraps it. It writes a line only if stderr has
//! room. Otherwise it drops and counts the line. Once stderr has room again, it reports the count
//! before the next line, so the report stands where the lines are missing.

use std::io::{IsTerminal as _, Write as _};
use std::panic::{self, AssertUnwindSafe};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use simple_logger::SimpleLogger;

use crate::display;
use crate::escape::escape_untrusted;

/// The maximum length of a message, in bytes. With its time and level, a message stays below
/// PIPE_BUF, so writing it to a pipe that has room does not block.
const MAX_MESSAGE: usize = 3 * 1024;

/// How often to check whether stderr has room for a report, in milliseconds.
const REPORT_INTERVAL_MS: u64 = 250;

/// The width of the time, the level and the target before a message.
const MESSAGE_COLUMN: usize = "2026-01-01T00:00:00.000Z INFO  [oyezd] ".len();

static DROPPED: AtomicU64 = AtomicU64::new(0);
static REPORTED: AtomicU64 = AtomicU64::new(0);
/// The last line may have been written only partially.
static HAS_PARTIAL_LINE: AtomicBool = AtomicBool::new(false);
static IS_WRITING: AtomicBool = AtomicBool::new(false);

static LOGGER: OnceLock<NonBlockingLogger> = OnceLock::new();

struct NonBlockingLogger {
    inner: SimpleLogger,
}

/// Starts the log, with times in UTC. Call it once.
pub fn start(level: LevelFilter) {
    #[cfg(target_os = "linux")]
    unblock_stderr();
    let inner = SimpleLogger::new().with_level(level).with_utc_timestamps();
    let logger = LOGGER.get_or_init(|| NonBlockingLogger { inner });
    let _ = log::set_logger(logger);
    log::set_max_level(level);
    // If `eprintln!` panics, writing the panic message to the same stderr would fail as well.
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !IS_WRITING.load(Relaxed) {
            default(info);
        }
    }));
}

/// Makes stderr non-blocking if it is a terminal or a pipe. Polling is not enough: a terminal that
/// nobody reads accepts part of a line and then blocks, and another process may fill a pipe between
/// the poll and the write. Opens stderr again instead of setting O_NONBLOCK on it, which would
/// affect all processes that share it.
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

/// Reports the lines dropped since the last report, unless there are none or stderr is full. Returns
/// the number dropped since the start.
pub(super) fn report_dropped() -> u64 {
    if let Some(logger) = LOGGER.get() {
        logger.report_dropped();
    }
    DROPPED.load(Relaxed)
}

/// When to call [`report_dropped`] again, in milliseconds from now. `None` if all dropped lines are
/// reported. A timer also covers what a poll cannot watch: files on a full disk.
pub(super) fn report_due_in_ms() -> Option<u64> {
    (DROPPED.load(Relaxed) > REPORTED.load(Relaxed)).then_some(REPORT_INTERVAL_MS)
}

impl NonBlockingLogger {
    /// See [`report_dropped`]. Returns whether all dropped lines are reported.
    fn report_dropped(&self) -> bool {
        let dropped = DROPPED.load(Relaxed);
        let new = dropped - REPORTED.load(Relaxed);
        if new == 0 {
            return true;
        }
        let lines = if new == 1 { "line" } else { "lines" };
        let is_written =
            self.write(Level::Warn, &format!("dropped {new} log {lines}: stderr was full"));
        if is_written {
            REPORTED.store(dropped, Relaxed);
        }
        is_written
    }

    /// Writes a line if stderr has room. Returns whether it was written.
    fn write(&self, level: Level, message: &str) -> bool {
        // The partial line may have disabled autowrap.
        let has_autowrap = !std::io::stderr().is_terminal() || display::is_dumb();
        let end = if has_autowrap { "" } else { display::ENABLE_AUTOWRAP };
        let end_partial_line = || writeln!(std::io::stderr(), "{end}").is_ok();
        if !stderr_has_room() || (HAS_PARTIAL_LINE.load(Relaxed) && !end_partial_line()) {
            return false;
        }
        IS_WRITING.store(true, Relaxed);
        let write = || {
            let message = display::line(message, MESSAGE_COLUMN, std::io::stderr());
            let message = format_args!("{message}");
            // Operators know the program's name, but not its modules.
            self.inner.log(&Record::builder().level(level).target("oyezd").args(message).build());
        };
        let result = panic::catch_unwind(AssertUnwindSafe(write));
        IS_WRITING.store(false, Relaxed);
        HAS_PARTIAL_LINE.store(result.is_err(), Relaxed);
        result.is_ok()
    }
}

impl Log for NonBlockingLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.inner.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let message = record.args().to_string();
        let message = escape_untrusted(&message, MAX_MESSAGE);
        if !self.report_dropped() || !self.write(record.level(), &message) {
            DROPPED.fetch_add(1, Relaxed);
        }
    }

    fn flush(&self) {}
}

fn stderr_has_room() -> bool {
    let stderr = std::io::stderr();
    let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents() == PollFlags::OUT
}
