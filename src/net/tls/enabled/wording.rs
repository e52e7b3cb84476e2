//! Words for the explanations of errors.

use std::fmt::{self, Debug};

/// The other side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Client,
    Server,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}

/// The name of an enum's variant in words: `BadRecordMac` becomes `bad record mac`.
pub(super) fn words(value: &impl Debug) -> String {
    let debug = format!("{value:?}");
    let name: Vec<char> = debug.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
    let mut words = String::new();
    for (i, c) in name.iter().enumerate() {
        let after_lower = i > 0 && !name[i - 1].is_ascii_uppercase();
        let before_lower = name.get(i + 1).is_some_and(char::is_ascii_lowercase);
        if i > 0 && c.is_ascii_uppercase() && (after_lower || before_lower) {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription as Alert, InvalidMessage};

    use super::*;

    #[test]
    fn variant_names_become_words() {
        assert_eq!(words(&Alert::UnknownPSKIdentity), "unknown psk identity");
        assert_eq!(words(&Alert::BadRecordMac), "bad record mac");
        assert_eq!(words(&InvalidMessage::MissingData("X")), "missing data");
    }
}
