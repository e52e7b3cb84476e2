//! Describes a file in which no certificate or key was found, and how to convert it.

use std::path::Path;

/// What was expected in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Certificate,
    Key,
}

/// The contents of files that people confuse with PEM certificates and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Certificate,
    Key,
    EncryptedKey,
    OpensshKey,
    DsaKey,
    PublicKey,
    SigningRequest,
    RevocationList,
    TrustedCertificate,
    Pkcs7,
    Pkcs12,
    Parameters,
}

const BEGIN: &str = "-----BEGIN ";

/// Lines of PEM may end with LF, CR LF or CR.
const LINE_ENDS: [char; 2] = ['\n', '\r'];

/// The kind of a PEM section, by its label.
const LABELS: &[(&str, Kind)] = &[
    ("CERTIFICATE", Kind::Certificate),
    ("X509 CERTIFICATE", Kind::TrustedCertificate),
    ("TRUSTED CERTIFICATE", Kind::TrustedCertificate),
    ("PRIVATE KEY", Kind::Key),
    ("RSA PRIVATE KEY", Kind::Key),
    ("EC PRIVATE KEY", Kind::Key),
    ("ENCRYPTED PRIVATE KEY", Kind::EncryptedKey),
    ("OPENSSH PRIVATE KEY", Kind::OpensshKey),
    ("DSA PRIVATE KEY", Kind::DsaKey),
    ("PUBLIC KEY", Kind::PublicKey),
    ("RSA PUBLIC KEY", Kind::PublicKey),
    ("CERTIFICATE REQUEST", Kind::SigningRequest),
    ("NEW CERTIFICATE REQUEST", Kind::SigningRequest),
    ("X509 CRL", Kind::RevocationList),
    ("PKCS7", Kind::Pkcs7),
    ("CMS", Kind::Pkcs7),
    ("PKCS12", Kind::Pkcs12),
    ("EC PARAMETERS", Kind::Parameters),
    ("DH PARAMETERS", Kind::Parameters),
    ("DSA PARAMETERS", Kind::Parameters),
];

/// Returns whether a key in this file is encrypted in OpenSSL's traditional format, which has
/// headers inside the PEM section.
pub(super) fn has_encrypted_section(bytes: &[u8]) -> bool {
    has_line(bytes, |line| line.starts_with("Proc-Type:") && line.contains("ENCRYPTED"))
}

/// Returns whether a PEM section begins and ends in the same line, as in an environment variable or
/// a JSON string.
pub(super) fn has_section_on_one_line(bytes: &[u8]) -> bool {
    has_line(bytes, |line| line.starts_with(BEGIN) && line.contains("-----END "))
}

fn has_line(bytes: &[u8], is_wanted: impl Fn(&str) -> bool) -> bool {
    String::from_utf8_lossy(bytes).split(LINE_ENDS).any(is_wanted)
}

/// Describes an encrypted key, and says how to decrypt it.
pub(super) fn encrypted_key(path: &Path) -> String {
    Kind::EncryptedKey.describe(Wanted::Key, true, path)
}

/// Says what the file contains instead of what was wanted, and what to do.
pub(super) fn describe(bytes: &[u8], wanted: Wanted, path: &Path) -> String {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return "the file is empty".to_owned();
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return "the file is UTF-16 text; save it as UTF-8".to_owned();
    }
    if let Some(kind) = der_kind(bytes) {
        return kind.describe(wanted, false, path);
    }
    let text = String::from_utf8_lossy(bytes);
    let mut labels: Vec<&str> = text.split(LINE_ENDS).filter_map(label).collect();
    // A file may hold a certificate and an encrypted key, or parameters and a key.
    labels.sort_by_key(|label| kind_of(label).map_or(3, |kind| kind.distance_from(wanted)));
    match labels.first() {
        Some(label) => match kind_of(label) {
            Some(kind) => kind.describe(wanted, true, path),
            None => {
                let label: String = label.chars().filter(|c| !c.is_control()).take(40).collect();
                format!("the file holds a PEM section named \"{label}\", which oyez does not use")
            }
        },
        None => "the file has no line that starts with -----BEGIN".to_owned(),
    }
}

fn label(line: &str) -> Option<&str> {
    line.trim_end().strip_prefix(BEGIN)?.strip_suffix("-----")
}

fn kind_of(label: &str) -> Option<Kind> {
    LABELS.iter().find(|(name, _)| *name == label).map(|(_, kind)| *kind)
}

impl Kind {
    /// How far this is from what was wanted. The nearest section of a file is the one described.
    fn distance_from(self, wanted: Wanted) -> u8 {
        let is_key = matches!(
            self,
            Self::Key | Self::EncryptedKey | Self::OpensshKey | Self::DsaKey | Self::PublicKey
        );
        match self {
            Self::Parameters => 2,
            _ => u8::from(is_key != (wanted == Wanted::Key)),
        }
    }

