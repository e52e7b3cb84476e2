//! Text validation, and decimal numbers as text.

/// Returns the line if it is text: valid UTF-8 without control characters (C0, DEL and C1) other
/// than TAB, and without the line separators U+2028 and U+2029.
///
/// This prevents a client from sending escape sequences to another client's terminal, or a line
/// that looks like two.
pub fn validate_text(line: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(line).ok()?;
    // Most lines are printable ASCII. The fold has no early exit, so the compiler vectorizes it.
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~' | b'\t');
    let all_plain = line.iter().fold(true, |plain, &byte| plain & is_plain(byte));
    (all_plain || !text.chars().any(is_forbidden)).then_some(text)
}

fn is_forbidden(c: char) -> bool {
    (c.is_control() && c != '\t') || matches!(c, '\u{2028}' | '\u{2029}')
}

/// A buffer for the decimal digits of a number.
///
/// The caller owns the buffer and receives a slice of it. Returning an array would copy it right
/// after it was written byte by byte, which stalls the processor.
#[derive(Default)]
pub struct DecimalBuf([u8; Self::MAX]);

impl DecimalBuf {
    /// The number of digits of `u64::MAX`.
    const MAX: usize = u64::MAX.ilog10() as usize + 1;

    /// The digits of `number` as ASCII, without leading zeros.
    pub fn bytes(&mut self, mut number: u64) -> &[u8] {
        let mut start = Self::MAX;
        loop {
            start -= 1;
            self.0[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return &self.0[start..];
            }
        }
    }

    /// The digits of `number` as text, without leading zeros.
    pub fn text(&mut self, number: u64) -> &str {
        std::str::from_utf8(self.bytes(number)).expect("digits are ASCII")
    }
}

#[cfg(test)]
mod tests {
    use super::{DecimalBuf, validate_text};

    #[test]
    fn decimal_digits_match_the_standard_library() {
        let tens = (0..20).map(|power| 10_u64.pow(power));
        for number in tens.flat_map(|ten| [ten - 1, ten, ten + 7]).chain([u64::MAX]) {
            assert_eq!(DecimalBuf::default().text(number), number.to_string());
        }
    }

    #[test]
    fn text_is_utf8_without_control_characters() {
        for text in ["", "a\tb", "你好", "👩‍🚀", "שלום", "e\u{301}", "\u{a0}", "\u{202e}", "~"]
        {
            assert_eq!(validate_text(text.as_bytes()), Some(text));
        }
        for control in (0..0x20).chain(0x7f..0xa0).chain([0x2028, 0x2029]) {
            let c = char::from_u32(control).expect("none of these is a surrogate");
            for line in [format!("a{c}b"), format!("é{c}")] {
                assert_eq!(validate_text(line.as_bytes()).is_some(), c == '\t', "{line:?}");
            }
        }
        for invalid in [&b"\xff"[..], b"a\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"] {
            assert_eq!(validate_text(invalid), None, "{invalid:?}");
        }
    }
}
