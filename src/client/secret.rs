//! The secret that a server asks for.

use std::fmt;
use std::io::Read as _;
use std::path::Path;

use crate::protocol::as_text;

/// The longest secret, in bytes. Nobody needs more.
const MAX_SECRET: usize = 1024;

/// A secret. It shows itself to nobody who debugs.
pub(super) struct Secret(String);

impl Secret {
    /// Reads a secret from a file; one line end at its end does not belong to it.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let wrong = |what: &str| format!("secret file {}: {what}", path.display());
        let mut bytes = Vec::new();
        let most = MAX_SECRET as u64 + 3;
        std::fs::File::open(path)
            .and_then(|file| file.take(most).read_to_end(&mut bytes))
            .map_err(|error| wrong(&error.to_string()))?;
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match as_text(line) {
            Some("") => Err(wrong("it is empty")),
            Some(text) if text.len() <= MAX_SECRET => Ok(Self(text.to_owned())),
            Some(_) => Err(wrong(&format!("it is longer than {MAX_SECRET} bytes"))),
            None => Err(wrong("it is not one line of text")),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
