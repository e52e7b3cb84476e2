//! What the servers' clients say: how to come in, how to publish a line, and how to find it again.

use std::ops::Range;

/// A server's protocol, as far as fan-out needs it. All use one channel, named `c` where it has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Oyez,
    /// Whatever is sent, the others get.
    Raw,
    Redis,
    Nats,
    Mqtt,
    Irc,
}

/// What stands at the beginning of what was received.
#[derive(Debug)]
pub(crate) enum ReadOutcome {
    /// A published line, at this place, and how many bytes it takes in all.
    Line(Range<usize>, usize),
    /// So many bytes of something else.
    Other(usize),
    /// Nothing whole.
    Partial,
}

impl Wire {
    /// Whether one connection can publish and receive.
    pub(crate) fn talks_and_hears(self) -> bool {
        self != Self::Redis
    }

    /// Whether who publishes gets it, too.
    pub(crate) fn echoes(self) -> bool {
        matches!(self, Self::Oyez | Self::Nats | Self::Mqtt)
    }

    /// What a client says first, which is to hear what is published, or only to publish.
    pub(crate) fn greeting(self, nth: usize, hears: bool) -> Vec<u8> {
        match self {
            Self::Oyez if hears => Vec::new(),
            Self::Oyez => b"quiet\n".to_vec(),
            Self::Raw => Vec::new(),
            Self::Redis if hears => b"SUBSCRIBE c\r\n".to_vec(),
            Self::Redis => Vec::new(),
            Self::Nats => {
                let subscribe = if hears { "SUB c 1\r\n" } else { "" };
                format!("CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\n{subscribe}")
                    .into_bytes()
            }
            Self::Mqtt => {
                let name = format!("c{nth}");
                // Clean session, never anything to keep it alive.
                let mut packet = vec![0x10, 12 + name.len() as u8, 0, 4];
                packet.extend_from_slice(b"MQTT\x04\x02\x00\x00");
                packet.extend_from_slice(&[0, name.len() as u8]);
                packet.extend_from_slice(name.as_bytes());
                if hears {
                    packet.extend_from_slice(&[0x82, 6, 0, 1, 0, 1, b'c', 0]);
                }
                packet
            }
            Self::Irc => format!("NICK n{nth}\r\nUSER u 0 * :u\r\nJOIN #c\r\n").into_bytes(),
        }
    }

    /// Appends what publishes a line. It holds no control characters, and at least one character.
    pub(crate) fn publish(self, line: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Oyez => {
                out.extend_from_slice(b"broadcast ");
                out.extend_from_slice(line);
                out.push(b'\n');
            }
            Self::Raw => {
                out.extend_from_slice(line);
                out.push(b'\n');
            }
            Self::Redis => {
                let head = format!("*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n${}\r\n", line.len());
                out.extend_from_slice(head.as_bytes());
                out.extend_from_slice(line);
                out.extend_from_slice(b"\r\n");
            }
            Self::Nats => {
                out.extend_from_slice(format!("PUB c {}\r\n", line.len()).as_bytes());
                out.extend_from_slice(line);
                out.extend_from_slice(b"\r\n");
            }
            Self::Mqtt => {
                let mut left = 3 + line.len();
                out.push(0x30);
                while left >= 128 {
                    out.push(0x80 | left as u8);
                    left /= 128;
                }
                out.push(left as u8);
                out.extend_from_slice(&[0, 1, b'c']);
                out.extend_from_slice(line);
            }
            Self::Irc => {
                out.extend_from_slice(b"PRIVMSG #c :");
                out.extend_from_slice(line);
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// What stands at the beginning of `bytes`, where published lines are `size` bytes long.
    pub(crate) fn next(self, bytes: &[u8], size: usize) -> ReadOutcome {
        if self == Self::Mqtt {
            return next_packet(bytes);
        }
        let Some(lf) = memchr::memchr(b'\n', bytes) else { return ReadOutcome::Partial };
        let end = lf - usize::from(lf > 0 && bytes[lf - 1] == b'\r');
        let begins = |word: &[u8]| bytes.starts_with(word);
        let is_published = match self {
            Self::Oyez => begins(b"broadcast "),
            // What surrounds a line there are short lines, but for what is said at the beginning.
            Self::Raw | Self::Redis | Self::Nats => end == size && !begins(b"INFO "),
            Self::Irc => {
                begins(b":n") && memchr::memmem::find(&bytes[..end], b" PRIVMSG #c :").is_some()
            }
            Self::Mqtt => unreachable!("it has packets"),
        };
        match end.checked_sub(size) {
            Some(start) if is_published => ReadOutcome::Line(start..end, lf + 1),
            _ => ReadOutcome::Other(lf + 1),
        }
    }
}

fn next_packet(bytes: &[u8]) -> ReadOutcome {
    let mut len = 0;
    let mut digits = 0;
    loop {
        let Some(&digit) = bytes.get(1 + digits) else { return ReadOutcome::Partial };
        len |= usize::from(digit & 0x7f) << (7 * digits);
        digits += 1;
        if digit < 0x80 {
            break;
        }
    }
    let start = 1 + digits;
    let end = start + len;
    if bytes.len() < end {
        return ReadOutcome::Partial;
    }
    match bytes[0] {
        // The topic is one character long, behind its length of two bytes.
        0x30 => ReadOutcome::Line(start + 3..end, end),
        _ => ReadOutcome::Other(end),
    }
}
