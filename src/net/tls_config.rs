//! The TLS settings of both programs: the certificate to present, and the certificates to trust.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The location of the server's certificate and private key. All files are in PEM format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// In two files.
    Files {
        /// The certificate, followed by its intermediates.
        certificate: PathBuf,
        /// The private key.
        key: PathBuf,
    },
    /// In a directory, where both are created if they do not exist.
    SelfSigned {
        /// The directory.
        folder: PathBuf,
    },
}

/// The server's TLS settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTlsConfig {
    /// The certificate to present.
    pub identity: Identity,
    /// If set, clients must present a certificate signed by an authority in this file.
    pub client_ca: Option<PathBuf>,
}

/// How the client verifies the server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerVerification {
    /// It must be signed by an authority that this system trusts, or the user must trust it.
    System,
    /// It must be signed by an authority in this file.
    Roots(PathBuf),
    /// It must have this fingerprint. Its names and dates are not checked.
    Pinned(Fingerprint),
}

/// The client's TLS settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTlsConfig {
    /// How to verify the server.
    pub verification: ServerVerification,
    /// The files of the client certificate and its key, if the client presents one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// The SHA-256 hash of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 32]);

impl FromStr for Fingerprint {
    type Err = &'static str;

    /// Parses `sha256:` and 64 hexadecimal digits, in upper or lower case, with or without the
    /// colons that openssl prints.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected sha256: and 64 hexadecimal digits";
        let digits = text.strip_prefix("sha256:").ok_or(EXPECTED)?.replace(':', "");
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(EXPECTED);
        }
        let mut bytes = [0; 32];
        for (i, byte) in bytes.iter_mut().enumerate() {
            let pair = &digits[2 * i..2 * i + 2];
            *byte = u8::from_str_radix(pair, 16).expect("two hexadecimal digits");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_parses_with_and_without_colons() {
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
