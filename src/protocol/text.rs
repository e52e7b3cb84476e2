//! What counts as text, and what text is made of: words and numbers.

/// The line as text, or `None` if it is not valid UTF-8 or holds a character that text may not:
/// C0 controls other than TAB, DEL, C1 controls, and the line ends U+2028 and U+2029.
///
/// So nobody can send an escape sequence to somebody's terminal, or one line that a reader takes
/// for two.
pub fn as_text(line: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(line).ok()?;
    // Nearly all lines are ASCII, and for those the compiler makes one pass over whole vectors.
    let forbidden = if text.is_ascii() {
        text.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t')
    } else {
        text.chars().any(is_forbidden)
    };
    (!forbidden).then_some(text)
}

fn is_forbidden(c: char) -> bool {
    (c.is_control() && c != '\t') || matches!(c, '\u{2028}' | '\u{2029}')
}

/// The word before the first space, and what follows that space if it is not empty.
pub(super) fn split_word(text: &str) -> (&str, Option<&str>) {
    match text.split_once(' ') {
        Some((word, rest)) => (word, Some(rest).filter(|rest| !rest.is_empty())),
        None => (text, None),
    }
}

/// Plain decimal digits of a u64: no sign, which the standard parser would take.
pub(super) fn number(digits: &str) -> Option<u64> {
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::as_text;

    #[test]
    fn text_is_utf8_without_controls() {
        for text in ["", "a\tb", "你好", "👩‍🚀", "שלום", "e\u{301}", "\u{a0}", "\u{202e}", "~"]
        {
            assert_eq!(as_text(text.as_bytes()), Some(text));
        }
        for control in (0..0x20).chain(0x7f..0xa0).chain([0x2028, 0x2029]) {
            let c = char::from_u32(control).expect("these are all characters");
            for line in [format!("a{c}b"), format!("é{c}")] {
                assert_eq!(as_text(line.as_bytes()).is_some(), c == '\t', "{line:?}");
            }
        }
        for broken in [&b"\xff"[..], b"a\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"] {
            assert_eq!(as_text(broken), None, "{broken:?}");
        }
    }
}
