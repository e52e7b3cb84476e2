//! The feed's mirror: its chunks in files, from which the kernel sends without a copy of its own.
//!
//! Bytes that are written to a thousand sockets are copied a thousand times. Bytes that stand in a file
//! are not: `sendfile` hands the file's pages to every socket. So what many clients are owed much of is
//! copied into a file in memory, once, and sent from there: where that is cheaper on this machine, which
//! is tried.
//!
//! A socket may hold pages long after they were sent, until its peer has taken them. So what a file
//! holds is never written again, and when its chunk goes, the file is only closed: the pages live for as
//! long as somebody needs them. (Punching holes into one file for all is no way: where the kernel uses
//! large pages, that puts zeros into lines that are on their way.) Where it uses large pages for memory
//! files, what a stalled socket holds of a file that is closed may be a whole one of them.
//!
//! Whatever fails here costs time alone: what is not sent from the mirror is written.

mod choice;

use std::collections::VecDeque;
use std::fmt::Display;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use log::warn;
use mio::net::TcpStream;
use rustix::fs::{MemfdFlags, memfd_create, sendfile};
use rustix::io::{Errno, pwrite};
use signal_hook::flag;

use crate::config::FeedMirror;
use crate::hub::{Feed, Position};
use crate::limits::Limits;
use crate::transport::{Sent, Transport};
use choice::{Choice, Way};

/// signal-hook has no name for it.
const SIGXFSZ: i32 = rustix::process::Signal::XFSZ.as_raw();

/// From so many bytes on, to send a file's pages may be cheaper than to copy them.
const LEAST_BYTES: u64 = 16 * 1024;

/// The feed is copied while clients take so many times as much in large pieces as it grows.
const WORTH: u64 = 6;

/// Whether they do is seen whenever it has grown by so many bytes.
const WINDOW: u64 = 64 * 1024;

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
    /// Whether it pays to copy what comes.
    pays: bool,
    /// Where the feed's head was when that was last seen, and how many bytes clients have taken since.
    seen_at: Position,
    taken: u64,
    choice: Choice,
    /// The chunk of which no more is copied, since that has failed.
    failed: Option<Position>,
}

/// The file of one chunk.
#[derive(Debug)]
struct ChunkFile {
    /// Where the chunk begins, and the file with it.
    chunk: Position,
    /// What of the chunk is in the file, and may be sent.
    held: Range<Position>,
    file: OwnedFd,
}

/// A stretch of one chunk that a client is owed next, large enough to be sent from a file.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    chunk: Position,
    /// All that is in the chunk.
    bytes: &'a [u8],
    is_newest: bool,
    range: Range<Position>,
}

impl Mirror {
    /// A mirror of nothing so far.
    pub(super) fn new(mode: FeedMirror, limits: &Limits) -> io::Result<Self> {
        let most_files = if mode == FeedMirror::Off { 0 } else { limits.mirror_chunks };
        if most_files > 0 {
            // Where files may only be so large, this signal would end the process. An error does not.
            flag::register(SIGXFSZ, Arc::default())?;
        }
        Ok(Self {
            mode,
            most_files,
            files: VecDeque::new(),
            pays: mode == FeedMirror::Always,
            seen_at: 0,
            taken: 0,
            choice: Choice::new(),
            failed: None,
        })
    }

    /// Lets go of what the feed has let go of, and sees whether it pays to copy what comes.
    pub(super) fn follow(&mut self, feed: &Feed) {
        let grown = feed.head() - self.seen_at;
        if grown >= WINDOW || self.taken >= WORTH * WINDOW {
            let many = WORTH * grown.max(WINDOW);
            self.pays = self.mode == FeedMirror::Always || self.taken >= many;
            self.seen_at = feed.head();
            self.taken = 0;
        }
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
        let is_newest = chunk + bytes.len() as u64 == feed.head();
        (end - owed.start >= least).then_some(Piece {
            chunk,
            bytes,
            is_newest,
            range: owed.start..end,
        })
    }

    /// Hands a socket a piece: sends it, or has it written, where that is cheaper or the piece cannot be
    /// sent.
    pub(super) fn hand_over(
        &mut self,
        piece: &Piece<'_>,
        transport: &mut Transport,
        write: impl FnOnce(&mut Transport) -> io::Result<Sent>,
    ) -> io::Result<Sent> {
        let begun = self.choice.is_on_trial().then(Instant::now);
        let way = if self.mode == FeedMirror::Always { Way::Sent } else { self.choice.way() };
        let sent = match way {
            Way::Sent => transport.plain_tcp().and_then(|socket| self.send(piece, socket)),
            Way::Written => None,
        };
        let (way, sent) = match sent {
            Some(result) => (Way::Sent, result?),
            None => (Way::Written, write(transport)?),
        };
        self.taken += sent.bytes as u64;
        if let Some(begun) = begun
            && sent.bytes as u64 >= LEAST_BYTES
        {
            self.choice.note_cost(way, sent.bytes, begun.elapsed());
        }
        self.choice.note_piece();
        Ok(sent)
    }

