//! The parts of the servers' protocols that the benchmark needs: connect, subscribe, publish lines,
//! and parse received lines.

use std::ops::Range;

/// A wire protocol. In protocols with channels, all clients use one channel named `c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Oyez,
    /// Bare lines: the server sends everything from one client to all others.
    Raw,
    Redis,
    Nats,
    Mqtt,
    Irc,
}

/// The first frame of the received bytes.
#[derive(Debug)]
pub(crate) enum Frame {
    /// A published line, at this range, and the length of the whole frame.
    Line(Range<usize>, usize),
    /// The length of any other frame.
    Other(usize),
    /// A partial frame.
    Partial,
}

impl Protocol {
    /// Returns whether a connection can publish and subscribe at the same time.
    pub(crate) fn is_duplex(self) -> bool {
        self != Self::Redis
    }

    /// Returns whether a subscribed publisher receives its own lines.
    pub(crate) fn echoes(self) -> bool {
        matches!(self, Self::Oyez | Self::Nats | Self::Mqtt)
    }

    /// Returns the first bytes that a client sends. `id` is unique among all clients.
    pub(crate) fn handshake(self, id: usize, subscribes: bool) -> Vec<u8> {
        match self {
            Self::Oyez if !subscribes => b"quiet\n".to_vec(),
            Self::Redis if subscribes => b"SUBSCRIBE c\r\n".to_vec(),
            Self::Oyez | Self::Redis | Self::Raw => Vec::new(),
            Self::Nats => {
                let subscribe = if subscribes { "SUB c 1\r\n" } else { "" };
                format!("CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\n{subscribe}")
                    .into_bytes()
            }
            Self::Mqtt => {
                let name = format!("c{id}");
                // CONNECT with a clean session and without keep-alive.
                let mut packet = vec![0x10, 12 + name.len() as u8, 0, 4];
                packet.extend_from_slice(b"MQTT\x04\x02\x00\x00");
                packet.extend_from_slice(&[0, name.len() as u8]);
                packet.extend_from_slice(name.as_bytes());
                if subscribes {
                    packet.extend_from_slice(&[0x82, 6, 0, 1, 0, 1, b'c', 0]);
                }
                packet
            }
            Self::Irc => format!("NICK n{id}\r\nUSER u 0 * :u\r\nJOIN #c\r\n").into_bytes(),
        }
    }

    /// Appends the request that publishes `line`, which must not be empty or contain control
    /// characters.
    pub(crate) fn publish(self, line: &[u8], out: &mut Vec<u8>) {
        let mut put = |head: &[u8], tail: &[u8]| {
            out.extend_from_slice(head);
            out.extend_from_slice(line);
            out.extend_from_slice(tail);
        };
        let len = line.len();
        match self {
            Self::Oyez => put(b"broadcast ", b"\n"),
            Self::Raw => put(b"", b"\n"),
            Self::Redis => {
                put(format!("*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n${len}\r\n").as_bytes(), b"\r\n");
            }
            Self::Nats => put(format!("PUB c {len}\r\n").as_bytes(), b"\r\n"),
            Self::Irc => put(b"PRIVMSG #c :", b"\r\n"),
            Self::Mqtt => {
                let mut head = vec![0x30];
                let mut remaining = 3 + len;
                while remaining >= 128 {
                    head.push(0x80 | remaining as u8);
                    remaining /= 128;
                }
                head.push(remaining as u8);
                head.extend_from_slice(&[0, 1, b'c']);
                put(&head, b"");
            }
        }
    }

    /// Parses the first frame of `bytes`. Published lines are `size` bytes long.
    pub(crate) fn parse(self, bytes: &[u8], size: usize) -> Frame {
        if self == Self::Mqtt {
            return parse_mqtt(bytes);
        }
        let Some(lf) = memchr::memchr(b'\n', bytes) else { return Frame::Partial };
        let end = lf - usize::from(lf > 0 && bytes[lf - 1] == b'\r');
        let is_published = match self {
            Self::Oyez => bytes.starts_with(b"broadcast "),
            // Apart from NATS's first line, only published lines have this length.
            Self::Raw | Self::Redis | Self::Nats => end == size && !bytes.starts_with(b"INFO "),
            Self::Irc => {
                bytes.starts_with(b":n")
                    && memchr::memmem::find(&bytes[..end], b" PRIVMSG #c :").is_some()
            }
            Self::Mqtt => unreachable!("MQTT packets are parsed above"),
        };
        match end.checked_sub(size) {
            Some(start) if is_published => Frame::Line(start..end, lf + 1),
            _ => Frame::Other(lf + 1),
        }
    }
}

fn parse_mqtt(bytes: &[u8]) -> Frame {
    let mut len = 0;
    let mut digits = 0;
    loop {
        let Some(&digit) = bytes.get(1 + digits) else { return Frame::Partial };
        len |= usize::from(digit & 0x7f) << (7 * digits);
        digits += 1;
        if digit < 0x80 {
            break;
        }
    }
    let start = 1 + digits;
    let end = start + len;
    if bytes.len() < end {
        return Frame::Partial;
    }
    match bytes[0] {
        // PUBLISH: the line follows the topic's length (two bytes) and the topic (one byte).
        0x30 => Frame::Line(start + 3..end, end),
        _ => Frame::Other(end),
    }
}
