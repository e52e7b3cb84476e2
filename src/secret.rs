//! Secrets: what opens a server's door.

use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use subtle::ConstantTimeEq as _;

use crate::protocol::as_text;

/// The longest secret, in bytes. Nobody needs more.
pub const MAX_SECRET: usize = 1024;

/// A secret, which shows itself to nobody who debugs, and is wiped when it is dropped.
#[derive(Clone)]
pub struct Secret(Box<[u8; MAX_SECRET]>, usize);

impl Secret {
    /// A secret: one line of text, neither empty nor longer than [`MAX_SECRET`].
    pub fn new(text: &str) -> Option<Self> {
        let is_line = as_text(text.as_bytes()).is_some();
        (is_line && !text.is_empty() && text.len() <= MAX_SECRET)
            .then(|| Self(padded(text), text.len()))
    }

    /// Reads a secret from a file; one line end at its end does not belong to it. The error is one
    /// line that says what is wrong.
    pub fn read(path: &Path) -> Result<Self, String> {
        let wrong = |what: &str| format!("secret file {}: {what}", path.display());
        // Room for one line end, and for a byte that shows that there is too much.
        let mut bytes = Vec::with_capacity(MAX_SECRET + 3);
        let most = bytes.capacity() as u64;
        std::fs::File::open(path)
            .and_then(|file| file.take(most).read_to_end(&mut bytes))
            .map_err(|error| wrong(&error.to_string()))?;
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let secret = match as_text(line) {
            Some("") => Err(wrong("it is empty")),
            Some(text) => Self::new(text)
                .ok_or_else(|| wrong(&format!("it is longer than {MAX_SECRET} bytes"))),
            None => Err(wrong("it is not one line of text")),
        };
        bytes.fill(0);
        secret
    }

    /// Whether this text is the secret. It takes the same time whatever the text, and whatever of it
    /// is right.
    pub fn is(&self, text: &str) -> bool {
        text.len() <= MAX_SECRET
            && (self.0.ct_eq(&*padded(text)) & self.1.ct_eq(&text.len())).into()
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

/// Whether others than its owner can read a file.
pub fn is_readable_by_others(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
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