    /// Sends a piece from its file. `None`: it has to be written.
    fn send(&mut self, piece: &Piece<'_>, socket: &TcpStream) -> Option<io::Result<Sent>> {
        let file = self.mirrored(piece)?;
        let len = (piece.range.end - piece.range.start) as usize;
        let mut offset = piece.range.start - piece.chunk;
        let mut sent = Sent { bytes: 0, is_full: false };
        while sent.bytes < len {
            match sendfile(socket, &file.file, Some(&mut offset), len - sent.bytes) {
                Ok(0) if sent.bytes == 0 => return self.give_up("a file has become shorter"),
                Ok(0) => break,
                // That may be less than there is room for: a signal is enough.
                Ok(bytes) => sent.bytes += bytes,
                Err(Errno::AGAIN) => {
                    sent.is_full = true;
                    break;
                }
                Err(Errno::INTR) => break,
                // What went before is told of first, whatever is wrong with the rest.
                Err(_) if sent.bytes > 0 => break,
                Err(Errno::NOMEM | Errno::NOBUFS) => return None,
                Err(error) if is_of_system(error) => return self.give_up(error),
                Err(error) => return Some(Err(error.into())),
            }
        }
        Some(Ok(sent))
    }

    /// The file that holds a piece, which is copied there before if that pays.
    fn mirrored(&mut self, piece: &Piece<'_>) -> Option<&ChunkFile> {
        let range = &piece.range;
        let held = match self.find(piece.chunk) {
            Ok(nth) if range.start <= self.files[nth].held.end => self.files[nth].held.clone(),
            // It would take the place of a newer one.
            Err(0) if self.files.len() == self.most_files => return None,
            // Only what is new is sure to be owed to many.
            Ok(_) | Err(_) if !piece.is_newest && self.mode != FeedMirror::Always => return None,
            Ok(_) | Err(_) => range.start..range.start,
        };
        if range.start < held.start {
            return None;
        }
        if range.end > held.end {
            if !self.pays || self.failed == Some(piece.chunk) {
                return None;
            }
            // The rest of the chunk will be owed soon, too.
            let missing = &piece.bytes[(held.end - piece.chunk) as usize..];
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

    /// Copies bytes to the end of a chunk's file. If there is none, or it ends before `start`, what it
    /// holds begins there.
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
        let file = &mut self.files[nth];
        if file.held.end < start {
            file.held = start..start;
        }
        file.append(bytes)
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

/// Whether an error says that this cannot be done here. All others are those of a connection.
fn is_of_system(error: Errno) -> bool {
    matches!(
        error,
        Errno::INVAL | Errno::NOSYS | Errno::PERM | Errno::BADF | Errno::SPIPE | Errno::IO
    )
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;
    use crate::hub::{AllowShutdown, Hub, Origin, Rules, Secrets, SlowClients};
    use crate::protocol::FeedId;

    const FEED_SIZE: usize = Limits::MIN_FEED_SIZE;

    /// A feed that grows as it is told to, and a mirror of it.
    struct World {
        hub: Hub,
        speaker: usize,
        mirror: Mirror,
        random: u64,
    }

    impl World {
        fn new(mode: FeedMirror) -> Self {
            let limits = Limits { feed_size: FEED_SIZE, ..Limits::default() };
            let rules = Rules {
                limits,
                secrets: Secrets::default(),
                allow_shutdown: AllowShutdown::Nobody,
                slow_clients: SlowClients::Skip,
                report_lines: false,
            };
            let mut hub = Hub::new(rules, FeedId(1));
            let speaker = hub.connect(Origin { is_local: true });
            hub.handle_up(speaker);
            let mirror = Mirror::new(mode, &limits).expect("a signal can be ignored");
            Self { hub, speaker, mirror, random: 1 }
        }

        fn below(&mut self, end: u64) -> u64 {
            self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (self.random >> 33) % end
        }

        /// Lines of so many bytes in all, or a few less, come to the feed.
        fn grow(&mut self, bytes: u64) {
            let up_to = self.hub.feed().head() + bytes;
            while self.hub.feed().head() + 100 < up_to {
                self.hub.begin_turn(0);
                let words = "x".repeat(1 + self.below(60) as usize);
                self.hub.handle_readable(self.speaker);
                self.hub.poll_read();
                self.hub.handle_input(self.speaker, format!("say {words}\n").as_bytes());
                self.hub.execute();
                while let Some(key) = self.hub.poll_flush() {
                    let owed = self.hub.spans(key).map(|span| match span {
                        crate::hub::Span::Own(bytes) => bytes.len() as u64,
                        crate::hub::Span::Feed(range) => range.end - range.start,
                    });
                    let owed: u64 = owed.sum();
                    self.hub.consume(key, owed as usize, false);
                }
            }
            self.mirror.follow(self.hub.feed());
        }

        fn text(&self, range: Range<Position>) -> Vec<u8> {
            self.hub.feed().slices(range).flatten().copied().collect()
        }

        /// Has the mirror send what stands there, if it does: what has come.
        fn send(&mut self, range: Range<Position>) -> Option<Vec<u8>> {
            let (socket, mut peer) = pair();
            let piece = self.mirror.piece(self.hub.feed(), range, FEED_SIZE)?;
            let sent = self.mirror.send(&piece, &socket)?.expect("it is connected");
            drop(socket);
            let mut received = vec![];
            peer.read_to_end(&mut received).expect("it is sent and ended");
            assert_eq!(received.len(), sent.bytes);
            Some(received)
        }
    }

    fn pair() -> (TcpStream, std::net::TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there are ports");
        let address = listener.local_addr().expect("it listens");
        let peer = std::net::TcpStream::connect(address).expect("it listens");
        let (socket, _) = listener.accept().expect("somebody has connected");
        socket.set_nonblocking(true).expect("it is a socket");
        (TcpStream::from_std(socket), peer)
    }

    #[test]
    fn what_is_sent_is_what_the_feed_has_wherever_one_stands() {
        let mut world = World::new(FeedMirror::Always);
        let mut in_all = 0;
        for _ in 0..1000 {
            let bytes = world.below(4000);
            world.grow(bytes);
            let (oldest, head) = (world.hub.feed().oldest(), world.hub.feed().head());
            let from = oldest + world.below(head - oldest + 1);
            if let Some(received) = world.send(from..head) {
                assert_eq!(received, world.text(from..from + received.len() as u64));
                in_all += received.len();
            }
            let files = &world.mirror.files;
            assert!(files.iter().all(|file| file.chunk >= oldest), "what is gone is closed");
            assert!(files.iter().is_sorted_by(|a, b| a.chunk < b.chunk) && files.len() <= 4);
        }
        assert!(world.hub.feed().oldest() > 4 * FEED_SIZE as u64 && in_all > FEED_SIZE);
    }

    #[test]
    fn the_feed_is_copied_while_many_take_what_comes() {
        for (clients, is_worth_it) in [(1, false), (WORTH - 1, false), (WORTH + 1, true)] {
            let mut world = World::new(FeedMirror::Auto);
            let mut sent = 0;
            for _ in 0..40 {
                let from = world.hub.feed().head();
                world.grow(2 * LEAST_BYTES);
                for _ in 0..clients {
                    let head = world.hub.feed().head();
                    match world.send(from..head) {
                        Some(received) => {
                            sent += received.len();
                            world.mirror.taken += received.len() as u64;
                        }
                        None => world.mirror.taken += head - from,
                    }
                }
            }
            assert_eq!(sent > 0, is_worth_it, "{clients} clients were sent {sent} bytes");
            assert!(is_worth_it || world.mirror.files.is_empty());
        }
    }

    #[test]
    fn little_is_written() {
        let mut world = World::new(FeedMirror::Auto);
        world.mirror.pays = true;
        world.grow(LEAST_BYTES + 100);
        let head = world.hub.feed().head();
        assert!(world.send(head + 1 - LEAST_BYTES..head).is_none());
        let received = world.send(head - LEAST_BYTES..head).expect("it is worth it");
        assert_eq!(received, world.text(head - LEAST_BYTES..head));
    }

    #[test]
    fn a_mirror_that_cannot_be_sent_from_is_given_up() {
        for replace in [shorter, pipe] {
            let mut world = World::new(FeedMirror::Always);
            world.grow(20_000);
            let head = world.hub.feed().head();
            assert!(world.send(0..head).is_some());
            replace(&mut world.mirror.files[0].file);
            let from = match world.send(0..head) {
                Some(received) => {
                    assert_eq!(received, world.text(0..5000), "what it still has is sent");
                    5000
                }
                None => 0,
            };
            assert!(world.send(from..head).is_none());
            assert!(world.mirror.files.is_empty());
            world.grow(20_000);
            assert!(world.send(0..head).is_none(), "for good");
        }

        fn shorter(file: &mut OwnedFd) {
            rustix::fs::ftruncate(file, 5000).expect("it can be");
        }

        fn pipe(file: &mut OwnedFd) {
            *file = rustix::pipe::pipe().expect("there are descriptors").0;
        }
    }

    #[test]
    fn a_chunk_that_cannot_be_copied_is_written_and_the_next_one_is_tried() {
        let mut world = World::new(FeedMirror::Always);
        world.grow(20_000);
        let half = world.hub.feed().head();
        assert!(world.send(0..half).is_some());
        let (reader, _writer) = rustix::pipe::pipe().expect("there are descriptors");
        world.mirror.files[0].file = reader;
        world.grow(20_000);
        let head = world.hub.feed().head();
        assert!(world.send(half..head).is_none());
        assert_eq!(world.mirror.failed, Some(0));
        world.grow(FEED_SIZE as u64 / 4);
        let head = world.hub.feed().head();
        let (chunk, _) = world.hub.feed().chunk_at(head - 1).expect("it is kept");
        assert_eq!(world.send(chunk..head), Some(world.text(chunk..head)));
    }
}
