//! The input bytes of a [`LineBuffer`](super::LineBuffer), in which it finds line ends and Telnet
//! commands.

use memchr::{memchr, memchr2};

use super::telnet::{self, IAC, Parsed, TelnetCommand};

const LF: u8 = b'\n';

/// Zeroes bytes that must not stay in memory. `black_box` keeps the compiler from removing the
/// write as a dead store.
pub(crate) fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    std::hint::black_box(bytes);
}

/// Unhandled input, which begins with the current line. Telnet commands are removed from the line.
///
/// The buffer is `[handled | line | removed commands | not scanned]`. Without Telnet commands, no
/// bytes are moved, except to the front when the caller waits for more input. Otherwise the bytes
/// of a line are moved over its commands, each byte at most once.
///
/// **Invariants**
/// - `start <= end <= scanned <= bytes.len()`, and `bytes[start..end]` contains no LF.
/// - Unless `has_iac` is set, `end == scanned`, and `bytes[scanned..]` contains no IAC.
///
/// Positions have 32 bits to save memory: there is one `Input` per client.
#[derive(Debug, Default)]
pub(super) struct Input {
    pub(super) bytes: Vec<u8>,
    /// Where the current line starts.
    start: u32,
    /// Where the scanned part of the current line ends.
    end: u32,
    /// Where the search continues.
    scanned: u32,
    pub(super) kind: InputKind,
    /// Whether the unscanned input may contain Telnet commands.
    has_iac: bool,
}

/// Where input comes from. Telnet commands are detected unless it is local.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum InputKind {
    FromClient,
    FromServer,
    #[default]
    Local,
}

/// What ends the scanned part of the current line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The end of the line.
    Lf,
    /// A command of this length.
    Telnet(TelnetCommand, usize),
    /// The end of the input so far.
    End,
}

impl Input {
    /// Appends input.
    pub(super) fn push(&mut self, input: &[u8]) {
        self.has_iac |= self.kind != InputKind::Local && memchr(IAC, input).is_some();
        let len = self.bytes.len() + input.len();
        if len > self.bytes.capacity() {
            self.reallocate(len.max(2 * self.bytes.capacity()));
        }
        self.bytes.extend_from_slice(input);
        debug_assert!(self.bytes.len() <= u32::MAX as usize, "the caller limits its input");
    }

    /// Moves the bytes to a buffer of this capacity. Wipes the old one, because a partial line may
    /// contain a secret.
    fn reallocate(&mut self, capacity: usize) {
        let mut bytes = Vec::with_capacity(capacity);
        bytes.extend_from_slice(&self.bytes);
        wipe(&mut self.bytes);
        self.bytes = bytes;
    }

    /// Extends the current line up to its LF, to a Telnet command, or to the end of the input.
    /// Returns the same result again until the caller moves past it. `is_ended` is set if no more
    /// input will arrive.
    pub(super) fn scan(&mut self, is_ended: bool) -> Found {
        if self.has_iac {
            return self.scan_telnet(is_ended);
        }
        let rest = self.unscanned();
        let lf = memchr(LF, rest);
        self.scanned += lf.unwrap_or(rest.len()) as u32;
        self.end = self.scanned;
        if lf.is_some() { Found::Lf } else { Found::End }
    }

    #[cold]
    fn scan_telnet(&mut self, is_ended: bool) -> Found {
        loop {
            let rest = self.unscanned();
            let special = memchr2(LF, IAC, rest);
            self.extend_line(special.unwrap_or(rest.len()));
            if special.is_none() {
                return Found::End;
            }
            let rest = self.unscanned();
            if rest[0] == LF {
                return Found::Lf;
            }
            match telnet::parse(rest) {
                Parsed::Command(command, len) => return Found::Telnet(command, len),
                Parsed::NotCommand(len) => self.extend_line(len),
                Parsed::Partial if is_ended => self.extend_line(1),
                Parsed::Partial => return Found::End,
            }
        }
    }

    /// Appends the next `len` unscanned bytes to the current line.
    fn extend_line(&mut self, len: usize) {
        let from = self.scanned as usize;
        if self.end < self.scanned {
            self.bytes.copy_within(from..from + len, self.end as usize);
        }
        self.scanned += len as u32;
        self.end += len as u32;
    }

    fn unscanned(&self) -> &[u8] {
        &self.bytes[self.scanned as usize..]
    }

    /// The scanned part of the current line.
    pub(super) fn line(&self) -> &[u8] {
        &self.bytes[self.start as usize..self.end as usize]
    }

    /// Removes the first bytes of the current line.
    pub(super) fn discard(&mut self, len: usize) {
        self.start += len as u32;
    }

    /// Removes the Telnet command that [`scan`](Self::scan) found.
    pub(super) fn remove_command(&mut self, len: usize) {
        self.scanned += len as u32;
    }

    /// Moves past the LF that [`scan`](Self::scan) found.
    pub(super) fn next_line(&mut self) {
        self.scanned += 1;
        (self.start, self.end) = (self.scanned, self.scanned);
    }

    /// Discards everything.
    pub(super) fn clear(&mut self) {
        self.scanned = self.bytes.len() as u32;
        (self.start, self.end) = (self.scanned, self.scanned);
    }

    /// Overwrites the scanned part of the current line, and stale copies of bytes that were moved.
    pub(super) fn wipe(&mut self) {
        wipe(&mut self.bytes[self.start as usize..self.scanned as usize]);
    }

    /// The number of unhandled bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start as usize
    }

    /// Frees the memory that the partial line does not need. More input must arrive before the next
    /// [`scan`](Self::scan) finds anything.
    pub(super) fn release_memory(&mut self) {
        let (start, end, scanned) = (self.start as usize, self.end as usize, self.scanned as usize);
        // Any unscanned bytes are the beginning of a Telnet command.
        let unscanned = self.bytes.len() - scanned;
        self.bytes.copy_within(scanned.., end);
        self.bytes.copy_within(start..end + unscanned, 0);
        let len = end - start + unscanned;
        // The line may contain a secret.
        wipe(&mut self.bytes[start.max(len)..]);
        self.bytes.truncate(len);
        self.end -= self.start;
        self.start = 0;
        self.scanned = self.end;
        self.has_iac = unscanned > 0;
        if self.bytes.capacity() > 2 * len {
            self.reallocate(len);
        }
    }
}
