//! What a terminal sends, as keys.
//!
//! The escape sequences are taken apart by vte, which knows their grammar; this room knows which of
//! them is which key.

use std::time::{Duration, Instant};

use super::editor::MAX_TEXT;

/// A sequence that has come in part is waited for so long. What follows then is no part of it: an
/// Escape that somebody pressed must not swallow what they type next.
const SEQUENCE_TIMEOUT: Duration = Duration::from_millis(100);

/// A key, or several characters that came together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Characters that were typed.
    Text(String),
    /// What was pasted, its lines ended by LF. It has no other controls than LF and TAB.
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

/// Takes bytes, gives keys, whatever the packets they came in.
#[derive(Default)]
pub(super) struct Keys {
    parser: vte::Parser,
    found: Found,
    /// The byte that came last.
    last: u8,
    heard_at: Option<Instant>,
}

#[derive(Default)]
struct Found {
    keys: Vec<Key>,
    /// What has been pasted so far, while it comes; of too much, enough to see that it is.
    paste: Option<String>,
    /// SS3 came: the next character names a key.
    names_key: bool,
}

impl Keys {
    /// Takes what was read: the keys in it.
    pub(super) fn take(&mut self, bytes: &[u8], now: Instant) -> Vec<Key> {
        if bytes.is_empty() {
            return vec![];
        }
        self.heard_at = Some(now);
        for part in bytes.split_inclusive(|&byte| byte == DEL) {
            // vte passes over this byte inside a sequence; to a terminal it is a key like others.
            let (before, is_alt_backspace) = match part {
                [before @ .., ESC, DEL] => (before, true),
                [DEL] => (&[][..], self.last == ESC),
                part => (part, false),
            };
            if is_alt_backspace {
                self.parser.advance(&mut self.found, before);
                self.parser = vte::Parser::new();
                self.found.key(Key::KillWordLeft);
            } else {
                self.parser.advance(&mut self.found, part);
            }
            self.last = part.last().copied().unwrap_or_default();
        }
        std::mem::take(&mut self.found.keys)
    }

    /// When [`expire`](Self::expire) should be called.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let at = self.heard_at.filter(|_| self.found.paste.is_none());
        at.map(|at| at + SEQUENCE_TIMEOUT)
    }

    /// Forgets a sequence that has not come to its end in time.
    pub(super) fn expire(&mut self, now: Instant) {
        // The end of what is pasted may come late, and must not be missed.
        if self.found.paste.is_none() && self.next_deadline().is_some_and(|at| at <= now) {
            self.heard_at = None;
            self.parser = vte::Parser::new();
            self.last = 0;
            self.found.names_key = false;
        }
    }
}

impl Found {
    fn key(&mut self, key: Key) {
        if self.paste.is_none() {
            self.keys.push(key);
        }
    }

    fn push_pasted(&mut self, c: char) {
        if let Some(paste) = &mut self.paste
            && paste.len() <= MAX_TEXT
        {
            paste.push(c);
        }
    }
}

impl vte::Perform for Found {
    fn print(&mut self, c: char) {
        if self.paste.is_some() {
            return self.push_pasted(c);
        }
        if std::mem::take(&mut self.names_key) {
            // The Enter of a numeric keypad.
            let key = if c == 'M' { Some(Key::Enter) } else { cursor_key(c) };
            if let Some(key) = key {
                return self.key(key);
            }
        }
        match (c, self.keys.last_mut()) {
            ('\x7f', _) => self.key(Key::Backspace),
            (c, Some(Key::Text(text))) => text.push(c),
            (c, _) => self.key(Key::Text(c.to_string())),
        }
    }

