//! Decodes keys from the bytes that a terminal sends.
//!
//! vte parses the escape sequences, and this module maps them to keys. In bracketed paste mode,
//! pasted text becomes one [`Key::Paste`].

use std::mem;
use std::time::{Duration, Instant};

use vte::{Params, Parser, Perform};

/// The maximum length of the text being typed, and therefore of a paste, in bytes. It is larger
/// than the default `--max-line` because a paste may have many lines.
pub(super) const MAX_TEXT: usize = 64 * 1024;

/// The maximum time to wait for the rest of an escape sequence. After that, the sequence is
/// dropped, so that pressing Escape alone does not swallow the keys that follow.
const SEQUENCE_TIMEOUT: Duration = Duration::from_millis(100);

const CTRL_C: u8 = 0x03;
const ESC: char = '\x1b';
const DEL: char = '\x7f';

/// A key, or several typed characters that arrived together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Typed characters.
    Text(String),
    /// Pasted text. Lines end in LF, and LF and TAB are the only C0 controls. A paste that exceeds
    /// [`MAX_TEXT`] is truncated to a length that still exceeds it, so that the editor refuses it.
    Paste(String),
    Enter,
    Backspace,
    Delete,
    Left,
    Right,
    WordLeft,
    WordRight,
    Home,
    End,
    Up,
    Down,
    KillToStart,
    KillToEnd,
    KillWordLeft,
    KillWordRight,
    Yank,
    ClearScreen,
    Suspend,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D.
    EndOfInput,
}

/// Decodes keys from input that may be split anywhere. U+FFFD replaces bytes that are not UTF-8.
#[derive(Default)]
pub(super) struct Keys {
    parser: Parser,
    decoder: Decoder,
    last: Option<char>,
    /// The first bytes of a character whose remaining bytes have not arrived.
    partial: Vec<u8>,
    /// When the last input arrived. [`expire`](Self::expire) clears this.
    last_input: Option<Instant>,
}

/// Receives the parser's callbacks, and collects keys.
#[derive(Default)]
struct Decoder {
    keys: Vec<Key>,
    /// The text of an unfinished paste.
    paste: Option<String>,
    /// The last sequence was SS3 (ESC O), so the next character determines the key.
    is_after_ss3: bool,
}

impl Keys {
    /// Decodes input. Returns the keys that are complete.
    pub(super) fn decode(&mut self, bytes: &[u8], now: Instant) -> Vec<Key> {
        if !bytes.is_empty() {
            self.last_input = Some(now);
        }
        let mut input = mem::take(&mut self.partial);
        input.extend_from_slice(bytes);
        let mut rest = &input[..];
        // vte drops some invalid bytes, so it receives only valid UTF-8.
        for chunk in input.utf8_chunks() {
            chunk.valid().chars().for_each(|c| self.decode_char(c));
            rest = &rest[chunk.valid().len() + chunk.invalid().len()..];
            let is_partial =
                || str::from_utf8(chunk.invalid()).is_err_and(|error| error.error_len().is_none());
            if rest.is_empty() && is_partial() {
                self.partial = chunk.invalid().to_vec();
            } else if !chunk.invalid().is_empty() {
                self.decode_char(char::REPLACEMENT_CHARACTER);
            }
        }
        mem::take(&mut self.decoder.keys)
    }

    fn decode_char(&mut self, c: char) {
        // vte ignores DEL inside an escape sequence, but ESC DEL is Alt-Backspace.
        if c == DEL && self.last == Some(ESC) {
            self.parser = Parser::new();
            self.decoder.push(Key::KillWordLeft);
        } else {
            self.parser.advance(&mut self.decoder, c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        self.last = Some(c);
    }

    /// When to call [`expire`](Self::expire). A paste has no deadline: if it were dropped, the rest
    /// of it would be decoded as typed keys.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let last_input = self.last_input.filter(|_| self.decoder.paste.is_none());
        last_input.map(|at| at + SEQUENCE_TIMEOUT)
    }

    /// Drops an escape sequence that is incomplete after [`SEQUENCE_TIMEOUT`].
    pub(super) fn expire(&mut self, now: Instant) {
        if self.next_deadline().is_some_and(|deadline| deadline <= now) {
            // A slow terminal may still send the rest of a character.
            *self = Self { partial: mem::take(&mut self.partial), ..Self::default() };
        }
    }
}

impl Decoder {
    /// Adds a key, if there is one. Ignores keys inside a paste.
    fn push(&mut self, key: impl Into<Option<Key>>) {
        if self.paste.is_none() {
            self.keys.extend(key.into());
        }
    }
}

impl Perform for Decoder {
    fn print(&mut self, c: char) {
        if c == DEL {
            return self.push(Key::Backspace);
        }
        if let Some(paste) = &mut self.paste {
            if paste.len() <= MAX_TEXT {
                paste.push(c);
            }
            return;
        }
        // SS3 M is Enter on the numeric keypad.
        if mem::take(&mut self.is_after_ss3)
            && let Some(key) = if c == 'M' { Some(Key::Enter) } else { cursor_key(c) }
        {
            return self.push(key);
        }
        match self.keys.last_mut() {
            Some(Key::Text(text)) => text.push(c),
            _ => self.push(Key::Text(c.to_string())),
        }
    }

