//! Text from outside, for people to look at.

use std::fmt::Write as _;

/// The text with everything escaped that could make one line look like two, or like another, or
/// that a terminal would obey; and cut, with an ellipsis, where it gets longer than `most` bytes.
pub fn escape_untrusted(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most));
    for c in text.chars() {
        if out.len() > most {
            out.push('…');
            break;
        }
        if c.is_control() || is_line_end_or_direction(c) {
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

fn is_line_end_or_direction(c: char) -> bool {
    matches!(
        c,
        '\u{2028}' | '\u{2029}' | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use super::escape_untrusted;

    #[test]
    fn a_message_is_one_line_that_a_terminal_does_not_obey() {
        let said = escape_untrusted("a\nb\x1b[2J\u{202e}\u{9b}", 100);
        assert_eq!(said, "a\\nb\\u{1b}[2J\\u{202e}\\u{9b}");
        assert_eq!(escape_untrusted("你好 👩‍🚀 שלום é", 100), "你好 👩‍🚀 שלום é");
        let long = escape_untrusted(&"\u{202e}".repeat(4096), 3 * 1024);
        assert!(long.len() < 4096 - 100 && long.ends_with('…'), "{}", long.len());
    }
}
