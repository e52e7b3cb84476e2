//! Secrets: what opens a server's door.

use std::fmt;

use subtle::ConstantTimeEq as _;

use crate::protocol::validate_text;

/// The longest secret, in bytes. Nobody needs more.
pub const MAX_SECRET: usize = 1024;

/// A secret, which shows itself to nobody who debugs, and is wiped when it is dropped.
#[derive(Clone)]
pub struct Secret(Box<[u8; MAX_SECRET]>, usize);

impl Secret {
    /// A secret: one line of text, neither empty nor longer than [`MAX_SECRET`].
    pub fn new(text: &str) -> Option<Self> {
        let is_line = validate_text(text.as_bytes()).is_some();
        (is_line && !text.is_empty() && text.len() <= MAX_SECRET)
            .then(|| Self(padded(text), text.len()))
    }

    /// Whether this text is the secret. It takes the same time whatever the text, and whatever of it
    /// is right.
    pub fn is(&self, text: &str) -> bool {
        Self::new(text).is_some_and(|given| given == *self)
    }

    /// The secret itself, to be sent.
    pub fn as_str(&self) -> &str {
        // It was made of a str.
        std::str::from_utf8(&self.0[..self.1]).unwrap_or_default()
    }
}

/// Of the same length, whatever the text's. No text has a NUL.
fn padded(text: &str) -> Box<[u8; MAX_SECRET]> {
    let mut bytes = Box::new([0; MAX_SECRET]);
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    bytes
}

/// Overwrites what must not stay in memory. The compiler is kept from finding that nobody reads it
/// afterwards.
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
    fn only_the_whole_secret_is_the_secret() {
        let secret = Secret::new("open sesame").expect("a secret");
        assert!(secret.is("open sesame") && secret.as_str() == "open sesame");
        for wrong in ["", "open sesam", "open sesame ", "open sesamE", "open sesame\0"] {
            assert!(!secret.is(wrong), "{wrong:?}");
        }
        assert!(!secret.is(&"x".repeat(MAX_SECRET + 1)));
        assert_eq!(format!("{secret:?}"), "Secret");
    }

    #[test]
    fn what_cannot_be_sent_is_no_secret() {
        for wrong in ["", "a\nb", "a\0", &"x".repeat(MAX_SECRET + 1)] {
            assert!(Secret::new(wrong).is_none(), "{wrong:?}");
        }
        assert!(Secret::new(&"x".repeat(MAX_SECRET)).is_some());
    }
}