    fn execute(&mut self, byte: u8) {
        let is_pasting = self.paste.is_some();
        let key = match byte {
            b'\r' | b'\n' if is_pasting => return self.print('\n'),
            b'\t' if is_pasting => return self.print('\t'),
            // Ctrl-C cancels a paste whose end never arrives.
            CTRL_C if self.paste.take().is_some() => return,
            0x01 => Key::Home,
            0x02 => Key::Left,
            CTRL_C => Key::Interrupt,
            0x04 => Key::EndOfInput,
            0x05 => Key::End,
            0x06 => Key::Right,
            0x08 => Key::Backspace,
            0x0b => Key::KillToEnd,
            0x0c => Key::ClearScreen,
            b'\r' | b'\n' => Key::Enter,
            0x0e => Key::Down,
            0x10 => Key::Up,
            0x15 => Key::KillToStart,
            0x17 => Key::KillWordLeft,
            0x19 => Key::Yank,
            0x1a => Key::Suspend,
            _ => return,
        };
        self.push(key);
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignore: bool, action: char) {
        if ignore || !intermediates.is_empty() {
            return;
        }
        let mut params = params.iter().map(|param| param.first().copied().unwrap_or_default());
        let number = params.next().unwrap_or_default();
        // The second parameter is 1 plus a bitmask of Shift (1), Alt (2) and Ctrl (4).
        let with_alt_or_ctrl = params.next().is_some_and(|bits| bits.wrapping_sub(1) & 0b110 != 0);
        let key = match (action, number) {
            ('~', 200) => {
                self.paste = Some(String::new());
                None
            }
            ('~', 201) => self.paste.take().map(Key::Paste),
            ('~', 1 | 7) => Some(Key::Home),
            ('~', 4 | 8) => Some(Key::End),
            ('~', 3) if with_alt_or_ctrl => Some(Key::KillWordRight),
            ('~', 3) => Some(Key::Delete),
            ('C', _) if with_alt_or_ctrl => Some(Key::WordRight),
            ('D', _) if with_alt_or_ctrl => Some(Key::WordLeft),
            (letter, _) => cursor_key(letter),
        };
        self.push(key);
    }

