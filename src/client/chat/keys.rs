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
    Tab,
    /// Shift-Tab.
    BackTab,
    /// Ctrl-R.
    Search,
    /// Ctrl-G.
    Cancel,
    /// Escape alone.
    Escape,
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
    rest: Option<Rest>,
}

/// What follows a sequence that vte considers complete. A control character ends it.
#[derive(Clone, Copy)]
enum Rest {
    /// After SS3 (ESC O): the modifiers, if any, and the character that determines the key.
    Ss3,
    /// This many characters that belong to no key of the chat.
    Ignored(u8),
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
        if c < ' ' {
            self.decoder.rest = None;
        }
        // vte ignores these inside an escape sequence, but ESC DEL is Alt-Backspace, and Alt with
        // another character is no key.
        if self.last == Some(ESC) && (c == DEL || !c.is_ascii()) {
            self.parser = Parser::new();
            self.decoder.push((c == DEL).then_some(Key::KillWordLeft));
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

    /// Drops an escape sequence that is incomplete after [`SEQUENCE_TIMEOUT`]. If that is ESC alone,
    /// the next call of [`decode`](Self::decode) returns [`Key::Escape`].
    pub(super) fn expire(&mut self, now: Instant) {
        if self.next_deadline().is_some_and(|deadline| deadline <= now) {
            let is_escape = self.last == Some(ESC);
            // A slow terminal may still send the rest of a character.
            *self = Self { partial: mem::take(&mut self.partial), ..Self::default() };
            self.decoder.push(is_escape.then_some(Key::Escape));
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
        if let Some(paste) = &mut self.paste {
            if c != DEL && paste.len() <= MAX_TEXT {
                paste.push(c);
            }
            return;
        }
        match self.rest.take() {
            Some(Rest::Ss3) if matches!(c, '0'..='9' | ';') => {
                self.rest = Some(Rest::Ss3);
                return;
            }
            // This is Enter on the numeric keypad.
            Some(Rest::Ss3) if c == 'M' => return self.push(Key::Enter),
            Some(Rest::Ss3) if matches!(c, ' '..='~') => return self.push(cursor_key(c)),
            Some(Rest::Ignored(count)) => {
                self.rest = (count > 1).then(|| Rest::Ignored(count - 1));
                return;
            }
            Some(Rest::Ss3) | None => {}
        }
        match self.keys.last_mut() {
            _ if c == DEL => self.push(Key::Backspace),
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
            0x07 => Key::Cancel,
            0x08 => Key::Backspace,
            b'\t' => Key::Tab,
            0x0b => Key::KillToEnd,
            0x0c => Key::ClearScreen,
            b'\r' | b'\n' => Key::Enter,
            0x0e => Key::Down,
            0x10 => Key::Up,
            0x12 => Key::Search,
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
            ('Z', _) => Some(Key::BackTab),
            // A function key of the Linux console: a letter follows.
            ('[', _) => {
                self.rest = Some(Rest::Ignored(1));
                None
            }
            // A mouse report of X10: a button and two coordinates follow.
            ('M', 0) => {
                self.rest = Some(Rest::Ignored(3));
                None
            }
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
            b'O' => self.rest = Some(Rest::Ss3),
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

    /// Sequences of keys and reports that mean nothing to the chat.
    const UNKNOWN: [&[u8]; 42] = [
        // F1 to F4 of xterm, with and without modifiers, of rxvt, and of the Linux console.
        b"\x1bOP\x1bOQ\x1bOR\x1bOS",
        b"\x1bO2P\x1bO5Q\x1bO1;6R\x1bO8S",
        b"\x1b[1;2P\x1b[1;5Q\x1b[1;6R\x1b[1;8S",
        b"\x1b[P\x1b[Q\x1b[S",
        b"\x1b[11~\x1b[12~\x1b[13~\x1b[14~",
        b"\x1b[11;5~\x1b[11^\x1b[11@",
        b"\x1b[[A\x1b[[B\x1b[[C\x1b[[D\x1b[[E",
        // F5 to F20, Insert, Page Up and Page Down.
        b"\x1b[15~\x1b[17~\x1b[24~\x1b[24;2~\x1b[34~",
        b"\x1b[2~\x1b[2;5~\x1b[5~\x1b[6~\x1b[5;3~\x1b[6;7~",
        // Keypad keys in application mode.
        b"\x1bOp\x1bOq\x1bOr\x1bOs\x1bOt\x1bOu\x1bOv\x1bOw\x1bOx\x1bOy",
        b"\x1bOj\x1bOk\x1bOl\x1bOm\x1bOn\x1bOo\x1bOX\x1bOI\x1bO \x1bOE\x1b[E\x1b[G",
        // modifyOtherKeys and CSI u.
        b"\x1b[27;5;97~\x1b[27;2;13~",
        b"\x1b[97;5u\x1b[13;2u\x1b[27u\x1b[57399u\x1b[97:65;2:3u\x1b[97;;229u",
        // Mouse reports: X10, SGR, urxvt and UTF-8.
        b"\x1b[M !!\x1b[M#Az\x1b[Ma\x7f~",
        b"\x1b[M \xe9!",
        b"\x1b[<0;1;1M\x1b[<0;1;1m\x1b[<64;200;100M",
        b"\x1b[32;1;1M\x1b[35;10;10M",
        "\x1b[M \u{100}\u{7ff}".as_bytes(),
        // Focus, and the end of a paste that has not begun.
        b"\x1b[I\x1b[O",
        b"\x1b[201~",
        // Replies to queries: device attributes, cursor position, modes, colors, version.
        b"\x1b[?1;2c\x1b[>0;276;0c\x1b[=0c",
        b"\x1b[24;80R\x1b[?24;80R",
        b"\x1b[?2004;1$y\x1b[0n\x1b[?997;1n\x1b[8;24;80t",
        b"\x1b]11;rgb:0000/0000/0000\x1b\\",
        b"\x1b]11;rgb:ffff/ffff/ffff\x07",
        b"\x1bP>|XTerm(370)\x1b\\\x1bP!|00000000\x1b\\",
        b"\x1b_Gi=1;OK\x1b\\\x1b^x\x1b\\\x1bXx\x1b\\",
        // Alt with a character.
        b"\x1ba\x1bz\x1b1\x1b.\x1b<\x1b>\x1b?\x1b=\x1b\\",
        b"\x1b#8\x1b%G\x1b(B",
        "\x1bé\x1b你\x1b👩".as_bytes(),
        // Ctrl with a character.
        b"\0",
        b"\x0f",
        b"\x11",
        b"\x13",
        b"\x14",
        b"\x16",
        b"\x18",
        b"\x1c",
        b"\x1d",
        b"\x1e",
        b"\x1f",
        b"\x1b[ q\x1b[!p",
    ];

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
        check(b"\t\x1b[Z\x12\x07", &[Key::Tab, Key::BackTab, Key::Search, Key::Cancel]);
        check(b"\x1bOM\x1bO5D", &[Key::Enter, Key::Left]);
    }

    #[test]
    fn unknown_keys_insert_nothing() {
        for unknown in UNKNOWN {
            let bytes = [unknown, &b"x"[..]].concat();
            check(&bytes, &[text("x")]);
        }
        // A control character ends a sequence.
        check(b"\x1bO\rA\x1b[[\x1b[AP", &[Key::Enter, text("A"), Key::Up, text("P")]);
        check(b"\x1bO\xc3\xa9\x1bO\x7f", &[text("é"), Key::Backspace]);
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
            let escape = (unfinished == "\x1b").then_some(Key::Escape);
            let expected: Vec<Key> = escape.into_iter().chain([text("A")]).collect();
            assert_eq!(keys.decode(b"A", later), expected, "{unfinished:?}");
        }
    }
}
