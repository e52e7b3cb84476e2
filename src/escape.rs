//! Escapes untrusted text for terminals and logs.
//!
//! Control characters could control a terminal. Characters without a glyph are invisible to
//! readers, and terminals disagree on their width. Stacked combining marks cover other rows. All of
//! these are escaped, except invisible characters that a script or an emoji sequence needs, and a
//! few marks on one character.

use std::ops::RangeInclusive;

type Ranges = [RangeInclusive<char>];

/// Characters without a glyph: line separators, characters that change the text direction, and the
/// other default-ignorable code points of Unicode. [`Context`] has the exceptions.
const HIDDEN: &Ranges = &[
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{61c}'..='\u{61c}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fffb}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e0fff}',
];

/// Emoji and the pictographs around them. A ZERO WIDTH JOINER may combine two of them.
const PICTOGRAPHS: &Ranges = &[
    '\u{a9}'..='\u{a9}',
    '\u{ae}'..='\u{ae}',
    '\u{203c}'..='\u{203c}',
    '\u{2049}'..='\u{2049}',
    '\u{2122}'..='\u{2122}',
    '\u{2139}'..='\u{2139}',
    '\u{2194}'..='\u{2199}',
    '\u{21a9}'..='\u{21aa}',
    '\u{231a}'..='\u{231b}',
    '\u{2328}'..='\u{2328}',
    '\u{23cf}'..='\u{23cf}',
    '\u{23e9}'..='\u{23fa}',
    '\u{24c2}'..='\u{24c2}',
    '\u{25aa}'..='\u{25ab}',
    '\u{25b6}'..='\u{25b6}',
    '\u{25c0}'..='\u{25c0}',
    '\u{25fb}'..='\u{25fe}',
    '\u{2600}'..='\u{27bf}',
    '\u{2934}'..='\u{2935}',
    '\u{2b05}'..='\u{2b07}',
    '\u{2b1b}'..='\u{2b1c}',
    '\u{2b50}'..='\u{2b50}',
    '\u{2b55}'..='\u{2b55}',
    '\u{3030}'..='\u{3030}',
    '\u{303d}'..='\u{303d}',
    '\u{3297}'..='\u{3299}',
    '\u{1f000}'..='\u{1f0ff}',
    '\u{1f10d}'..='\u{1f1e5}',
    '\u{1f200}'..='\u{1faff}',
];

/// Ideographs, whose glyph a variation selector may choose.
const IDEOGRAPHS: &Ranges =
    &['\u{3400}'..='\u{9fff}', '\u{f900}'..='\u{faff}', '\u{20000}'..='\u{3ffff}'];

/// Combining marks that are often stacked until they cover other rows.
const MARKS: &Ranges = &[
    '\u{300}'..='\u{36f}',
    '\u{483}'..='\u{489}',
    '\u{591}'..='\u{5bd}',
    '\u{610}'..='\u{61a}',
    '\u{64b}'..='\u{65f}',
    '\u{6d6}'..='\u{6dc}',
    '\u{e31}'..='\u{e31}',
    '\u{e34}'..='\u{e3a}',
    '\u{e47}'..='\u{e4e}',
    '\u{eb1}'..='\u{eb1}',
    '\u{eb4}'..='\u{ebc}',
    '\u{ec8}'..='\u{ece}',
    '\u{1ab0}'..='\u{1aff}',
    '\u{1dc0}'..='\u{1dff}',
    '\u{20d0}'..='\u{20ff}',
    '\u{302a}'..='\u{302f}',
    '\u{3099}'..='\u{309a}',
    '\u{fe20}'..='\u{fe2f}',
];

/// The signs of Indic scripts that join consonants (virama). A joiner or non-joiner after one of
/// them selects between two visible forms.
const VIRAMAS: [char; 10] = [
    '\u{94d}', '\u{9cd}', '\u{a4d}', '\u{acd}', '\u{b4d}', '\u{bcd}', '\u{c4d}', '\u{ccd}',
    '\u{d4d}', '\u{dca}',
];

/// The maximum number of [`MARKS`] on one character. Biblical Hebrew uses six.
const MAX_MARKS: usize = 8;

const ZERO_WIDTH_NON_JOINER: char = '\u{200c}';
const ZERO_WIDTH_JOINER: char = '\u{200d}';
const EMOJI_PRESENTATION: char = '\u{fe0f}';
const ENCLOSING_KEYCAP: char = '\u{20e3}';
const BLACK_FLAG: char = '\u{1f3f4}';
const CANCEL_TAG: char = '\u{e007f}';

