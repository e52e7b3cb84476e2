//! The file of the certificates that the user has accepted. Each line has a server's address and
//! the fingerprint of its certificate.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::client::connection::address::ServerAddress;
use crate::credentials::file;
use crate::escape::escape_untrusted;
use crate::net::tls_config::Fingerprint;

/// The file of known servers, and the address of one server.
#[derive(Debug)]
pub(super) struct KnownServers {
    pub(super) file: PathBuf,
    /// The address as written in the file: a host name is in lower case.
    server: String,
}

/// A server's entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) fingerprint: Fingerprint,
    /// The number of its line, from 1.
    pub(super) line: usize,
}

impl KnownServers {
    pub(super) fn new(file: PathBuf, server: &ServerAddress) -> Self {
        let shown = escape_untrusted(&server.to_string(), usize::MAX);
        let server = match server {
            ServerAddress::Tcp { .. } => shown.to_ascii_lowercase(),
            ServerAddress::Unix(_) => shown,
        };
        Self { file, server }
    }

    /// Returns the server's entry. The error is one line that names the file.
    pub(super) fn find(&self) -> Result<Option<Entry>, String> {
        self.find_in(&self.read()?)
    }

    /// Adds an entry. Waits while another client writes the file.
    pub(super) fn add(&self, fingerprint: Fingerprint) -> Result<(), String> {
        // A lock on the file itself would be lost when the file is replaced.
        let _lock = self
            .lock_directory()
            .map_err(|error| format!("cannot write {}: {error}", self.file.display()))?;
        let mut text = self.read()?;
        match self.find_in(&text)? {
            Some(entry) if entry.fingerprint == fingerprint => return Ok(()),
            Some(entry) => {
                let (line, file) = (entry.line, self.file.display());
                return Err(format!("line {line} of {file} has another certificate"));
            }
            None => {}
        }
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text += &format!("{} {fingerprint}\n", self.server);
        // If the file is a symbolic link, replace its target, not the link.
        let file = fs::canonicalize(&self.file);
        file::write(file.as_ref().unwrap_or(&self.file), &text)
    }

    /// Locks the directory of the file until the returned handle is dropped. Creates the directory
    /// if it does not exist.
    fn lock_directory(&self) -> io::Result<File> {
        let directory = self.file.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let directory = File::open(directory)?;
        flock(&directory, FlockOperation::LockExclusive)?;
        Ok(directory)
    }

    /// Reads the file. Returns an empty text if it does not exist.
    fn read(&self) -> Result<String, String> {
        let cannot_read = |error: &str| format!("cannot read {}: {error}", self.file.display());
        match file::read(&self.file) {
            Ok(bytes) => String::from_utf8(bytes).map_err(|_| cannot_read("not UTF-8 text")),
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                Ok(String::new())
            }
            Err(error) => Err(cannot_read(&error.to_string())),
        }
    }

    fn find_in(&self, text: &str) -> Result<Option<Entry>, String> {
        let mut found = None;
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            let entry = line.rsplit_once(' ').and_then(|(server, fingerprint)| {
                Some((server, fingerprint.parse::<Fingerprint>().ok()?))
            });
            let Some((server, fingerprint)) = entry else {
                let file = self.file.display();
                return Err(format!(
                    "line {number} of {file} is not an address and a fingerprint; correct or \
                     remove it"
                ));
            };
            if server == self.server && found.is_none() {
                found = Some(Entry { fingerprint, line: number });
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn known(file: &Path, server: &str) -> KnownServers {
        KnownServers::new(file.to_owned(), &server.parse().expect("an address"))
    }

    #[test]
    fn entry_is_found_by_address_and_its_line_is_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("state/known_servers");
        let [one, two] = [Fingerprint([1; 32]), Fingerprint([2; 32])];
        assert_eq!(known(&file, "host:1").find(), Ok(None), "there is no file");
        assert_eq!(known(&file, "HOST:1").add(one), Ok(()));
        assert_eq!(known(&file, "host:1").add(one), Ok(()));
        assert_eq!(known(&file, "unix:/a b\nc:1 x").add(two), Ok(()));
        assert_eq!(known(&file, "[::1]:1").add(two), Ok(()));
        for (server, expected) in [
            ("host:1", Some((one, 1))),
            ("Host:1", Some((one, 1))),
            ("unix:/a b\nc:1 x", Some((two, 2))),
            ("::1:1", None),
            ("[::1]:1", Some((two, 3))),
            ("host:2", None),
            ("host2:1", None),
            ("unix:/A b\nc:1 x", None),
        ] {
            let expected = expected.map(|(fingerprint, line)| Entry { fingerprint, line });
            assert_eq!(known(&file, server).find(), Ok(expected), "{server:?}");
        }
        let error = known(&file, "host:1").add(two).expect_err("it has another certificate");
        assert!(error.starts_with("line 1 of "), "{error}");
        // Someone may edit the file, and leave out the last line end.
        let text = fs::read_to_string(&file).expect("a file");
        fs::write(&file, format!("\n{}", text.trim_end())).expect("a file");
        assert_eq!(known(&file, "last:1").add(one), Ok(()));
        let expected = Entry { fingerprint: one, line: 5 };
        assert_eq!(known(&file, "last:1").find(), Ok(Some(expected)));
    }

    #[test]
    fn symbolic_link_to_the_file_stays_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let [file, link] = ["file", "link"].map(|name| folder.path().join(name));
        fs::write(&file, "").expect("a file");
        std::os::unix::fs::symlink("file", &link).expect("a link");
        assert_eq!(known(&link, "host:1").add(Fingerprint([1; 32])), Ok(()));
        assert!(link.is_symlink());
        assert!(known(&file, "host:1").find().expect("a valid file").is_some());
    }

    #[test]
    fn clients_that_add_servers_at_once_lose_no_entry() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("known_servers");
        let server = |number| known(&file, &format!("host:{number}"));
        thread::scope(|scope| {
            for number in 1..=20_u8 {
                scope.spawn(move || server(number).add(Fingerprint([number; 32])));
            }
        });
        for number in 1..=20 {
            let found = server(number).find().expect("a valid file").expect("an entry");
            assert_eq!(found.fingerprint, Fingerprint([number; 32]));
        }
    }

    #[test]
    fn invalid_file_is_an_error_that_names_the_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("known_servers");
        let good = format!("host:1 {}\n", Fingerprint([1; 32]));
        for (text, part) in [
            (format!("{good}host:2 sha256:12\n"), "line 2 of "),
            (format!("{good}{}", "host:2"), "line 2 of "),
            ("\u{0}".to_owned(), "line 1 of "),
            (" ".repeat(1 << 20) + &good, ": larger than 1 MiB"),
        ] {
            fs::write(&file, &text).expect("a file");
            for error in [
                known(&file, "host:1").find().expect_err("an error"),
                known(&file, "host:3").add(Fingerprint([3; 32])).expect_err("an error"),
            ] {
                assert!(error.contains(part) && error.contains("known_servers"), "{error}");
            }
            assert_eq!(fs::read_to_string(&file).expect("a file"), text, "it is left alone");
        }
        fs::write(&file, b"\xff").expect("a file");
        let error = known(&file, "host:1").find().expect_err("an error");
        assert!(error.ends_with("known_servers: not UTF-8 text"), "{error}");
    }
}
