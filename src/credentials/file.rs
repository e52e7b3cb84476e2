//! Small files that somebody names: secrets, keys, certificates.

use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// The largest of them, in bytes.
const MAX_SIZE: u64 = 1024 * 1024;

/// Reads a file whole. What is none, such as a pipe, could keep the whole server waiting, and is
/// refused.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut file = std::fs::File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if metadata.len() > MAX_SIZE {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    // Room for all of it, so that nothing is left behind when a secret is moved to more.
    let mut bytes = Vec::with_capacity(metadata.len() as usize + 1);
    file.by_ref().take(MAX_SIZE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether others than its owner can read a file.
pub(crate) fn is_readable_by_others(path: &Path) -> bool {
    mode(path) & 0o044 != 0
}

/// Whether others than its owner can put something in a folder.
pub(crate) fn is_writable_by_others(folder: &Path) -> bool {
    mode(folder) & 0o022 != 0
}

fn mode(path: &Path) -> u32 {
    path.metadata().map_or(0, |metadata| metadata.permissions().mode())
}
