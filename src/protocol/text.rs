//! Text validation, and decimal numbers as text.

/// Returns the line if it is text: valid UTF-8 without control characters (C0, DEL and C1) other
/// than TAB, and without the line separators U+2028 and U+2029.
///
/// This prevents a client from sending escape sequences to another client's terminal, or a line
/// that looks like two.
pub fn validate_text(line: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(line).ok()?;
    // Most lines are plain ASCII, which is cheaper to check.
    (is_plain(line) || !text.chars().any(is_forbidden)).then_some(text)
}

/// Returns whether the line is printable ASCII and tabs.
fn is_plain(line: &[u8]) -> bool {
    const CHUNK: usize = 16;
    // Without an early exit, the compiler vectorizes the loop over a chunk.
    let chunk_is_plain = |chunk: &[u8; CHUNK]| {
        let is_plain = |byte: u8| matches!(byte, b' '..=b'~') | (byte == b'\t');
        chunk.iter().fold(true, |all, &byte| all & is_plain(byte))
    };
    // The last chunk may overlap the one before it.
    line.last_chunk().is_some_and(chunk_is_plain) && line.as_chunks().0.iter().all(chunk_is_plain)
}

fn is_forbidden(c: char) -> bool {
    (c.is_control() && c != '\t') || matches!(c, '\u{2028}' | '\u{2029}')
}

/// The two decimal digits of each number below 100.
static PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + number as u8 / 10, b'0' + number as u8 % 10];
        number += 1;
    }
    pairs
};

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
        while number >= 10 {
            start -= 2;
            self.0[start..start + 2].copy_from_slice(&PAIRS[(number % 100) as usize]);
            number /= 100;
        }
        if number > 0 || start == Self::MAX {
            start -= 1;
            self.0[start] = b'0' + number as u8;
        }
        &self.0[start..]
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
        // Long lines are checked in chunks.
        for len in 1..50 {
            let plain: String = "a~ \t".chars().cycle().take(len).collect();
            assert_eq!(validate_text(plain.as_bytes()), Some(plain.as_str()));
            for at in 0..len {
                for control in ["\x1f", "\x7f"] {
                    let mut line = plain.clone();
                    line.replace_range(at..=at, control);
                    assert_eq!(validate_text(line.as_bytes()), None, "{line:?}");
                }
            }
        }
        for invalid in [&b"\xff"[..], b"a\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"] {
            assert_eq!(validate_text(invalid), None, "{invalid:?}");
        }
    }
}
