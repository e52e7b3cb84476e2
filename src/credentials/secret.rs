//! Shared secrets: hidden from `Debug`, compared in constant time, zeroed on `Drop`.

use std::fmt;

use subtle::ConstantTimeEq as _;

use crate::protocol::validate_text;

/// The maximum length of a secret, in bytes.
pub const MAX_SECRET: usize = 1024;

/// A secret, padded with NULs to a fixed length for constant-time comparison, and its real length.
#[derive(Clone)]
pub struct Secret(Box<[u8; MAX_SECRET]>, usize);

impl Secret {
    /// Creates a secret. Returns `None` unless `text` is one line of 1 to [`MAX_SECRET`] bytes.
    pub fn new(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > MAX_SECRET {
            return None;
        }
        validate_text(text.as_bytes())?;
        let mut bytes = Box::new([0; MAX_SECRET]);
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Some(Self(bytes, text.len()))
    }

    /// Returns whether `text` equals the secret. The time this takes does not depend on how much of
    /// `text` matches.
    pub fn is(&self, text: &str) -> bool {
        Self::new(text).is_some_and(|candidate| candidate == *self)
    }

    /// Returns the secret in plain text, to send to a server.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0[..self.1]).expect("a secret is UTF-8")
    }
}

/// Zeroes bytes that must not stay in memory. `black_box` keeps the compiler from removing the
/// write as a dead store.
pub(crate) fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    std::hint::black_box(bytes);
}

impl Drop for Secret {
    fn drop(&mut self) {
        wipe(&mut *self.0);
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        (self.0.ct_eq(&*other.0) & self.1.ct_eq(&other.1)).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_text_matches_a_secret() {
        let secret = Secret::new("open sesame").expect("a secret");
        assert!(secret.is("open sesame") && secret.as_str() == "open sesame");
        for wrong in ["", "open sesam", "open sesame ", "open sesamE", "open sesame\0"] {
            assert!(!secret.is(wrong), "{wrong:?}");
        }
        assert!(!secret.is(&"x".repeat(MAX_SECRET + 1)));
        assert_eq!(format!("{secret:?}"), "Secret");
    }

    #[test]
    fn empty_long_or_multi_line_text_is_not_a_secret() {
        for wrong in ["", "a\nb", "a\0", &"x".repeat(MAX_SECRET + 1)] {
            assert!(Secret::new(wrong).is_none(), "{wrong:?}");
        }
        assert!(Secret::new(&"x".repeat(MAX_SECRET)).is_some());
    }
}
