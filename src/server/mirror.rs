//! The feed's mirror: its chunks in files, from which the kernel sends without a copy of its own.
//!
//! Bytes that are written to a thousand sockets are copied a thousand times. Bytes that stand in a file
//! are not: `sendfile` hands the file's pages to every socket. So a chunk of the feed of which many clients are owed
//! much is copied into a file in memory, once, and sent from there.
//!
//! A socket may hold pages long after they were sent, until its peer has taken them. So what a file
//! holds is never written again, and when its chunk goes, the file is only closed: the pages live for as
//! long as somebody needs them. (Punching holes into one file for all is no way: where the kernel uses large
//! pages, that puts zeros into lines that are on their way.)
//!
//! Whatever fails here costs time alone: what is not sent from the mirror is written.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use log::warn;
use rustix::fs::{MemfdFlags, memfd_create, sendfile};
use rustix::io::{Errno, pwrite};
use signal_hook::flag;

use crate::config::FeedMirror;
use crate::hub::{Feed, Position};
use crate::limits::Limits;
use crate::transport::Sent;

/// The same on every Linux; signal-hook has no name for it.
const SIGXFSZ: i32 = rustix::process::Signal::XFSZ.as_raw();

/// From so many bytes on, to send a file's pages is cheaper than to copy them.
const LEAST_BYTES: u64 = 16 * 1024;

/// Into a file is copied what clients are owed so many times: that is what the copy costs.
const WORTH: u64 = 8;

/// The files, and whether it pays to have more in them.
///
/// **Invariants**
/// - The files go by their chunks, and there are at most `most_files`.
/// - What a file holds is what its chunk holds at the same offset.
#[derive(Debug)]
pub(super) struct Mirror {
    mode: FeedMirror,
    most_files: usize,
    files: VecDeque<ChunkFile>,
    /// How many bytes clients took in large pieces, less those that were copied, each of them `WORTH`
    /// times.
    balance: u64,
    most_balance: u64,
    /// The chunk of which no more is copied, since that has failed.
    failed: Option<Position>,
}

/// The file of one chunk.
#[derive(Debug)]
struct ChunkFile {
    /// Where the chunk begins, and the file with it.
    chunk: Position,
    /// What of the chunk is in the file. Before that, there is a hole.
    held: Range<Position>,
    file: OwnedFd,
}

/// A stretch of one chunk that a client is owed next, large enough to be sent from a file.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    chunk: Position,
    /// All that is in the chunk.
    bytes: &'a [u8],
    range: Range<Position>,
}

impl Mirror {
    /// A mirror of nothing so far.
    pub(super) fn new(mode: FeedMirror, limits: &Limits) -> io::Result<Self> {
        // Where files may only be so large, this signal would end the process. An error does not.
        flag::register(SIGXFSZ, Arc::default())?;
        Ok(Self {
            mode,
            most_files: limits.mirror_chunks,
            files: VecDeque::new(),
            balance: 0,
            most_balance: WORTH * limits.feed_chunk() as u64,
            failed: None,
        })
    }

    /// Lets go of what the feed has let go of.
    pub(super) fn follow(&mut self, feed: &Feed) {
        while self.files.front().is_some_and(|file| file.chunk < feed.oldest()) {
            self.files.pop_front();
        }
    }

