//! The log: one line on stderr per event. Logging never blocks or ends the server.
//!
//! `simple_logger` writes with `eprintln!`, which blocks on a pipe that nobody reads and panics on
//! a pipe that is closed. This module's logger wraps it. It writes a line only if stderr has
//! room. Otherwise it drops and counts the line. Once stderr has room again, it reports the count
//! before the next line, so the report stands where the lines are missing.
//!
//! Lines about clients are limited, since clients decide how many there are.

use std::io::{IsTerminal as _, Write as _};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use log::{Level, LevelFilter, Log, Metadata, Record, info};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use simple_logger::SimpleLogger;

use crate::display;
use crate::escape::escape_untrusted;

/// The maximum length of a message, in bytes. With its time and level, a message stays below
/// PIPE_BUF, so writing it to a pipe that has room does not block.
const MAX_MESSAGE: usize = 3 * 1024;

/// How often to check whether stderr has room for a report, in milliseconds.
const REPORT_INTERVAL_MS: u64 = 250;

/// The target of lines about a single client.
pub(super) const CLIENT: &str = "client";
/// The target of lines about new connections. They have their own limit, so that they cannot crowd
/// out the reasons of disconnects.
pub(super) const CONNECT: &str = "connect";

/// The maximum number of lines about new connections in one window, and of other lines about clients
/// at each level.
const CLIENT_LINES: u32 = 100;
const CLIENT_WINDOW: Duration = Duration::from_secs(10);

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
    client_lines: Mutex<ClientLines>,
}

/// Limits the lines about clients. A window begins with the first line after the previous window.
#[derive(Debug, Default)]
struct ClientLines {
    window_end: Option<Instant>,
    /// The number of lines logged in this window: those about new connections, then the others by
    /// level.
    logged: [u32; 6],
    /// The number of lines of this window that were not logged.
    omitted: u64,
}

impl ClientLines {
    /// Returns whether to log another line. Call [`take_omitted`](Self::take_omitted) first.
    fn admit(&mut self, target: &str, level: Level, now: Instant) -> bool {
        if self.window_end.is_none_or(|end| end <= now) {
            *self = Self { window_end: Some(now + CLIENT_WINDOW), ..Self::default() };
        }
        let logged = &mut self.logged[if target == CONNECT { 0 } else { level as usize }];
        let is_admitted = *logged < CLIENT_LINES;
        if is_admitted {
            *logged += 1;
        } else {
            self.omitted += 1;
        }
        is_admitted
    }

    /// Once the window is over, returns how many of its lines were not logged.
    fn take_omitted(&mut self, now: Instant) -> u64 {
        match self.window_end {
            Some(end) if end <= now => std::mem::take(&mut self.omitted),
            _ => 0,
        }
    }

    /// When [`take_omitted`](Self::take_omitted) returns more than 0.
    fn due(&self) -> Option<Instant> {
        self.window_end.filter(|_| self.omitted > 0)
    }
}

/// Starts the log, with times in UTC. Call it once.
pub fn start(level: LevelFilter) {
    #[cfg(target_os = "linux")]
    unblock_stderr();
    let inner = SimpleLogger::new().with_level(level).with_utc_timestamps();
    let logger = LOGGER.get_or_init(|| NonBlockingLogger { inner, client_lines: Mutex::default() });
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

/// Reports the lines that are missing since the last report, if it is due and stderr has room:
/// lines dropped because stderr was full, and lines about clients beyond the limit. Returns the
/// number of dropped lines since the start.
pub(super) fn report_missing() -> u64 {
    if let Some(logger) = LOGGER.get() {
        logger.report_dropped();
        logger.report_omitted(Instant::now());
    }
    DROPPED.load(Relaxed)
}

/// Reports the lines about clients that are missing so far. Call it before the server ends.
pub(super) fn finish() {
    if let Some(logger) = LOGGER.get() {
        logger.report_omitted(Instant::now() + CLIENT_WINDOW);
    }
}

/// When to call [`report_missing`] again, in milliseconds from now. `None` if nothing is to be
/// reported. A timer also covers what a poll cannot watch: files on a full disk.
pub(super) fn report_due_in_ms() -> Option<u64> {
    let dropped = (DROPPED.load(Relaxed) > REPORTED.load(Relaxed)).then_some(REPORT_INTERVAL_MS);
    let due = LOGGER.get().and_then(|logger| logger.client_lines().due());
    let due = due.map(|due| due.saturating_duration_since(Instant::now()));
    dropped.into_iter().chain(due.map(|due| due.as_millis() as u64 + 1)).min()
}

impl NonBlockingLogger {
    fn client_lines(&self) -> MutexGuard<'_, ClientLines> {
        self.client_lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report_omitted(&self, now: Instant) {
        let omitted = self.client_lines().take_omitted(now);
        if omitted > 0 {
            let seconds = CLIENT_WINDOW.as_secs();
            info!(
                "… and {omitted} more lines about clients in {seconds} s; --log-level debug shows all"
            );
        }
    }

    /// Returns whether all dropped lines are reported.
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
        let target = record.target();
        if (target == CLIENT || target == CONNECT) && log::max_level() <= LevelFilter::Info {
            let now = Instant::now();
            self.report_omitted(now);
            if !self.client_lines().admit(target, record.level(), now) {
                return;
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_clients_beyond_the_limit_are_counted() {
        let start = Instant::now();
        let mut lines = ClientLines::default();
        let mut admitted =
            |target, level, count| (0..count).filter(|_| lines.admit(target, level, start)).count();
        assert_eq!(admitted(CONNECT, Level::Info, 150), 100);
        assert_eq!(admitted(CLIENT, Level::Info, 100), 100);
        assert_eq!(admitted(CLIENT, Level::Warn, 1), 1, "each level has its own limit");
        let end = start + CLIENT_WINDOW;
        assert_eq!(lines.due(), Some(end));
        assert_eq!([start, end, end].map(|now| lines.take_omitted(now)), [0, 50, 0]);
        assert!(lines.admit(CLIENT, Level::Info, end) && lines.due().is_none(), "the next window");
    }
}