    fn describe(self, wanted: Wanted, is_pem: bool, path: &Path) -> String {
        let file = path.display();
        let form = if is_pem { "" } else { " in DER format" };
        let inform = if is_pem { "" } else { "-inform der " };
        match self {
            Self::Certificate if wanted == Wanted::Key => format!(
                "the file holds a certificate{form}; give the private key that belongs to it"
            ),
            Self::Certificate => format!(
                "the file holds a certificate{form}; convert it: \
                 openssl x509 {inform}-in {file} -out {file}.pem"
            ),
            Self::Key if wanted == Wanted::Certificate => format!(
                "the file holds a private key{form}; give the certificate that belongs to it"
            ),
            Self::Key => format!(
                "the file holds a private key{form}; convert it: \
                 openssl pkey {inform}-in {file} -out {file}.pem"
            ),
            Self::EncryptedKey => format!(
                "the file holds a private key{form} that is encrypted with a passphrase; remove \
                 the passphrase: \
                 openssl pkey {inform}-in {file} -out {file}.plain"
            ),
            Self::OpensshKey => "the file holds an OpenSSH key, which TLS does not use; create \
                                 another key with: openssl genpkey"
                .to_owned(),
            Self::DsaKey => super::key::unsupported("DSA"),
            Self::PublicKey => format!(
                "the file holds a public key{form}; give the {}",
                match wanted {
                    Wanted::Certificate => "certificate",
                    Wanted::Key => "private key that belongs to it",
                }
            ),
            Self::SigningRequest => format!(
                "the file holds a certificate signing request{form}; give {}",
                match wanted {
                    Wanted::Certificate => "the certificate that the authority returned for it",
                    Wanted::Key => "the private key that it was made with",
                }
            ),
            Self::RevocationList => {
                format!(
                    "the file holds a certificate revocation list{form}, which oyez does not use"
                )
            }
            Self::TrustedCertificate => format!(
                "the file holds a certificate in a format that only openssl uses; convert it: \
                 openssl x509 -in {file} -out {file}.pem"
            ),
            Self::Pkcs7 => format!(
                "the file holds a PKCS#7 bundle{form}; convert it: \
                 openssl pkcs7 {inform}-print_certs -in {file} -out {file}.pem"
            ),
            Self::Pkcs12 => format!(
                "the file holds a PKCS#12 bundle; convert it: \
                 openssl pkcs12 -nodes -in {file} -out {file}.pem"
            ),
            Self::Parameters => {
                "the file holds only parameters; it lacks the private key".to_owned()
            }
        }
    }
}

// Tags of DER.
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const CONTEXT_0: u8 = 0xa0;

/// Returns the kind of a file in DER format, judging by its outermost elements.
fn der_kind(bytes: &[u8]) -> Option<Kind> {
    let (SEQUENCE, body, _) = element(bytes)? else { return None };
    let (tag, first, rest) = element(body)?;
    let second = element(rest).map(|(tag, ..)| tag);
    match (tag, first) {
        (INTEGER, [3]) => Some(Kind::Pkcs12),
        (INTEGER, [0 | 1]) => {
            matches!(second, Some(SEQUENCE | INTEGER | OCTET_STRING)).then_some(Kind::Key)
        }
        (OBJECT_IDENTIFIER, _) => Some(Kind::Pkcs7),
        (SEQUENCE, _) => match (element(first)?, second) {
            ((OBJECT_IDENTIFIER, ..), Some(OCTET_STRING)) => Some(Kind::EncryptedKey),
            ((OBJECT_IDENTIFIER, ..), Some(BIT_STRING)) => Some(Kind::PublicKey),
            ((CONTEXT_0, ..), _) => Some(Kind::Certificate),
            ((INTEGER, [0], rest), _) => {
                // A signing request: a version, a name, a key and attributes.
                let (_, _, rest) = element(rest)?;
                let (_, _, rest) = element(rest)?;
                let is_request = element(rest).is_none_or(|(tag, ..)| tag == CONTEXT_0);
                Some(if is_request { Kind::SigningRequest } else { Kind::Certificate })
            }
            ((INTEGER, ..), _) => Some(Kind::Certificate),
            _ => None,
        },
        _ => None,
    }
}

/// Splits DER into the first element's tag and content, and the rest.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, len], rest) = bytes.split_first_chunk::<2>()?;
    let (len, rest) = match len {
        0..=0x7f => (usize::from(len), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(len - 0x80))?;
            (digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    /// Every file is described in one line, however damaged it is.
    #[test]
    fn damaged_der_is_described_in_one_line() {
        let pair = KeyPair::generate().expect("a key");
        let parameters = CertificateParams::new(["x".to_owned()]).expect("a valid name");
        let certificate = parameters.self_signed(&pair).expect("a certificate");
        let request = parameters.serialize_request(&pair).expect("a request");
        for (der, expected) in [
            (pair.serialize_der(), "holds a private key in DER format"),
            (certificate.der().to_vec(), "holds a certificate in DER format"),
            (request.der().to_vec(), "holds a certificate signing request in DER format"),
        ] {
            let path = Path::new("x");
            assert!(describe(&der, Wanted::Certificate, path).contains(expected), "{expected}");
            for at in 0..der.len() {
                let mut damaged = der.clone();
                for byte in [0, 1, 6, 0x30, 0x7f, 0x80, 0x84, 0xa0, 0xff] {
                    damaged[at] = byte;
                    for bytes in [&damaged[..], &damaged[..at]] {
                        for wanted in [Wanted::Certificate, Wanted::Key] {
                            let text = describe(bytes, wanted, path);
                            assert!(text.len() > 10 && !text.contains('\n'), "{text}");
                        }
                    }
                }
            }
        }
    }
}
