//! Reads a secret from a file.

use std::path::Path;

use super::file;
use super::secret::{MAX_SECRET, Secret, wipe};
use crate::protocol::validate_text;

/// Reads a secret, without the line end that may follow it. The error is one line that names the
/// file.
pub(crate) fn read(path: &Path) -> Result<Secret, String> {
    let fail = |error: String| format!("secret file {}: {error}", path.display());
    let mut bytes = file::read(path).map_err(|error| fail(error.to_string()))?;
    let secret = parse(&bytes);
    wipe(&mut bytes);
    secret.map_err(fail)
}

fn parse(bytes: &[u8]) -> Result<Secret, String> {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match validate_text(line) {
        Some("") => Err("empty".to_owned()),
        Some(text) => Secret::new(text).ok_or_else(|| format!("longer than {MAX_SECRET} bytes")),
        None => Err("not a single line of text".to_owned()),
    }
}