    fn execute(&mut self, byte: u8) {
        if self.paste.is_some() {
            match byte {
                b'\r' | b'\n' => self.push_pasted('\n'),
                b'\t' => self.push_pasted('\t'),
                // Should its end never come, there is a way out.
                CTRL_C => self.paste = None,
                _ => {}
            }
            return;
        }
        let key = match byte {
            0x01 => Key::Home,
            0x02 => Key::Left,
            CTRL_C => Key::Interrupt,
            0x04 => Key::EndOfInput,
            0x05 => Key::End,
            0x06 => Key::Right,
            0x08 | 0x7f => Key::Backspace,
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
        self.key(key);
    }

    fn csi_dispatch(
        &mut self,
        params: &vte::Params,
        intermediates: &[u8],
        ignore: bool,
        action: char,
    ) {
        if ignore || !intermediates.is_empty() {
            return;
        }
        let mut params = params.iter().map(|param| param.first().copied().unwrap_or_default());
        let number = params.next().unwrap_or_default();
        // 1 and a bit for each: Shift, Alt, Ctrl.
        let with_alt_or_ctrl = params.next().is_some_and(|bits| bits.wrapping_sub(1) & 0b110 != 0);
        let key = match (action, number) {
            ('~', 200) => {
                self.paste = Some(String::new());
                return;
            }
            ('~', 201) => match self.paste.take() {
                Some(paste) => Key::Paste(paste),
                None => return,
            },
            ('~', 1 | 7) => Key::Home,
            ('~', 4 | 8) => Key::End,
            ('~', 3) if with_alt_or_ctrl => Key::KillWordRight,
            ('~', 3) => Key::Delete,
            ('C', _) if with_alt_or_ctrl => Key::WordRight,
            ('D', _) if with_alt_or_ctrl => Key::WordLeft,
            (letter, _) => match cursor_key(letter) {
                Some(key) => key,
                None => return,
            },
        };
        self.key(key);
    }

    fn esc_dispatch(&mut self, intermediates: &[u8], _: bool, byte: u8) {
        if !intermediates.is_empty() {
            return;
        }
        match byte {
            b'O' => self.names_key = true,
            b'b' | b'B' => self.key(Key::WordLeft),
            b'f' | b'F' => self.key(Key::WordRight),
            b'd' | b'D' => self.key(Key::KillWordRight),
            _ => {}
        }
    }
}

const CTRL_C: u8 = 0x03;
const ESC: u8 = 0x1b;
const DEL: u8 = 0x7f;

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

    /// The keys that these bytes are, however they are cut.
    #[track_caller]
    fn check(bytes: &[u8], expected: &[Key]) {
        let now = Instant::now();
        assert_eq!(Keys::default().take(bytes, now), expected, "{bytes:?}");
        let mut keys = Keys::default();
        let mut found: Vec<Key> = vec![];
        for byte in bytes {
            for key in keys.take(&[*byte], now) {
                match (found.last_mut(), key) {
                    (Some(Key::Text(text)), Key::Text(more)) => text.push_str(&more),
                    (_, key) => found.push(key),
                }
            }
        }
        assert_eq!(found, expected, "{bytes:?}, byte by byte");
    }

    fn text(text: &str) -> Key {
        Key::Text(text.to_owned())
    }

    #[test]
    fn characters_and_controls_are_told_apart() {
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
    fn keys_are_known_in_all_their_spellings() {
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
    fn what_is_pasted_comes_as_a_whole_and_is_obeyed_in_nothing() {
        let paste = Key::Paste("a\tb\n/quit\n".to_owned());
        check(b"\x1b[200~a\tb\r/qu\x04it\x1b[A\n\x1b[201~x", &[paste, text("x")]);
        check(b"\x1b[200~abc\x03x\x03", &[text("x"), Key::Interrupt]);
    }

    #[test]
    fn the_end_of_what_is_pasted_may_come_late() {
        let start = Instant::now();
        let mut keys = Keys::default();
        assert_eq!(keys.take(b"\x1b[200~abc\x1b[2", start), []);
        assert_eq!(keys.next_deadline(), None);
        keys.expire(start + 10 * SEQUENCE_TIMEOUT);
        assert_eq!(keys.take(b"01~", start), [Key::Paste("abc".to_owned())]);
    }

    #[test]
    fn a_sequence_without_an_end_swallows_nothing_that_is_typed_later() {
        let start = Instant::now();
        for unfinished in ["\x1b", "\x1b[", "\x1bO", "\x1b]", "\x1bP", "\x1b_"] {
            let mut keys = Keys::default();
            assert_eq!(keys.take(unfinished.as_bytes(), start), []);
            // That nothing comes is nothing new.
            assert_eq!(keys.take(b"", start + SEQUENCE_TIMEOUT / 2), []);
            let later = keys.next_deadline().expect("it waits for the rest");
            assert_eq!(later, start + SEQUENCE_TIMEOUT);
            keys.expire(later);
            assert_eq!(keys.next_deadline(), None);
            assert_eq!(keys.take(b"A", later), [text("A")], "{unfinished:?}");
        }
    }
}
