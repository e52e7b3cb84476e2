//! Secrets in files.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::protocol::as_text;
use crate::secret::{MAX_SECRET, Secret, wipe};

/// Reads a secret from a file; one line end at its end does not belong to it. The error is one line
/// that says what is wrong.
pub(crate) fn read(path: &Path) -> Result<Secret, String> {
    // Room for one line end, and for a byte that shows that there is too much.
    let mut bytes = [0; MAX_SECRET + 3];
    let secret = read_up_to(path, &mut bytes)
        .map_err(|error| error.to_string())
        .and_then(|len| parse(&bytes[..len]));
    wipe(&mut bytes);
    secret.map_err(|error| format!("secret file {}: {error}", path.display()))
}

fn read_up_to(path: &Path, bytes: &mut [u8]) -> io::Result<usize> {
    let mut file = File::open(path)?;
    let mut len = 0;
    while len < bytes.len() {
        match file.read(&mut bytes[len..])? {
            0 => break,
            more => len += more,
        }
    }
    Ok(len)
}

fn parse(bytes: &[u8]) -> Result<Secret, String> {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match as_text(line) {
        Some("") => Err("it is empty".to_owned()),
        Some(text) => {
            Secret::new(text).ok_or_else(|| format!("it is longer than {MAX_SECRET} bytes"))
        }
        None => Err("it is not one line of text".to_owned()),
    }
}

/// Whether others than its owner can read a file.
pub(crate) fn is_readable_by_others(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o044 != 0)
}
