//! Properties of the protocol that hold for any input. The fuzz targets check them on generated
//! inputs; `tests/lines.rs` checks them on the committed corpora and on every split of fixed
//! inputs.

use oyez::protocol::{
    Command, CommandSpec, FeedPosition, ForeignProtocol, Line, LineBuffer, Reply, TelnetCommand,
    validate_text,
};

use super::rng::Rng;

/// Encoding a parsed command and parsing the result returns the same command.
pub fn command_round_trips(data: &[u8]) {
    let Some(line) = validate_text(data) else { return };
    let Ok(command) = Command::parse(line) else { return };
    let mut encoded = Vec::new();
    command.encode(&mut encoded);
    assert_eq!(Command::parse(encoded_line(&encoded)), Ok(command), "{line:?}");
}

/// Encoding a parsed reply or position and parsing the result returns the same one.
pub fn reply_round_trips(data: &[u8]) {
    let Some(line) = validate_text(data) else { return };
    if let Some(position) = FeedPosition::parse(line) {
        assert_eq!(FeedPosition::parse(&position.to_string()), Some(position), "{line:?}");
    }
    let Some(reply) = Reply::parse(line) else { return };
    let mut encoded = Vec::new();
    reply.encode(&mut encoded);
    assert_eq!(Reply::parse(encoded_line(&encoded)), Some(reply), "{line:?}");
}

/// Returns the text of an encoded line, which must be valid and end with LF.
fn encoded_line(encoded: &[u8]) -> &str {
    let (last, line) = encoded.split_last().expect("an encoded line is not empty");
    assert_eq!(*last, b'\n');
    validate_text(line).expect("an encoded line is text")
}

/// The maximum line length in these properties. Random input often exceeds it.
pub const MAX_LINE: usize = 24;

/// The maximum length of a Telnet subnegotiation.
pub const MAX_SUBNEGOTIATION: usize = 256;

/// [`LineBuffer`] returns the same lines as [`line_model`], however the input is split into
/// packets. The first byte of the data seeds the random split.
pub fn line_buffer_matches_the_model(data: &[u8]) {
    let Some((&seed, input)) = data.split_first() else { return };
    let expected = line_model(input);
    let mut rng = Rng::new(seed.into());
    let mut packets = vec![];
    let mut rest = input;
    while !rest.is_empty() {
        let len = rng.below(16).clamp(1, rest.len());
        let (packet, left) = rest.split_at(len);
        packets.push(packet);
        rest = left;
    }
    assert_eq!(lines_of(&packets), expected, "in random packets");
    assert_eq!(lines_of(&[input]), expected, "in one packet");
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(lines_of(&bytes), expected, "byte by byte");
}

/// Returns the lines that a [`LineBuffer`] finds in these packets, up to the end of input.
pub fn lines_of(packets: &[&[u8]]) -> Vec<String> {
    let mut buffer = LineBuffer::new(MAX_LINE);
    let mut lines = vec![];
    for packet in packets {
        buffer.push(packet);
        drain(&mut buffer, &mut lines);
    }
    buffer.end();
    drain(&mut buffer, &mut lines);
    lines
}

fn drain(buffer: &mut LineBuffer, lines: &mut Vec<String>) {
    while let Some(line) = buffer.peek() {
        let line = format!("{line:?}");
        let again = buffer.peek().map(|line| format!("{line:?}"));
        assert_eq!(again.as_ref(), Some(&line), "peek must return the same line until advance");
        buffer.advance();
        lines.push(line);
    }
    let buffered = buffer.buffered_bytes();
    assert!(buffered <= MAX_LINE + MAX_SUBNEGOTIATION, "{buffered} bytes are buffered");
}

