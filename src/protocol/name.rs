//! Client names.

/// A well-formed client name: 1 to 32 of `A-Z a-z 0-9 _ . -`, starting with a letter.
///
/// A name cannot look like an id, because it starts with a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a>(&'a str);

impl<'a> Name<'a> {
    /// The maximum length of a name, in bytes.
    pub const MAX_LEN: usize = 32;

    /// Parses a name. Returns `None` if it is not well-formed.
    pub fn parse(text: &'a str) -> Option<Self> {
        let well_formed = text.len() <= Self::MAX_LEN
            && text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        well_formed.then_some(Self(text))
    }

    /// The name, in its original case.
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn name_starts_with_a_letter_and_has_at_most_32_characters() {
        let longest = "a".repeat(32);
        for good in ["a", "Z", "alice", "Bob-2", "x_.-9", &longest] {
            assert_eq!(Name::parse(good).map(Name::as_str), Some(good));
        }
        for bad in ["", "1a", "_a", "-a", ".a", "a b", "a\tb", "é", "aé", "a!", &"a".repeat(33)] {
            assert_eq!(Name::parse(bad), None, "{bad:?}");
        }
    }
}
