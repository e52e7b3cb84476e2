//! Reads and writes lines whose fields are separated by single spaces.

use super::feed_id::FeedId;
use super::text::DecimalBuf;

/// A field to write.
#[derive(Clone, Copy)]
pub(super) enum Field<'a> {
    /// One or more words, written unchanged.
    Text(&'a str),
    Number(u64),
    Feed(FeedId),
    /// An optional field without a value, which is left out.
    Absent,
}

/// Appends a line that consists of a word and fields, LF included.
///
/// Avoids `write!`: formatting a short line would cost more than the rest of the server's work for
/// it.
#[inline]
pub(super) fn write_line(out: &mut Vec<u8>, word: &str, fields: &[Field<'_>]) {
    out.extend_from_slice(word.as_bytes());
    for field in fields {
        if !matches!(field, Field::Absent) {
            out.push(b' ');
        }
        match *field {
            Field::Text(text) => out.extend_from_slice(text.as_bytes()),
            Field::Number(number) => out.extend_from_slice(DecimalBuf::default().bytes(number)),
            Field::Feed(feed) => out.extend_from_slice(feed.to_string().as_bytes()),
            Field::Absent => {}
        }
    }
    out.push(b'\n');
}

/// The unread rest of a line.
pub(super) struct Fields<'a>(pub(super) Option<&'a str>);

impl<'a> Fields<'a> {
    /// Reads the next word. Returns `None` if it is missing or empty.
    pub(super) fn word(&mut self) -> Option<&'a str> {
        let (word, rest) = split_word(self.0?);
        self.0 = rest;
        Some(word).filter(|word| !word.is_empty())
    }

    /// Reads the next word as a number.
    pub(super) fn number(&mut self) -> Option<u64> {
        parse_number(self.word()?)
    }

    /// Reads everything up to the end of the line, spaces included.
    pub(super) fn rest(&mut self) -> Option<&'a str> {
        self.0.take()
    }
}

/// Splits a line into its first word and the rest after one space. An empty rest is `None`.
pub(super) fn split_word(line: &str) -> (&str, Option<&str>) {
    // A plain loop: words are too short for `memchr` to pay off.
    match line.bytes().position(|byte| byte == b' ') {
        Some(space) => (&line[..space], Some(&line[space + 1..]).filter(|rest| !rest.is_empty())),
        None => (line, None),
    }
}

/// Parses the decimal digits of a u64. Unlike the standard parser, it rejects a `+`.
pub(super) fn parse_number(digits: &str) -> Option<u64> {
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}
