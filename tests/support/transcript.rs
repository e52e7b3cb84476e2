//! Transcripts: a small language that lists what clients send and what they must receive.
//!
//! ```text
//! a+                connect and read the welcome line
//! a> say hi         send a line
//! a~ say h          send without a line ending
//! a< broadcast *    expect a line; * matches anything
//! a.                half-close the connection
//! a|                expect the connection to end
//! ```
//!
//! `\r \n \t \0 \\ \xNN` are escapes. One space after the operator is skipped.

use std::collections::BTreeMap;

use super::{Client, Server, oyezd};

/// Plays a transcript over TCP, over a Unix socket and, unless the build lacks it, over TLS. Starts
/// a new server for each.
#[track_caller]
pub fn play(transcript: &str) {
    play_with(&[], transcript);
}

/// Like `play`, with arguments for the server.
#[track_caller]
pub fn play_with(arguments: &[&str], transcript: &str) {
    play_on(&Server::start(arguments), transcript);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let mut command = oyezd();
    command.arg("--listen").arg(format!("unix:{}", path.display())).args(arguments);
    play_on(&Server::spawn(command), transcript);
    if cfg!(feature = "tls") {
        play_on(&Server::start_tls(arguments), transcript);
    }
}

/// Plays a transcript on a running server.
#[track_caller]
pub fn play_on(server: &Server, transcript: &str) {
    let mut clients: BTreeMap<&str, Client> = BTreeMap::new();
    for line in transcript.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
        let operator = line.find(|c: char| !c.is_alphanumeric()).expect("a name and an operator");
        let (name, rest) = line.split_at(operator);
        let text = rest[1..].strip_prefix(' ').unwrap_or(&rest[1..]);
        if rest.starts_with('+') {
            clients.insert(name, server.client());
            continue;
        }
        let client =
            clients.get_mut(name).unwrap_or_else(|| panic!("{line}: {name} is not connected"));
        match rest.as_bytes()[0] {
            b'>' => client.send_bytes(&[unescape(text).as_slice(), b"\n"].concat()),
            b'~' => client.send_bytes(&unescape(text)),
            b'<' => {
                let received = client.line_or_end();
                let received = received.unwrap_or_else(|| panic!("{line}: the connection ended"));
                let pattern = String::from_utf8(unescape(text)).unwrap();
                assert!(
                    matches(&pattern, &received),
                    "expected: {line}\nreceived: {name}< {received}"
                );
            }
            b'.' => client.shutdown_write(),
            b'|' => assert_eq!(client.line_or_end(), None, "{line}: the connection did not end"),
            operator => panic!("{line}: unknown operator {:?}", operator as char),
        }
    }
}

/// Returns whether the text matches the pattern. A `*` matches any text.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(start) else { return false };
    (0..=text.len()).any(|i| text.is_char_boundary(i) && matches(rest, &text[i..]))
}

pub(super) fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        let (byte, len) = match escape.as_bytes()[0] {
            b'r' => (b'\r', 1),
            b'n' => (b'\n', 1),
            b't' => (b'\t', 1),
            b'0' => (0, 1),
            b'\\' => (b'\\', 1),
            b'x' => (u8::from_str_radix(&escape[1..3], 16).unwrap(), 3),
            other => panic!("unknown escape \\{}", other as char),
        };
        bytes.push(byte);
        rest = &escape[len..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}
