//! Finds out whether a text mentions a name.

/// Returns whether the name occurs in the text as a whole word, ignoring case.
pub(super) fn mentions(text: &str, name: &str) -> bool {
    // ASCII lowercasing keeps the byte offsets; Unicode lowercasing may not.
    let (text, name) = (text.to_ascii_lowercase(), name.to_ascii_lowercase());
    text.match_indices(&name).any(|(start, _)| {
        let before = text[..start].chars().rev();
        let after = text[start + name.len()..].chars();
        !continues_word(before) && !continues_word(after)
    })
}

/// Returns whether these characters, the nearest to a word first, continue the word. Letters
/// without case do not: in Chinese, for example, no spaces surround a name.
fn continues_word(mut characters: impl Iterator<Item = char>) -> bool {
    let is_word = |c: char| c.is_lowercase() || c.is_uppercase() || c.is_ascii_digit() || c == '_';
    match characters.next() {
        // Either punctuation, or part of another name or address.
        Some('.' | '-') => characters.next().is_some_and(is_word),
        c => c.is_some_and(is_word),
    }
}

#[cfg(test)]
mod tests {
    use super::mentions;

    #[test]
    fn name_is_mentioned_only_by_a_whole_word() {
        for text in
            ["bob", "Bob: hi", "hi @BOB!", "ask bob.", "bob's", "(bob)", "bob...", "bobさん 您bob"]
        {
            assert!(mentions(text, "bob"), "{text:?}");
            assert!(mentions(text, "BOB"), "{text:?}");
        }
        for text in
            ["", "bo", "bobby", "kebob", "bob2", "bob_x", "bob-2", "x.bob", "bob.example", "ébobé"]
        {
            assert!(!mentions(text, "bob"), "{text:?}");
        }
        assert!(mentions("bobby and bob", "bob"));
        assert!(mentions("to a.b-c_d.", "A.b-C_d"));
    }
}