    /// What a client is owed next of the feed, as far as one chunk goes and at most so many bytes. `None`
    /// if it is too little.
    pub(super) fn piece<'a>(
        &self,
        feed: &'a Feed,
        owed: Range<Position>,
        most: usize,
    ) -> Option<Piece<'a>> {
        if self.most_files == 0 {
            return None;
        }
        let (chunk, bytes) = feed.chunk_at(owed.start)?;
        let end = owed.end.min(chunk + bytes.len() as u64).min(owed.start + most as u64);
        let least = if self.mode == FeedMirror::Always { 1 } else { LEAST_BYTES };
        (end - owed.start >= least).then_some(Piece { chunk, bytes, range: owed.start..end })
    }

    /// Sends a socket a piece. `None`: it is to be written, since that is cheaper, or cannot be sent.
    pub(super) fn send(
        &mut self,
        piece: &Piece<'_>,
        socket: impl AsFd,
    ) -> Option<io::Result<Sent>> {
        let file = self.mirrored(piece)?;
        let len = (piece.range.end - piece.range.start) as usize;
        let mut offset = piece.range.start - piece.chunk;
        let mut sent = Sent { bytes: 0, is_full: false };
        while sent.bytes < len {
            match sendfile(&socket, &file.file, Some(&mut offset), len - sent.bytes) {
                Ok(0) => return self.give_up("a file has become shorter"),
                // That may be less than there is room for: a signal is enough.
                Ok(bytes) => sent.bytes += bytes,
                Err(Errno::AGAIN) => {
                    sent.is_full = true;
                    break;
                }
                Err(Errno::INTR) => break,
                // What went before is told of first, whatever is wrong with the rest.
                Err(_) if sent.bytes > 0 => break,
                Err(error) if is_of_connection(error) => return Some(Err(error.into())),
                Err(error) => return self.give_up(error),
            }
        }
        Some(Ok(sent))
    }

    /// A client has taken so many bytes of a piece, however they came to it.
    pub(super) fn note_taken(&mut self, bytes: usize) {
        self.balance = self.most_balance.min(self.balance + bytes as u64);
    }

    /// The file that holds a piece, which is copied there before if that pays.
    fn mirrored(&mut self, piece: &Piece<'_>) -> Option<&ChunkFile> {
        let range = &piece.range;
        let held = match self.find(piece.chunk) {
            Ok(nth) => self.files[nth].held.clone(),
            // It would take the place of a newer one.
            Err(0) if self.files.len() == self.most_files => return None,
            Err(_) => range.start..range.start,
        };
        if range.start < held.start {
            return None;
        }
        if range.end > held.end {
            // The rest of the chunk will be owed soon, too.
            let missing = &piece.bytes[(held.end - piece.chunk) as usize..];
            if self.failed == Some(piece.chunk) || !self.pay(missing.len()) {
                return None;
            }
            if let Err(error) = self.copy(piece.chunk, range.start, missing) {
                if self.failed.is_none() {
                    warn!("cannot mirror the feed, and write it instead: {error}");
                }
                self.failed = Some(piece.chunk);
                return None;
            }
        }
        self.find(piece.chunk).ok().map(|nth| &self.files[nth])
    }

    /// Where a chunk's file is, or where it belongs.
    fn find(&self, chunk: Position) -> Result<usize, usize> {
        self.files.binary_search_by_key(&chunk, |file| file.chunk)
    }

    /// Whether it pays to copy so many bytes. Then they are paid.
    fn pay(&mut self, bytes: usize) -> bool {
        let cost = WORTH * bytes as u64;
        let pays = self.mode == FeedMirror::Always || cost <= self.balance;
        if pays {
            self.balance = self.balance.saturating_sub(cost);
        }
        pays
    }

    /// Copies bytes to the end of a chunk's file. If there is none, they begin at `start`.
    fn copy(&mut self, chunk: Position, start: Position, bytes: &[u8]) -> Result<(), Errno> {
        let nth = match self.find(chunk) {
            Ok(nth) => nth,
            Err(nth) => {
                let is_full = self.files.len() == self.most_files;
                if is_full {
                    self.files.pop_front();
                }
                let nth = nth - usize::from(is_full);
                let file = new_file()?;
                self.files.insert(nth, ChunkFile { chunk, held: start..start, file });
                nth
            }
        };
        self.files[nth].append(bytes)
    }

    /// From now on, everything is written.
    fn give_up(&mut self, why: impl Display) -> Option<io::Result<Sent>> {
        warn!("cannot send from the feed's mirror, and write everything from now on: {why}");
        self.most_files = 0;
        self.files.clear();
        None
    }
}

impl ChunkFile {
    fn append(&mut self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            match pwrite(&self.file, bytes, self.held.end - self.chunk) {
                Ok(0) => return Err(Errno::NOSPC),
                Ok(written) => {
                    self.held.end += written as u64;
                    bytes = &bytes[written..];
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn new_file() -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC;
    match memfd_create("oyezd feed", flags | MemfdFlags::NOEXEC_SEAL) {
        // Kernels before 6.3 do not know the seal.
        Err(Errno::INVAL) => memfd_create("oyezd feed", flags),
        result => result,
    }
}

/// Whether an error is that of a connection which has ended.
fn is_of_connection(error: Errno) -> bool {
    matches!(
        error,
        Errno::PIPE
            | Errno::CONNRESET
            | Errno::CONNABORTED
            | Errno::TIMEDOUT
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::NETDOWN
            | Errno::NOTCONN
    )
}
