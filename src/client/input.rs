//! Standard input and input files in a poll loop.
//!
//! Standard input stays in blocking mode: O_NONBLOCK would also affect other processes that share
//! the terminal or pipe. Input is therefore read only when poll reports some.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// U+FEFF in UTF-8. Some programs write it at the start of a file, but it is not part of the text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Files that are read one after another. By default there are none, and the input counts as ended.
///
/// A U+FEFF at the start of a file is dropped. If another file follows, a partial line at the end
/// of a file is completed with an LF.
#[derive(Debug, Default)]
pub(super) struct Input {
    files: VecDeque<InputFile>,
}

#[derive(Debug)]
struct InputFile {
    /// How errors name the file.
    name: String,
    /// `None` is standard input.
    file: Option<File>,
    /// The file does not support polling, for example because it is a regular file. Reading it does
    /// not block for long.
    is_always_ready: bool,
    is_ready: bool,
    /// While the start of the file may be a U+FEFF, the number of its bytes that were read.
    held: Option<usize>,
    /// The last byte read is not an LF.
    has_partial_line: bool,
}

impl Input {
    /// Opens all files, so that a missing one is reported before any is read. `-` is standard
    /// input.
    pub(super) fn open(
        paths: &[PathBuf],
        registry: &Registry,
        token: Token,
    ) -> Result<Self, String> {
        let files = paths.iter().map(|path| InputFile::open(path, registry, token));
        Ok(Self { files: files.collect::<Result<_, _>>()? })
    }

    pub(super) fn on_event(&mut self) {
        if let Some(file) = self.files.front_mut() {
            file.is_ready = true;
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.files.is_empty()
    }

    /// Returns whether a read may return data without another poll.
    pub(super) fn is_ready(&self) -> bool {
        self.files.front().is_some_and(|file| file.is_ready)
    }

    /// Reads without blocking. Returns the number of bytes, or 0 if there is no input yet or it has
    /// ended.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, String> {
        let Some(file) = self.files.front_mut() else { return Ok(0) };
        if !file.is_always_ready && !file.check_ready() {
            return Ok(0);
        }
        let held = file.held.unwrap_or_default();
        buffer[..held].copy_from_slice(&BYTE_ORDER_MARK[..held]);
        let len = match rustix::io::read(&*file, &mut buffer[held..]) {
            Ok(len) => len,
            Err(Errno::INTR | Errno::AGAIN) => return Ok(0),
            // The terminal hung up.
            Err(Errno::IO) if file.as_fd().is_terminal() => 0,
            Err(error) => return Err(format!("cannot read {}: {error}", file.name)),
        };
        if len > 0 {
            return Ok(file.accept(&mut buffer[..held + len]));
        }
        let has_partial_line = file.has_partial_line || held > 0;
        self.files.pop_front();
        if self.files.is_empty() || !has_partial_line {
            return Ok(held);
        }
        buffer[held] = b'\n';
        Ok(held + 1)
    }
}

impl InputFile {
    fn open(path: &Path, registry: &Registry, token: Token) -> Result<Self, String> {
        let is_stdin = path == Path::new("-");
        let name = if is_stdin { "standard input".into() } else { path.display().to_string() };
        let cannot_read = |error: io::Error| format!("cannot read {name}: {error}");
        let file = if is_stdin { None } else { Some(open(path).map_err(cannot_read)?) };
        let fd = file.as_ref().map_or(io::stdin().as_raw_fd(), |file| file.as_raw_fd());
        let is_always_ready = match registry.register(&mut SourceFd(&fd), token, Interest::READABLE)
        {
            Ok(()) => false,
            Err(error) => match error.kind() {
                io::ErrorKind::PermissionDenied => true,
                // Standard input is given twice.
                io::ErrorKind::AlreadyExists => false,
                _ => return Err(cannot_read(error)),
            },
        };
        Ok(Self {
            name,
            file,
            is_always_ready,
            is_ready: true,
            held: Some(0),
            has_partial_line: false,
        })
    }

