//! Reads a secret from a file.

use std::path::Path;

use super::file::Files;
use super::secret::{MAX_SECRET, Secret, wipe};
use crate::protocol::validate_text;

/// Reads a secret, without the line end that may follow it. The error is one line that names the
/// file.
pub(crate) fn read(path: &Path, files: &mut Files) -> Result<Secret, String> {
    let fail = |error: String| format!("secret file {}: {error}", path.display());
    let mut bytes = files.read(path).map_err(|error| fail(error.to_string()))?;
    let secret = parse(&bytes);
    wipe(&mut bytes);
    secret.map_err(fail)
}

/// Returns a warning if the secret begins or ends with a blank, which is rarely intended.
pub(crate) fn warning(path: &Path, secret: &Secret) -> Option<String> {
    let text = secret.as_str();
    let position =
        match (text.starts_with(char::is_whitespace), text.ends_with(char::is_whitespace)) {
            (_, true) => "ends",
            (true, false) => "begins",
            (false, false) => return None,
        };
    let path = path.display();
    Some(format!(
        "the secret in {path} {position} with a blank, which is part of the secret; remove the blank \
         unless it is intended"
    ))
}

fn parse(bytes: &[u8]) -> Result<Secret, String> {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match validate_text(line) {
        Some("") => Err("empty".to_owned()),
        Some(text) => Secret::new(text).ok_or_else(|| format!("longer than {MAX_SECRET} bytes")),
        None if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) => {
            Err("UTF-16 text; save it as UTF-8".to_owned())
        }
        None => Err("not a single line of text".to_owned()),
    }
}
