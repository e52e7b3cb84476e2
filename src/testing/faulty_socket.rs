//! Sockets that are not real, and what must hold whatever comes over them. For tests and fuzzers alone.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::rc::Rc;

use crate::net::stream::Stream;

/// A socket of a kind that no system has.
pub(crate) trait Socket: Read + Write + fmt::Debug {
    fn shutdown_write(&self) -> io::Result<()>;
}

/// Numbers that look random, the same ones for the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(Rc<Cell<u64>>);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Rc::new(Cell::new(seed)))
    }

    /// A number below this one.
    pub(crate) fn below(&self, end: usize) -> usize {
        // Any generator will do; this one is Knuth's.
        self.0.set(self.0.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        (self.0.get() >> 33) as usize % end
    }
}

/// One way between two sockets.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    pub(crate) bytes: VecDeque<u8>,
    pub(crate) is_ended: bool,
    pub(crate) is_reset: bool,
}

/// A socket that takes and gives as much as it likes, or nothing, or an error that means nothing.
#[derive(Debug)]
pub(crate) struct FaultySocket {
    incoming: Rc<RefCell<Pipe>>,
    outgoing: Rc<RefCell<Pipe>>,
    random: Random,
}

/// How much a pipe holds, in bytes.
const PIPE_SIZE: usize = 20_000;

impl FaultySocket {
    /// Two that are connected, and the two ways between them.
    pub(crate) fn pair(random: &Random) -> ([Stream; 2], [Rc<RefCell<Pipe>>; 2]) {
        let pipes = [Rc::default(), Rc::default()];
        let end = |incoming: &Rc<RefCell<Pipe>>, outgoing: &Rc<RefCell<Pipe>>| {
            let (incoming, outgoing) = (Rc::clone(incoming), Rc::clone(outgoing));
            Stream::Unreal(Box::new(Self { incoming, outgoing, random: random.clone() }))
        };
        ([end(&pipes[0], &pipes[1]), end(&pipes[1], &pipes[0])], pipes)
    }

    /// How many of so many bytes it is in the mood for.
    fn mood(&self, bytes: usize) -> io::Result<usize> {
        match self.random.below(6) {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            1 => Err(io::ErrorKind::Interrupted.into()),
            2 => Ok(bytes.min(1)),
            3 => Ok(bytes),
            _ => Ok(bytes.min(1 + self.random.below(3000))),
        }
    }
}

impl Read for FaultySocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut pipe = self.incoming.borrow_mut();
        if pipe.bytes.is_empty() {
            return match (pipe.is_reset, pipe.is_ended) {
                (true, _) => Err(io::ErrorKind::ConnectionReset.into()),
                (_, true) => Ok(0),
                _ => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        let most = self.mood(buffer.len())?;
        pipe.bytes.read(&mut buffer[..most])
    }
}

impl Write for FaultySocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut pipe = self.outgoing.borrow_mut();
        if pipe.is_reset {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let most = self.mood(bytes.len().min(PIPE_SIZE - pipe.bytes.len()))?;
        if most == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        pipe.bytes.write(&bytes[..most])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for FaultySocket {
    fn shutdown_write(&self) -> io::Result<()> {
        self.outgoing.borrow_mut().is_ended = true;
        Ok(())
    }
}

/// Bytes that a fuzzer makes up, on an encrypted port: nobody is taken for a client because of them.
#[cfg(feature = "tls")]
pub fn accept(data: &[u8]) {
    use std::sync::OnceLock;

    use crate::net::tls::ServerTls;
    use crate::net::tls_config::{Identity, ServerTrust};
    use crate::read_outcome::ReadOutcome;

    static TLS: OnceLock<ServerTls> = OnceLock::new();
    let tls = TLS.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("oyez-trials-{}", std::process::id()));
        let identity = Identity::SelfSigned { folder: folder.clone() };
        let tls = ServerTls::read(&ServerTrust { identity, client_ca: None });
        let _ = std::fs::remove_dir_all(folder);
        tls.expect("a certificate can be made")
    });
    let Some((seed, data)) = data.split_first() else { return };
    let ([near, _far], pipes) = FaultySocket::pair(&Random::new((*seed).into()));
    pipes[0].borrow_mut().bytes.extend(data);
    pipes[0].borrow_mut().is_ended = true;
    let mut transport = tls.accept(near).expect("a connection");
    let mut buffer = [0; 4096];
    for turn in 0.. {
        assert!(turn < 10_000 + 100 * data.len(), "it does not end");
        match transport.read(&mut buffer) {
            ReadOutcome::Data(_) => panic!("the fuzzer has completed a handshake"),
            ReadOutcome::Eof | ReadOutcome::Truncated | ReadOutcome::Failed(_) => break,
            _ => {}
        }
        assert!(!transport.is_established(), "hands were shaken");
        // What the peer does not take is no reason to do anything else.
        pipes[1].borrow_mut().bytes.clear();
    }
}