fn is_in(ranges: &Ranges, c: char) -> bool {
    ranges.iter().any(|range| range.contains(&c))
}

fn is_letter(c: char) -> bool {
    c.is_alphabetic() && !is_in(HIDDEN, c)
}

/// The characters before the current one, as far as they matter to it.
#[derive(Debug, Default)]
struct Context {
    /// The last character, unless it was escaped.
    before: Option<char>,
    /// The text so far ends in a pictograph, possibly with a variation selector.
    is_after_pictograph: bool,
    /// The number of [`MARKS`] at the end of the text so far.
    marks: usize,
    /// The number of next characters that are the tags of a flag.
    flag_tags: usize,
}

impl Context {
    /// Returns whether the next character may be printed as is. `rest` is the text after it.
    fn push(&mut self, c: char, rest: &str) -> bool {
        if c.is_ascii() {
            // Most text is ASCII, which is in no table.
            let is_visible = !c.is_control();
            *self = Self { before: is_visible.then_some(c), ..Self::default() };
            return is_visible;
        }
        let next = rest.chars().next();
        self.marks = if is_in(MARKS, c) { self.marks + 1 } else { 0 };
        let is_visible = !c.is_control()
            && self.marks <= MAX_MARKS
            && (!is_in(HIDDEN, c) || self.is_needed(c, next));
        self.flag_tags = match c {
            BLACK_FLAG => count_flag_tags(rest),
            _ => self.flag_tags.saturating_sub(1),
        };
        self.is_after_pictograph = is_visible
            && (is_in(PICTOGRAPHS, c) || self.is_after_pictograph && c == EMOJI_PRESENTATION);
        self.before = is_visible.then_some(c);
        is_visible
    }

    /// Returns whether a hidden character changes how the visible ones around it look.
    fn is_needed(&self, c: char, next: Option<char>) -> bool {
        let Some(before) = self.before else { return false };
        let is_before_letter = next.is_some_and(is_letter);
        match c {
            ZERO_WIDTH_JOINER if self.is_after_pictograph => {
                next.is_some_and(|next| is_in(PICTOGRAPHS, next))
            }
            ZERO_WIDTH_JOINER => VIRAMAS.contains(&before) && is_before_letter,
            ZERO_WIDTH_NON_JOINER => {
                (is_letter(before) || VIRAMAS.contains(&before)) && is_before_letter
            }
            '\u{fe0e}'..=EMOJI_PRESENTATION => {
                is_in(PICTOGRAPHS, before)
                    || matches!(before, '0'..='9' | '#' | '*') && next == Some(ENCLOSING_KEYCAP)
            }
            '\u{fe00}'..='\u{fe0d}' | '\u{e0100}'..='\u{e01ef}' => is_in(IDEOGRAPHS, before),
            _ => self.flag_tags > 0,
        }
    }
}

/// Returns the number of tags after a black flag that select a region's flag, such as Scotland's.
fn count_flag_tags(rest: &str) -> usize {
    let is_region = |c: &char| matches!(c, '\u{e0030}'..='\u{e0039}' | '\u{e0061}'..='\u{e007a}');
    let region = rest.chars().take_while(is_region).count();
    let is_complete = rest.chars().nth(region) == Some(CANCEL_TAG);
    if is_complete && (3..=6).contains(&region) { region + 1 } else { 0 }
}

/// Yields each character, and whether it may be printed as is.
pub fn characters(text: &str) -> impl Iterator<Item = (char, bool)> {
    let mut context = Context::default();
    text.char_indices().map(move |(start, c)| {
        let rest = &text[start + c.len_utf8()..];
        (c, context.push(c, rest))
    })
}

/// Escapes control characters, characters without a glyph, and excessive combining marks. The
/// result stays on one line, cannot control a terminal, and hides nothing. It is truncated after
/// the character or escape that exceeds `max` bytes, and then ends in an ellipsis.
pub fn escape_untrusted(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max));
    for (c, is_visible) in characters(text) {
        if out.len() > max {
            out.push('…');
            break;
        }
        if is_visible {
            out.push(c);
        } else {
            out.extend(c.escape_default());
        }
    }
    out
}

