//! Reads the small files named by options: secrets, keys and certificates.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// The maximum size of a file, in bytes.
const MAX_SIZE: u64 = 1024 * 1024;

/// Reads a whole file. Accepts only regular files, since a pipe or a device could block.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if metadata.len() > MAX_SIZE {
        return Err(io::Error::other("larger than 1 MiB"));
    }
    // Allocate the whole buffer up front: growing it would leave a copy of a secret in freed
    // memory.
    let mut bytes = Vec::with_capacity(metadata.len() as usize + 1);
    file.take(MAX_SIZE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Returns whether a file's mode lets its group or others read it. Returns false if the mode is
/// unknown.
pub(crate) fn is_readable_by_others(path: &Path) -> bool {
    mode(path) & 0o044 != 0
}

/// Returns whether a directory's mode lets its group or others create files in it. Returns false if
/// the mode is unknown.
pub(crate) fn is_writable_by_others(folder: &Path) -> bool {
    mode(folder) & 0o022 != 0
}

fn mode(path: &Path) -> u32 {
    path.metadata().map_or(0, |metadata| metadata.permissions().mode())
}
