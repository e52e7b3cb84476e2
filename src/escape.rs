//! Escapes untrusted text for terminals and logs.

/// Escapes control characters, line separators and bidirectional controls. So the text stays on one
/// line, cannot control a terminal, and is not displayed in a misleading order. The result is
/// truncated after the character or escape that exceeds `max` bytes, and then ends in an ellipsis.
pub fn escape_untrusted(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max));
    for c in text.chars() {
        if out.len() > max {
            out.push('…');
            break;
        }
        match c {
            // Line separators and bidirectional controls.
            '\u{2028}'..='\u{202e}'
            | '\u{61c}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2066}'..='\u{2069}' => out.extend(c.escape_default()),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escape_untrusted;

    #[test]
    fn control_and_direction_characters_are_escaped_and_long_text_is_truncated() {
        let escaped = escape_untrusted("a\nb\x1b[2J\u{202e}\u{9b}", 100);
        assert_eq!(escaped, "a\\nb\\u{1b}[2J\\u{202e}\\u{9b}");
        assert_eq!(escape_untrusted("你好 👩‍🚀 שלום é", 100), "你好 👩‍🚀 שלום é");
        let long = escape_untrusted(&"\u{202e}".repeat(4096), 3 * 1024);
        assert!(long.len() < 4096 - 100 && long.ends_with('…'), "{}", long.len());
    }
}