    /// Polls the file alone, level-triggered. mio's events are edge-triggered, so none reports input
    /// that was left unread.
    fn check_ready(&mut self) -> bool {
        let no_wait = Timespec { tv_sec: 0, tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(self, PollFlags::IN)], Some(&no_wait));
        self.is_ready = ready.is_ok_and(|ready| ready > 0);
        self.is_ready
    }

    /// Drops a U+FEFF from the first bytes of the file. Returns the number of bytes that remain.
    fn accept(&mut self, bytes: &mut [u8]) -> usize {
        let mut len = bytes.len();
        if self.held.take().is_some() {
            if len < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(bytes) {
                self.held = Some(len);
                return 0;
            }
            if bytes.starts_with(BYTE_ORDER_MARK) {
                bytes.copy_within(BYTE_ORDER_MARK.len().., 0);
                len -= BYTE_ORDER_MARK.len();
            }
        }
        if let Some(last) = bytes[..len].last() {
            self.has_partial_line = *last != b'\n';
        }
        len
    }
}

impl AsFd for InputFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_ref().map_or(rustix::stdio::stdin(), |file| file.as_fd())
    }
}

/// Opens a file, a named pipe or a device, without waiting for a named pipe's writer.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if file.metadata()?.is_dir() {
        return Err(Errno::ISDIR.into());
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::OwnedFd;

    use mio::Poll;

    use super::*;

    /// Opens a pipe for each input and writes it in pieces. Returns what is read after each piece.
    fn read_pieces(inputs: &[&[&[u8]]]) -> Vec<Vec<u8>> {
        let poll = Poll::new().expect("a poll");
        let (paths, mut writers): (Vec<_>, Vec<_>) = inputs
            .iter()
            .map(|_| {
                let (reader, writer) = io::pipe().expect("a pipe");
                let path = PathBuf::from(format!("/dev/fd/{}", reader.as_raw_fd()));
                ((path, reader), Some(writer))
            })
            .unzip();
        let (paths, readers): (Vec<PathBuf>, Vec<_>) = paths.into_iter().unzip();
        let mut input = Input::open(&paths, poll.registry(), Token(0)).expect("open pipes");
        drop(readers.into_iter().map(OwnedFd::from).collect::<Vec<_>>());
        let mut read = vec![];
        let mut take = |input: &mut Input| {
            let mut buffer = [0; 64];
            let len = input.read(&mut buffer).expect("readable");
            read.push(buffer[..len].to_vec());
        };
        for (pieces, writer) in inputs.iter().zip(&mut writers) {
            for piece in *pieces {
                writer.as_mut().expect("open").write_all(piece).expect("written");
                take(&mut input);
            }
            *writer = None;
            take(&mut input);
        }
        assert!(input.has_ended());
        read
    }

    #[test]
    fn byte_order_mark_at_the_start_is_dropped() {
        const BOM: &[u8] = BYTE_ORDER_MARK;
        for (pieces, expected) in [
            (&[&b"\xef\xbb\xbfa\n"[..]][..], &[&b"a\n"[..], b""][..]),
            (&[b"\xef", b"\xbb", b"\xbf", b"a"], &[b"", b"", b"", b"a", b""]),
            (&[b"\xef\xbb", b"\xbfa"], &[b"", b"a", b""]),
            (&[b"\xef", b"\xbba"], &[b"", b"\xef\xbba", b""]),
            (&[b"\xef\xbb"], &[b"", b"\xef\xbb"]),
            (&[BOM], &[b"", b""]),
            (&[BOM, BOM], &[b"", BOM, b""]),
            (&[b"a", BOM], &[b"a", BOM, b""]),
            (&[b"\xef\xbc\x81"], &[b"\xef\xbc\x81", b""]),
            (&[], &[b""]),
        ] {
            assert_eq!(read_pieces(&[pieces]), expected, "{pieces:?}");
        }
    }

    #[test]
    fn files_are_joined_at_line_ends() {
        assert_eq!(
            read_pieces(&[
                &[b"\xef\xbb\xbfa", b"b"],
                &[],
                &[b"\xef"],
                &[b"\xef\xbb\xbfc\n"],
                &[b"d"]
            ]),
            [&b"a"[..], b"b", b"\n", b"", b"", b"\xef\n", b"c\n", b"", b"d", b""]
        );
    }

    #[test]
    fn missing_file_or_folder_is_an_error() {
        let poll = Poll::new().expect("a poll");
        for (path, error) in [
            ("/nowhere/x", "cannot read /nowhere/x: No such file"),
            ("/", "cannot read /: Is a directory"),
            ("", "cannot read : No such file"),
        ] {
            let paths = ["/dev/null".into(), path.into()];
            let opened = Input::open(&paths, poll.registry(), Token(0));
            let actual = opened.map(|_| ()).expect_err(path);
            assert!(actual.starts_with(error), "{actual}");
        }
    }
}
