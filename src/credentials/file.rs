//! Reads and writes small files: secrets, keys, certificates and known servers.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::secret::wipe;

/// The maximum size of a file, in bytes.
const MAX_SIZE: u64 = 1024 * 1024;

/// U+FEFF in UTF-8. Some editors write it at the beginning of a file; it is not part of the
/// contents.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Reads files, and keeps the contents of pipes: a pipe can be read only once, but a reload reads
/// all files again.
#[derive(Default)]
pub(crate) struct Files {
    pipes: Vec<(PathBuf, Vec<u8>)>,
}

impl Files {
    /// Reads a whole file, or a pipe that this process has inherited, such as `<(command)` or
    /// /dev/stdin. The first read of a pipe waits for its end. Later reads return the same
    /// contents.
    pub(crate) fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        if let Some((_, contents)) = self.pipes.iter().find(|(pipe, _)| pipe == path) {
            return Ok(contents.clone());
        }
        if !is_inherited_pipe(path) {
            return read(path);
        }
        let contents = read_to_end(File::open(path)?, MAX_SIZE)?;
        self.pipes.push((path.to_owned(), contents.clone()));
        Ok(contents)
    }

    /// The pipes that were read.
    pub(crate) fn pipes(&self) -> Vec<&Path> {
        self.pipes.iter().map(|(path, _)| path.as_path()).collect()
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.pipes()).finish()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.pipes.iter_mut().for_each(|(_, contents)| wipe(contents));
    }
}

/// Returns whether the path names a pipe that this process has inherited. A named pipe does not
/// count: waiting for its writer could take forever.
fn is_inherited_pipe(path: &Path) -> bool {
    const FOLDERS: [&str; 2] = ["/dev/fd", "/proc/self/fd"];
    let is_descriptor = path == Path::new("/dev/stdin")
        || path
            .parent()
            .is_some_and(|parent| FOLDERS.iter().any(|folder| parent == Path::new(folder)));
    is_descriptor && path.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// Reads a whole file. Accepts only regular files, since a pipe or a device could block.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other(
            "neither a regular file nor a pipe from <(command) or /dev/stdin",
        ));
    }
    read_to_end(file, metadata.len())
}

/// Reads a file to its end. `len` is the expected size.
fn read_to_end(file: File, len: u64) -> io::Result<Vec<u8>> {
    // Allocate the whole buffer up front: growing it would leave a copy of a secret in freed
    // memory.
    let mut bytes = Vec::with_capacity(len.min(MAX_SIZE) as usize + 1);
    file.take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(io::Error::other("larger than 1 MiB"));
    }
    if bytes.starts_with(BYTE_ORDER_MARK) {
        let len = bytes.len() - BYTE_ORDER_MARK.len();
        bytes.copy_within(BYTE_ORDER_MARK.len().., 0);
        wipe(&mut bytes[len..]);
        bytes.truncate(len);
    }
    Ok(bytes)
}

/// Writes a file atomically, readable only by its owner.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), String> {
    let temporary = path.with_extension("new");
    // An interrupted write may have left the file behind. If it cannot be removed, creating it
    // fails.
    let _ = fs::remove_file(&temporary);
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&temporary);
    file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    })
    .and_then(|()| fs::rename(&temporary, path))
    .map_err(|error| format!("cannot write {}: {error}", temporary.display()))
}

/// Returns warnings if the group or others can read this file, which holds a secret or a key, or can
/// replace it. `what` names the kind of file.
pub(crate) fn exposures(what: &str, path: &Path) -> Vec<String> {
    let mut warnings = replaceable(what, path);
    if mode(path) & READABLE != 0 {
        let path = path.display();
        warnings.push(format!("{what} {path} is readable by others; fix: chmod 600 {path}"));
    }
    warnings
}

/// Returns warnings if the group or others can write to this file, or can replace it.
pub(crate) fn replaceable(what: &str, path: &Path) -> Vec<String> {
    let file = path.display();
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let folder_mode = mode(folder);
    let mut warnings = vec![];
    if mode(path) & WRITABLE != 0 {
        warnings.push(format!("{what} {file} is writable by others; fix: chmod go-w {file}"));
    }
    if path.is_symlink() && folder_mode & WRITABLE != 0 {
        // With the sticky bit, others cannot replace the link, but may have created it.
        warnings.push(format!(
            "{what} {file} is a symbolic link, and others can create links in {}; give the path \
             that it points to",
            folder.display()
        ));
    } else if folder_mode & WRITABLE != 0 && folder_mode & STICKY == 0 {
        let folder = folder.display();
        warnings.push(format!("others can replace {what} {file}; fix: chmod go-w {folder}"));
    }
    warnings
}

// Bits of a file's mode: what its group and others may do.
const READABLE: u32 = 0o044;
const WRITABLE: u32 = 0o022;
/// In a directory with this bit, only the owner of a file may replace it.
const STICKY: u32 = 0o1000;

/// Returns the mode of the file, or 0 if it is unknown. Follows symbolic links.
fn mode(path: &Path) -> u32 {
    path.metadata().map_or(0, |metadata| metadata.permissions().mode())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn file_that_others_can_read_or_replace_causes_warnings() {
        let folder = tempfile::tempdir().expect("a folder");
        let [file, link] = ["file", "link"].map(|name| folder.path().join(name));
        fs::write(&file, "x").expect("a file");
        symlink(&file, &link).expect("a link");
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
        };
        let others = "others can replace secret file";
        let is_link = "is a symbolic link, and others can create links in";
        for (folder_mode, mode, path, expected) in [
            (0o700, 0o600, &file, &[][..]),
            (0o755, 0o600, &link, &[]),
            (0o700, 0o640, &file, &["is readable by others; fix: chmod 600"]),
            (0o700, 0o604, &link, &["is readable by others; fix: chmod 600"]),
            (0o700, 0o620, &file, &["is writable by others; fix: chmod go-w"]),
            (0o770, 0o600, &file, &[others]),
            (0o702, 0o600, &file, &[others]),
            (0o1777, 0o600, &file, &[]),
            (0o1777, 0o600, &link, &[is_link]),
            (0o777, 0o666, &link, &["is writable by others", is_link, "is readable by others"]),
        ] {
            set(&file, mode);
            set(folder.path(), folder_mode);
            let warnings = exposures("secret file", path);
            let is_expected = warnings.len() == expected.len()
                && warnings.iter().zip(expected).all(|(warning, part)| warning.contains(part));
            assert!(is_expected, "{folder_mode:o} {mode:o} {path:?}: {warnings:?}");
        }
    }
}
