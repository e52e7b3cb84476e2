//! What must hold for any input. The fuzz targets run these on inputs that they make up, and
//! `cargo test` on the committed ones.
#![allow(dead_code)]

use oyez::protocol::{
    Command, CommandSpec, ForeignProtocol, Line, LineBuffer, Reply, validate_text,
};

/// A command that was encoded is the command that is parsed.
pub fn command(data: &[u8]) {
    let Some(line) = validate_text(data) else { return };
    let parsed = Command::parse(line);
    let Ok(command) = parsed else { return };
    let mut encoded = Vec::new();
    command.encode(&mut encoded);
    let (lf, line) = encoded.split_last().expect("a line");
    assert_eq!(*lf, b'\n');
    let line = validate_text(line).expect("a command is text");
    assert_eq!(Command::parse(line), Ok(command), "{line:?}");
}

/// A reply that was encoded is the reply that is parsed.
pub fn reply(data: &[u8]) {
    let Some(line) = validate_text(data) else { return };
    let Some(reply) = Reply::parse(line) else { return };
    let mut encoded = Vec::new();
    reply.encode(&mut encoded);
    let (lf, line) = encoded.split_last().expect("a line");
    assert_eq!(*lf, b'\n');
    let line = validate_text(line).expect("a reply is text");
    assert_eq!(Reply::parse(line), Some(reply), "{line:?}");
}

/// The longest line in these properties: short, so that made-up input crosses it.
pub const MAX_LINE: usize = 24;

/// However input is cut into packets, the same lines come out as a simple reading of the rules
/// says. The first byte seeds where the cuts are.
pub fn line_buffer(data: &[u8]) {
    let Some((&seed, input)) = data.split_first() else { return };
    let expected = model(input);
    let mut state = u64::from(seed) + 1;
    let mut packets = vec![];
    let mut rest = input;
    while !rest.is_empty() {
        // Any generator will do; this one is Knuth's.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (packet, left) = rest.split_at(((state >> 60) as usize).clamp(1, rest.len()));
        packets.push(packet);
        rest = left;
    }
    assert_eq!(lines_of(&packets), expected, "in random packets");
    assert_eq!(lines_of(&[input]), expected, "in one packet");
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(lines_of(&bytes), expected, "byte by byte");
}

/// What comes out of the buffer for input in these packets, and its end.
pub fn lines_of(packets: &[&[u8]]) -> Vec<String> {
    let mut buffer = LineBuffer::new(MAX_LINE);
    let mut lines = vec![];
    for packet in packets {
        buffer.push(packet);
        take(&mut buffer, &mut lines);
    }
    buffer.end();
    take(&mut buffer, &mut lines);
    lines
}

fn take(buffer: &mut LineBuffer, lines: &mut Vec<String>) {
    while let Some(line) = buffer.peek() {
        let line = format!("{line:?}");
        assert_eq!(buffer.peek().map(|line| format!("{line:?}")), Some(line.clone()), "it stays");
        buffer.advance();
        lines.push(line);
    }
    assert!(buffer.buffered_bytes() <= MAX_LINE + 1, "{} bytes are held", buffer.buffered_bytes());
}

/// The same by a simple reading of the rules: split at every LF, and look at each line.
pub fn model(input: &[u8]) -> Vec<String> {
    let mut lines = vec![];
    let mut first = true;
    let mut pieces: Vec<&[u8]> = input.split(|&byte| byte == b'\n').collect();
    let unfinished = pieces.pop().unwrap_or_default();
    for (piece, ended) in pieces.into_iter().map(|piece| (piece, true)).chain([(unfinished, false)])
    {
        let line = piece.strip_suffix(b"\r").unwrap_or(piece);
        // A CR beyond the limit belongs to the line unless an LF comes, which at the end it does not.
        let too_long = line.len() > MAX_LINE;
        let crossing = &line[..line.len().min(MAX_LINE + 1)];
        let foreign = |foreign| format!("{:?}", Line::Foreign(foreign));
        if first && line.first() == Some(&0x16) {
            lines.push(foreign(ForeignProtocol::Tls));
            return lines;
        }
        if piece.is_empty() && !ended {
            return lines;
        }
        if (first && has_method(crossing)) || is_host(crossing) {
            lines.push(foreign(ForeignProtocol::Http));
            return lines;
        }
        if too_long {
            lines.push(format!("{:?}", Line::TooLong));
        }
        let request = ends_in_version(line) && !is_command(crossing);
        if first && request && (ended || !too_long) {
            lines.push(foreign(ForeignProtocol::Http));
            return lines;
        }
        let blank = |line: &[u8]| line.iter().all(|byte| b" \t".contains(byte));
        let said = match (too_long, ended) {
            (true, _) => None,
            (false, true) if blank(line) => validate_text(line).map(Line::Blank),
            (false, true) => Some(validate_text(line).map_or(Line::NotText(line), Line::Text)),
            (false, false) if blank(piece) => validate_text(piece).map(Line::Blank),
            (false, false) => Some(Line::Incomplete(piece)),
        };
        lines.extend(said.map(|said| format!("{said:?}")));
        first &= matches!(said, Some(Line::Blank(_)));
    }
    lines
}

fn has_method(line: &[u8]) -> bool {
    let methods =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE", "PRI"];
    methods.iter().any(|method| line.starts_with(format!("{method} ").as_bytes()))
}

fn is_host(line: &[u8]) -> bool {
    line.eq_ignore_ascii_case(b"host:") || line.to_ascii_lowercase().starts_with(b"host: ")
}

fn is_command(line: &[u8]) -> bool {
    let word = line.split(|&byte| byte == b' ').next().unwrap_or_default();
    std::str::from_utf8(word).is_ok_and(|word| CommandSpec::find(word).is_some())
}

fn ends_in_version(line: &[u8]) -> bool {
    let tail = &line[line.len().saturating_sub(9)..];
    tail.len() == 9
        && tail.starts_with(b" HTTP/")
        && tail[6].is_ascii_digit()
        && tail[7] == b'.'
        && tail[8].is_ascii_digit()
}