    fn esc_dispatch(&mut self, intermediates: &[u8], _: bool, byte: u8) {
        if !intermediates.is_empty() {
            return;
        }
        match byte {
            b'O' => self.is_after_ss3 = true,
            b'b' | b'B' => self.push(Key::WordLeft),
            b'f' | b'F' => self.push(Key::WordRight),
            b'd' | b'D' => self.push(Key::KillWordRight),
            _ => {}
        }
    }
}

/// Returns the key whose CSI or SS3 sequence ends in this letter.
fn cursor_key(letter: char) -> Option<Key> {
    Some(match letter {
        'A' => Key::Up,
        'B' => Key::Down,
        'C' => Key::Right,
        'D' => Key::Left,
        'F' => Key::End,
        'H' => Key::Home,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that the bytes decode to the expected keys, both in one piece and byte by byte.
    #[track_caller]
    fn check(bytes: &[u8], expected: &[Key]) {
        let now = Instant::now();
        assert_eq!(Keys::default().decode(bytes, now), expected, "{bytes:?}");
        let mut keys = Keys::default();
        let mut decoded: Vec<Key> = vec![];
        for byte in bytes {
            for key in keys.decode(&[*byte], now) {
                match (decoded.last_mut(), key) {
                    (Some(Key::Text(text)), Key::Text(more)) => text.push_str(&more),
                    (_, key) => decoded.push(key),
                }
            }
        }
        assert_eq!(decoded, expected, "{bytes:?}, byte by byte");
    }

    fn text(text: &str) -> Key {
        Key::Text(text.to_owned())
    }

    #[test]
    fn text_and_control_keys_are_decoded() {
        check("a你👩‍🚀é".as_bytes(), &[text("a你👩‍🚀é")]);
        check(b"a\x7fb\r", &[text("a"), Key::Backspace, text("b"), Key::Enter]);
        check(
            b"\x01\x05\x17\x15\x03\x04",
            &[
                Key::Home,
                Key::End,
                Key::KillWordLeft,
                Key::KillToStart,
                Key::Interrupt,
                Key::EndOfInput,
            ],
        );
    }

    #[test]
    fn bytes_that_are_not_utf8_are_replaced() {
        // These are ISO 8859-1, Windows-1252, Shift JIS, and a truncated character before Enter.
        check(b"caf\xe9 \xfcb", &[text("caf\u{fffd} \u{fffd}b")]);
        check(b"\x93a\x94", &[text("\u{fffd}a\u{fffd}")]);
        check(b"\x82\xa0\x83\x5c", &[text("\u{fffd}\u{fffd}\u{fffd}\\")]);
        check(b"\xf0\x9f\x91\r", &[text("\u{fffd}"), Key::Enter]);
        check(
            b"\xe9\x1b[A\xc3\x7f",
            &[text("\u{fffd}"), Key::Up, text("\u{fffd}"), Key::Backspace],
        );
        check(b"\x1b[200~a\xe9b\xff\x1b[201~", &[Key::Paste("a\u{fffd}b\u{fffd}".to_owned())]);
        // These are never part of UTF-8: a surrogate, an overlong form, and C1 controls.
        check(b"\xed\xa0\x80\xc0\xaf", &[text("\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}")]);
        check(b"\x9b2J\x8fA\x90q", &[text("\u{fffd}2J\u{fffd}A\u{fffd}q")]);
    }

    #[test]
    fn slow_bytes_of_a_character_are_joined() {
        for character in ["é", "你", "👩"] {
            let mut keys = Keys::default();
            let mut now = Instant::now();
            let (last, first) = character.as_bytes().split_last().expect("it has bytes");
            for byte in first {
                assert_eq!(keys.decode(&[*byte], now), []);
                now += 10 * SEQUENCE_TIMEOUT;
                keys.expire(now);
                assert_eq!(keys.next_deadline(), None);
            }
            assert_eq!(keys.decode(&[*last], now), [text(character)]);
        }
    }

    #[test]
    fn different_sequences_for_the_same_key_are_decoded() {
        check(b"\x1b[A\x1bOA", &[Key::Up, Key::Up]);
        check(b"\x1b[H\x1b[1~\x1b[7~\x1bOH", &[Key::Home, Key::Home, Key::Home, Key::Home]);
        check(b"\x1b[3~\x1b[3;5~", &[Key::Delete, Key::KillWordRight]);
        check(b"\x1b[1;5D\x1b[1;3C\x1b[1;2C", &[Key::WordLeft, Key::WordRight, Key::Right]);
        check(
            b"\x1bb\x1bf\x1bd\x1b\x7f",
            &[Key::WordLeft, Key::WordRight, Key::KillWordRight, Key::KillWordLeft],
        );
        check(b"\x1b[24~\x1b[?1;2c\x1b[<0;1;1M\x09x", &[text("x")]);
    }

    #[test]
    fn keys_inside_a_paste_are_ignored() {
        let paste = Key::Paste("a\tb\n/quit\n".to_owned());
        check(b"\x1b[200~a\tb\r/qu\x04it\x7f\x1b[A\x1b\x7f\n\x1b[201~x", &[paste, text("x")]);
        check(b"\x1b[200~abc\x03x\x03", &[text("x"), Key::Interrupt]);
    }

    #[test]
    fn oversized_paste_is_truncated_but_still_over_the_limit() {
        let bytes = format!("\x1b[200~{}\x1b[201~", "x".repeat(2 * MAX_TEXT));
        check(bytes.as_bytes(), &[Key::Paste("x".repeat(MAX_TEXT + 1))]);
    }

    #[test]
    fn end_of_a_paste_may_arrive_late() {
        let start = Instant::now();
        let mut keys = Keys::default();
        assert_eq!(keys.decode(b"\x1b[200~abc\x1b[2", start), []);
        assert_eq!(keys.next_deadline(), None);
        keys.expire(start + 10 * SEQUENCE_TIMEOUT);
        assert_eq!(keys.decode(b"01~", start), [Key::Paste("abc".to_owned())]);
    }

    #[test]
    fn unfinished_sequence_does_not_swallow_later_keys() {
        let start = Instant::now();
        for unfinished in ["\x1b", "\x1b[", "\x1bO", "\x1b]", "\x1bP", "\x1b_"] {
            let mut keys = Keys::default();
            assert_eq!(keys.decode(unfinished.as_bytes(), start), []);
            // A read without input does not extend the deadline.
            assert_eq!(keys.decode(b"", start + SEQUENCE_TIMEOUT / 2), []);
            let later = keys.next_deadline().expect("the sequence is unfinished");
            assert_eq!(later, start + SEQUENCE_TIMEOUT);
            keys.expire(later);
            assert_eq!(keys.next_deadline(), None);
            assert_eq!(keys.decode(b"A", later), [text("A")], "{unfinished:?}");
        }
    }
}
