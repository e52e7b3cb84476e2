//! JSON objects (RFC 8259), each on one line.
//!
//! This module performs **no I/O** and reads no clock.

use std::fmt::Write as _;

use crate::escape;

/// Which characters are escaped although JSON allows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Escaping {
    /// None, for programs.
    Minimal,
    /// Invisible characters, for terminals.
    Invisible,
    /// Invisible and non-ASCII characters, for terminals that do not use UTF-8.
    NonAscii,
}

/// A value of a field.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Null,
    Number(u64),
    Text(&'a str),
}

/// An object under construction. The caller must not repeat a key.
#[derive(Debug)]
pub(crate) struct Object {
    /// The object without its closing brace.
    text: String,
    escaping: Escaping,
}

impl Object {
    pub(crate) fn new(escaping: Escaping) -> Self {
        Self { text: "{".to_owned(), escaping }
    }

    /// Adds a field.
    pub(crate) fn field<'a>(mut self, key: &str, value: impl Into<Value<'a>>) -> Self {
        if self.text.len() > 1 {
            self.text.push(',');
        }
        self.quote(key);
        self.text.push(':');
        match value.into() {
            Value::Null => self.text.push_str("null"),
            Value::Number(number) => self.text.push_str(&number.to_string()),
            Value::Text(text) => self.quote(text),
        }
        self
    }

    /// Returns the object. It contains no line break, whatever its fields contain.
    pub(crate) fn finish(mut self) -> String {
        self.text.push('}');
        self.text
    }

    /// Appends a string.
    fn quote(&mut self, text: &str) {
        self.text.push('"');
        for (c, is_visible) in escape::characters(text) {
            // Some programs treat U+2028 and U+2029 as line breaks.
            let must_escape = c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
            let may_escape = match self.escaping {
                Escaping::Minimal => false,
                Escaping::Invisible => !is_visible,
                Escaping::NonAscii => !is_visible || !c.is_ascii(),
            };
            match c {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\t' => self.text.push_str("\\t"),
                c if must_escape || may_escape => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        // Writing to a string cannot fail.
                        let _ = write!(self.text, "\\u{unit:04x}");
                    }
                }
                c => self.text.push(c),
            }
        }
        self.text.push('"');
    }
}

impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(escaping: Escaping, text: &str) -> String {
        let object = Object::new(escaping).field("k", text).finish();
        let value = object.strip_prefix(r#"{"k":"#).and_then(|rest| rest.strip_suffix('}'));
        value.expect("one field").to_owned()
    }

    #[test]
    fn fields_are_encoded_in_order() {
        assert_eq!(Object::new(Escaping::Minimal).finish(), "{}");
        let object = Object::new(Escaping::Minimal)
            .field("type", "gap")
            .field("count", u64::MAX)
            .field("name", None::<&str>)
            .field("seq", Some(0))
            .field("\"\n", "");
        assert_eq!(
            object.finish(),
            r#"{"type":"gap","count":18446744073709551615,"name":null,"seq":0,"\"\u000a":""}"#
        );
    }

    #[test]
    fn text_is_escaped_as_json_requires() {
        for (from, to) in [
            ("", r#""""#),
            (r#"a "b" \ /"#, r#""a \"b\" \\ /""#),
            ("a\tb", r#""a\tb""#),
            ("\0\n\r\x1b[2J\x7f\u{85}", r#""\u0000\u000a\u000d\u001b[2J\u007f\u0085""#),
            ("\u{2028}\u{2029}", r#""\u2028\u2029""#),
            ("a\u{ad}ü你👍\u{ffff}\u{10ffff}", "\"a\u{ad}ü你👍\u{ffff}\u{10ffff}\""),
            (r#"","type":"forged"#, r#""\",\"type\":\"forged""#),
        ] {
            assert_eq!(text(Escaping::Minimal, from), to);
        }
    }

    #[test]
    fn terminals_get_more_escapes_for_the_same_text() {
        let from = "a\u{ad}ü👍\u{e0041}\t";
        assert_eq!(text(Escaping::Invisible, from), r#""a\u00adü👍\udb40\udc41\t""#);
        assert_eq!(text(Escaping::NonAscii, from), r#""a\u00ad\u00fc\ud83d\udc4d\udb40\udc41\t""#);
    }

    #[test]
    fn any_character_stays_inside_its_string() {
        for c in '\0'..=char::MAX {
            for escaping in [Escaping::Minimal, Escaping::Invisible, Escaping::NonAscii] {
                let quoted = text(escaping, c.encode_utf8(&mut [0; 4]));
                let inner = &quoted[1..quoted.len() - 1];
                let is_escape = inner.starts_with('\\')
                    && matches!(inner.len(), 2 | 6 | 12)
                    && inner.is_ascii()
                    && !inner.contains(char::is_control);
                assert!(is_escape || inner == c.to_string() && !"\"\\".contains(c), "{quoted}");
                assert!(!quoted.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']));
            }
        }
    }
}