/// A simple model of line framing: splits the whole input at every LF, removes the Telnet commands,
/// then classifies each line.
pub fn line_model(input: &[u8]) -> Vec<String> {
    let mut lines = vec![];
    // Whether all lines so far were blank.
    let mut is_first = true;
    let mut pieces: Vec<(&[u8], bool)> =
        input.split(|&byte| byte == b'\n').map(|piece| (piece, true)).collect();
    if let Some((_, has_lf)) = pieces.last_mut() {
        *has_lf = false;
    }
    for (index, (piece, has_lf)) in pieces.into_iter().enumerate() {
        let (mut piece, commands) = remove_telnet(piece);
        let bom = if index == 0 && piece.starts_with("\u{feff}".as_bytes()) { 3 } else { 0 };
        piece.drain(..bom);
        let piece = piece.as_slice();
        // A trailing CR does not count toward the limit, even if the input ends before its LF.
        let line = piece.strip_suffix(b"\r").unwrap_or(piece);
        let is_too_long = line.len() > MAX_LINE;
        let beginning = &line[..line.len().min(MAX_LINE + 1)];
        let foreign = |protocol| format!("{:?}", Line::Foreign(protocol));
        let is_tls = is_first && line.first() == Some(&0x16);
        // First, the commands before the byte that makes the line TLS or too long.
        let decided_at = match (is_tls, is_too_long) {
            (true, _) => 1,
            (false, true) if piece[MAX_LINE] == b'\r' => MAX_LINE + 2,
            (false, true) => MAX_LINE + 1,
            (false, false) => usize::MAX,
        };
        let mut commands = commands.into_iter().peekable();
        while let Some((_, command)) =
            commands.next_if(|(at, _)| at.saturating_sub(bom) < decided_at)
        {
            lines.push(format!("{:?}", Line::Telnet(command)));
        }
        if is_tls {
            lines.push(foreign(ForeignProtocol::Tls));
            return lines;
        }
        if piece.is_empty() && !has_lf {
            return lines;
        }
        if (is_first && begins_with_method(beginning)) || is_host_header(beginning) {
            lines.push(foreign(ForeignProtocol::Http));
            return lines;
        }
        if is_first && (beginning == b"\0" || beginning.starts_with(b"PROXY ")) {
            lines.push(foreign(ForeignProtocol::Proxy));
            return lines;
        }
        if is_too_long {
            lines.push(format!("{:?}", Line::TooLong));
        }
        lines.extend(commands.map(|(_, command)| format!("{:?}", Line::Telnet(command))));
        let is_request_line = ends_in_version(line)
            && (!begins_with_command(beginning) || begins_with_word_and_target(beginning));
        if is_first && is_request_line && (has_lf || !is_too_long) {
            lines.push(foreign(ForeignProtocol::Http));
            return lines;
        }
        let parsed = match (is_too_long, has_lf) {
            (true, _) => None,
            (false, true) if is_blank(line) => validate_text(line).map(Line::Blank),
            (false, true) => Some(validate_text(line).map_or(Line::NotText(line), Line::Text)),
            (false, false) if is_blank(piece) => validate_text(piece).map(Line::Blank),
            (false, false) => Some(Line::Incomplete(piece)),
        };
        lines.extend(parsed.map(|line| format!("{line:?}")));
        is_first &= matches!(parsed, Some(Line::Blank(_)));
    }
    lines
}

/// Removes the Telnet commands from a line. Returns each with the length of the text before it.
fn remove_telnet(line: &[u8]) -> (Vec<u8>, Vec<(usize, TelnetCommand)>) {
    let (mut text, mut commands) = (vec![], vec![]);
    let mut rest = line;
    while let [first, after @ ..] = rest {
        if let [0xff, 0xff, after @ ..] = rest {
            text.extend_from_slice(b"\xff\xff");
            rest = after;
            continue;
        }
        let found = match rest {
            [0xff, 0xfd, option, ..] => Some((3, TelnetCommand::Do(*option))),
            [0xff, 0xfb, option, ..] => Some((3, TelnetCommand::Will(*option))),
            [0xff, 0xfc | 0xfe, _, ..] => Some((3, TelnetCommand::Unanswered)),
            [0xff, 0xfa, ..] => subnegotiation(rest).map(|len| (len, TelnetCommand::Unanswered)),
            [0xff, 0xec..=0xf9, ..] => Some((2, TelnetCommand::Unanswered)),
            _ => None,
        };
        if let Some((len, command)) = found {
            commands.push((text.len(), command));
            rest = &rest[len..];
        } else {
            text.push(*first);
            rest = after;
        }
    }
    (text, commands)
}

/// The length of the subnegotiation at the start of this line, if it is complete.
fn subnegotiation(line: &[u8]) -> Option<usize> {
    let mut len = 2;
    loop {
        match line.get(len..)? {
            [0xff, 0xf0, ..] => break,
            [0xff, 0xff, ..] => len += 2,
            [0xff, ..] | [] => return None,
            _ => len += 1,
        }
    }
    Some(len + 2).filter(|len| *len <= MAX_SUBNEGOTIATION)
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| b" \t".contains(byte))
}

fn begins_with_method(line: &[u8]) -> bool {
    let methods =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE", "PRI"];
    methods.iter().any(|method| line.starts_with(format!("{method} ").as_bytes()))
}

fn is_host_header(line: &[u8]) -> bool {
    line.eq_ignore_ascii_case(b"host:") || line.to_ascii_lowercase().starts_with(b"host: ")
}

fn begins_with_command(line: &[u8]) -> bool {
    let word = line.split(|&byte| byte == b' ').next().unwrap_or_default();
    std::str::from_utf8(word).is_ok_and(|word| CommandSpec::find(word).is_some())
}

/// Returns whether the line has the form `<word> <path or URL> HTTP/…`, as far as it is given.
fn begins_with_word_and_target(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    let Some((_, rest)) = text.split_once(' ') else { return false };
    let (target, version) = rest.split_once(' ').unwrap_or((rest, ""));
    (target.starts_with('/') || target.contains("://"))
        && (version.starts_with("HTTP/") || "HTTP/".starts_with(version))
}

/// Returns whether the line ends with ` HTTP/<digit>.<digit>`.
fn ends_in_version(line: &[u8]) -> bool {
    let tail = &line[line.len().saturating_sub(9)..];
    tail.len() == 9
        && tail.starts_with(b" HTTP/")
        && tail[6].is_ascii_digit()
        && tail[7] == b'.'
        && tail[8].is_ascii_digit()
}
