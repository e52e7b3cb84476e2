//! What the two programs are told about certificates: which to show, and which to trust.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// In two files, as PEM; the certificate's with those that lead to a root.
    Files {
        /// The certificate's.
        certificate: PathBuf,
        /// The key's.
        key: PathBuf,
    },
    /// In a folder, in which they are made if they are not there.
    SelfSigned {
        /// The folder.
        folder: PathBuf,
    },
}

/// What a server shows of itself, and whom it lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTrust {
    /// What it shows.
    pub identity: Identity,
    /// The file with the certificates that have to have signed a client's.
    pub client_ca: Option<PathBuf>,
}

/// Which servers a client trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerVerification {
    /// Those whose certificate is signed by one of the system's roots.
    System,
    /// Those whose certificate is signed by one in this file.
    Roots(PathBuf),
    /// The one with exactly this certificate, whatever names and dates are in it.
    Pinned(Fingerprint),
}

/// What a client shows of itself, and whom it trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTrust {
    /// Whom it trusts.
    pub trust: ServerVerification,
    /// The files of its certificate and key, if it has any.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// The SHA-256 of a certificate, which names it and no other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl FromStr for Fingerprint {
    type Err = &'static str;

    /// Takes what [`Display`](fmt::Display) gives, and what openssl prints: colons are passed
    /// over, and letters may be of either case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected sha256: and 64 hexadecimal digits";
        let digits = text.strip_prefix("sha256:").ok_or(EXPECTED)?;
        let digits: Vec<u8> = digits.bytes().filter(|byte| *byte != b':').collect();
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(EXPECTED);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| EXPECTED)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| EXPECTED)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_in_both_spellings() {
        let plain = format!("sha256:{}", "0a".repeat(32));
        let parsed: Result<Fingerprint, _> = plain.parse();
        assert_eq!(parsed.map(|fingerprint| fingerprint.to_string()), Ok(plain.clone()));
        let colons = format!("sha256:{}", vec!["0A"; 32].join(":"));
        assert_eq!(colons.parse::<Fingerprint>(), plain.parse());
        for wrong in ["", "sha256:", &plain[7..], &plain[..70], &format!("{plain}00"), "sha1:00"] {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
        }
    }
}