/// Has every file of a committed corpus, and of those that once were too much, hold.
#[cfg(test)]
pub(crate) fn replay(target: &str, property: fn(&[u8])) {
    let folder = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let entries = std::fs::read_dir(&folder).expect("a corpus");
    let files: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    assert!(files.len() >= 10, "{folder} has {} files only", files.len());
    for file in files {
        eprintln!("{}", file.display());
        property(&std::fs::read(file).expect("a file"));
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;
    use crate::net::transport::Transport;
    use crate::read_outcome::ReadOutcome;

    /// One side of a conversation: what it has to say, and what it was told.
    struct Side {
        transport: Transport,
        message: Vec<u8>,
        said: usize,
        heard: Vec<u8>,
        /// The peer's end was read.
        has_end: bool,
    }

    impl Side {
        fn new(transport: Transport, random: &Random) -> Self {
            let length = random.below(60_000);
            let message = (0..length).map(|_| random.below(256) as u8).collect();
            Self { transport, message, said: 0, heard: vec![], has_end: false }
        }

        fn is_all_said(&self) -> bool {
            self.said == self.message.len()
        }

        /// Says some of it, in a few slices, or takes what there is.
        fn go_on(&mut self, random: &Random) -> io::Result<()> {
            if random.below(2) == 0 {
                return self.hear();
            }
            if !self.transport.is_established() {
                return self.transport.flush().map(|_| ());
            }
            let rest = &self.message[self.said..];
            let (first, rest) = rest.split_at(random.below(rest.len() + 1));
            let (second, third) = rest.split_at(random.below(rest.len() + 1));
            let slices = [first, second, third].map(IoSlice::new);
            self.said += self.transport.write(&slices)?.bytes;
            Ok(())
        }

        fn hear(&mut self) -> io::Result<()> {
            let mut buffer = [0; 40_000];
            match self.transport.read(&mut buffer) {
                ReadOutcome::Data(bytes) => self.heard.extend_from_slice(bytes),
                ReadOutcome::NoData | ReadOutcome::WouldBlock => {}
                ReadOutcome::CloseNotify | ReadOutcome::Eof => self.has_end = true,
                ReadOutcome::Truncated => return Err(io::ErrorKind::UnexpectedEof.into()),
                ReadOutcome::TlsFailed(failure) => {
                    return Err(io::Error::other(failure.to_string()));
                }
                ReadOutcome::Failed(error) => return Err(error),
            }
            Ok(())
        }
    }

    type Pair = ([Transport; 2], [Rc<RefCell<Pipe>>; 2]);

    /// Whatever moods the sockets have, all arrives, in order, and then the end; and if they break, a
    /// beginning of it, and then an error.
    fn carries(pair: impl Fn(&Random) -> Pair, seeds: u64) {
        for seed in 0..seeds {
            let random = Random::new(seed);
            let (transports, pipes) = pair(&random);
            let [mut a, mut b] = transports.map(|transport| Side::new(transport, &random));
            let breaks_at = if random.below(3) == 0 { random.below(3000) } else { usize::MAX };
            let mut errors = 0;
            for step in 0.. {
                assert!(step < 100_000, "seed {seed}: it does not end");
                if step == breaks_at {
                    pipes.iter().for_each(|pipe| pipe.borrow_mut().is_reset = true);
                }
                let side = if random.below(2) == 0 { &mut a } else { &mut b };
                errors += usize::from(side.go_on(&random).is_err());
                let is_done = a.is_all_said() && b.is_all_said();
                if errors > 0 || (is_done && a.heard == b.message && b.heard == a.message) {
                    break;
                }
            }
            assert!(a.message.starts_with(&b.heard), "seed {seed}");
            assert!(b.message.starts_with(&a.heard), "seed {seed}");
            if errors > 0 {
                assert!(breaks_at < usize::MAX, "seed {seed}: an error that means something");
                continue;
            }
            let mut is_finished = false;
            for step in 0.. {
                assert!(step < 10_000, "seed {seed}: there is no end");
                is_finished = is_finished || a.transport.finish().unwrap_or(true);
                if breaks_at < usize::MAX || b.hear().is_err() || b.has_end {
                    break;
                }
            }
            assert!(b.has_end || breaks_at < usize::MAX, "seed {seed}: no end was seen");
        }
    }

    #[test]
    fn a_plain_transport_carries_everything_whatever_the_socket_does() {
        carries(
            |random| {
                let (streams, pipes) = FaultySocket::pair(random);
                (streams.map(Transport::Plain), pipes)
            },
            300,
        );
    }

    #[cfg(feature = "tls")]
    #[test]
    fn the_committed_corpus_holds() {
        replay("tls", accept);
    }

    #[cfg(feature = "tls")]
    #[test]
    fn an_encrypted_transport_carries_everything_whatever_the_socket_does() {
        use crate::net::tls::{ClientTls, ServerTls};
        use crate::net::tls_config::{ClientTrust, Identity, ServerTrust, ServerVerification};

        let folder = tempfile::tempdir().expect("a folder");
        let identity = Identity::SelfSigned { folder: folder.path().into() };
        let server = ServerTls::read(&ServerTrust { identity, client_ca: None }).expect("made");
        let trust = ServerVerification::Pinned(server.fingerprint());
        let client = ClientTls::new("localhost", &ClientTrust { trust, identity: None });
        let client = client.expect("a name");
        carries(
            |random| {
                let ([near, far], pipes) = FaultySocket::pair(random);
                let near = client.connect(near).expect("a connection");
                let far = server.accept(far).expect("a connection");
                ([near, far].map(|tls| Transport::Tls(Box::new(tls))), pipes)
            },
            100,
        );
    }
}
