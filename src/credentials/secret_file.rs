//! Secrets in files.

use std::path::Path;

use crate::credentials::file;
use crate::credentials::secret::{MAX_SECRET, Secret, wipe};
use crate::protocol::validate_text;

/// Reads a secret from a file; one line end at its end does not belong to it. The error is one line
/// that says what is wrong.
pub(crate) fn read(path: &Path) -> Result<Secret, String> {
    let wrong = |error: String| format!("secret file {}: {error}", path.display());
    let mut bytes = file::read(path).map_err(|error| wrong(error.to_string()))?;
    let secret = parse(&bytes);
    wipe(&mut bytes);
    secret.map_err(wrong)
}

fn parse(bytes: &[u8]) -> Result<Secret, String> {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match validate_text(line) {
        Some("") => Err("it is empty".to_owned()),
        Some(text) => {
            Secret::new(text).ok_or_else(|| format!("it is longer than {MAX_SECRET} bytes"))
        }
        None => Err("it is not one line of text".to_owned()),
    }
}