/// Escapes all non-ASCII characters, for a terminal that does not use UTF-8. Such a terminal may
/// interpret their bytes as control characters: U+00DB is encoded as 0xC3 0x9B, and 0x9B begins a
/// control sequence.
pub fn escape_non_ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            out.extend(c.escape_unicode());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{HIDDEN, MAX_MARKS, escape_non_ascii, escape_untrusted};

    fn escape(text: &str) -> String {
        escape_untrusted(text, usize::MAX)
    }

    #[test]
    fn control_and_direction_characters_are_escaped_and_long_text_is_cut() {
        let escaped = escape_untrusted("a\nb\x1b[2J\u{202e}\u{9b}", 100);
        assert_eq!(escaped, "a\\nb\\u{1b}[2J\\u{202e}\\u{9b}");
        assert_eq!(escape_untrusted("你好 👩‍🚀 שלום é", 100), "你好 👩‍🚀 שלום é");
        let long = escape_untrusted(&"\u{202e}".repeat(4096), 3 * 1024);
        assert!(long.len() < 4096 - 100 && long.ends_with('…'), "{}", long.len());
    }

    #[test]
    fn bytes_that_control_an_8_bit_terminal_are_escaped() {
        assert_eq!(escape_non_ascii("a\tÛ2J👍"), "a\t\\u{db}2J\\u{1f44d}");
    }

    #[test]
    fn characters_without_a_glyph_are_escaped() {
        for c in HIDDEN.iter().cloned().flatten() {
            for (before, after) in [("", ""), ("a", ""), ("a ", " b"), ("👍 ", ""), (".", "!")] {
                let escaped = escape(&format!("{before}{c}{after}"));
                assert_eq!(escaped, format!("{before}\\u{{{:x}}}{after}", u32::from(c)));
            }
        }
        assert_eq!(escape("a\u{ad}b\u{200d}c"), "a\\u{ad}b\\u{200d}c");
        assert_eq!(escape("x\u{feff}\u{3164}\u{e0041}"), "x\\u{feff}\\u{3164}\\u{e0041}");
    }

    #[test]
    fn sequences_that_need_invisible_characters_are_kept() {
        for text in [
            "👩‍🚀 👨‍👩‍👧‍👦 🏳️‍🌈 👩🏽‍🚀 ❤️‍🔥 🏴‍☠️ 👁️‍🗨️",
            // Flags of England and Texas.
            "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
            "🏴\u{e0075}\u{e0073}\u{e0074}\u{e0078}\u{e007f}!",
            // Keycaps, text presentation, and a variant of an ideograph.
            "1\u{fe0f}\u{20e3} #\u{fe0f}\u{20e3} ☎\u{fe0e} 葛\u{e0100}",
            // Persian, and Sinhala with a joiner after a virama.
            "می\u{200c}خواهم",
            "ශ\u{dca}\u{200d}රී ක\u{dca}\u{200c}ෂ",
            "e\u{301}\u{323} ก\u{e47}\u{e49} 🇩🇪🇫🇷",
        ] {
            assert_eq!(escape(text), text);
        }
    }

    #[test]
    fn invisible_characters_beyond_what_a_sequence_needs_are_escaped() {
        for (text, escaped) in [
            ("👩\u{200d}", "👩\\u{200d}"),
            ("👩\u{200d}\u{200d}🚀", "👩\\u{200d}\\u{200d}🚀"),
            ("👩\u{200d}a", "👩\\u{200d}a"),
            ("❤\u{fe0f}\u{fe0f}", "❤\u{fe0f}\\u{fe0f}"),
            ("1\u{fe0f}", "1\\u{fe0f}"),
            ("a\u{200c}\u{200c}b", "a\\u{200c}\\u{200c}b"),
            ("a\u{200c}\u{3164}", "a\\u{200c}\\u{3164}"),
            ("葛\u{e0100}\u{e0101}", "葛\u{e0100}\\u{e0101}"),
            // Tags that are not a flag.
            ("🏴\u{e0067}\u{e0062}", "🏴\\u{e0067}\\u{e0062}"),
            ("🏴\u{e0041}\u{e007f}", "🏴\\u{e0041}\\u{e007f}"),
        ] {
            assert_eq!(escape(text), escaped);
        }
        let piled = escape(&format!("a{}b", "\u{335}".repeat(MAX_MARKS + 2)));
        assert_eq!(piled, format!("a{}\\u{{335}}\\u{{335}}b", "\u{335}".repeat(MAX_MARKS)));
    }
}
