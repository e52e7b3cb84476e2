//! Shared secrets: hidden from `Debug`, compared in constant time, zeroed on `Drop`.

use std::fmt;

use subtle::ConstantTimeEq as _;

use crate::protocol::validate_text;
pub(crate) use crate::protocol::wipe;

/// The maximum length of a secret, in bytes.
pub const MAX_SECRET: usize = 1024;

/// A secret, padded with NULs to a fixed length for constant-time comparison, and its real length.
#[derive(Clone)]
pub struct Secret(Box<[u8; MAX_SECRET]>, usize);

impl Secret {
    /// Creates a secret. Returns `None` unless `text` is one line of 1 to [`MAX_SECRET`] bytes.
    pub fn new(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > MAX_SECRET {
            return None;
        }
        validate_text(text.as_bytes())?;
        let mut bytes = Box::new([0; MAX_SECRET]);
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Some(Self(bytes, text.len()))
    }

    /// Returns whether `text` equals the secret. The time this takes does not depend on how much of
    /// `text` matches.
    pub fn is(&self, text: &str) -> bool {
        Self::new(text).is_some_and(|candidate| candidate == *self)
    }

    /// Returns the secret in plain text, to send to a server.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0[..self.1]).expect("a secret is UTF-8")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        wipe(&mut *self.0);
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        (self.0.ct_eq(&*other.0) & self.1.ct_eq(&other.1)).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_text_matches_a_secret() {
        let secret = Secret::new("open sesame").expect("a secret");
        assert!(secret.is("open sesame") && secret.as_str() == "open sesame");
        for wrong in ["", "open sesam", "open sesame ", "open sesamE", "open sesame\0"] {
            assert!(!secret.is(wrong), "{wrong:?}");
        }
        assert!(!secret.is(&"x".repeat(MAX_SECRET + 1)));
        assert_eq!(format!("{secret:?}"), "Secret");
    }

    #[test]
    fn empty_long_or_multi_line_text_is_not_a_secret() {
        for wrong in ["", "a\nb", "a\0", &"x".repeat(MAX_SECRET + 1)] {
            assert!(Secret::new(wrong).is_none(), "{wrong:?}");
        }
        assert!(Secret::new(&"x".repeat(MAX_SECRET)).is_some());
    }

    /// Returns one byte of a secret. The whole secret is stored only in the buffer under test.
    #[cfg(target_os = "linux")]
    fn secret_byte(offset: usize) -> u8 {
        b'!' + (offset * offset * 7 + offset * 31) as u8 % 90
    }

    /// Returns whether this process has bytes 16 to 48 of the secret in memory. It ignores the
    /// first bytes, because the allocator may have overwritten the beginning of freed memory.
    #[cfg(target_os = "linux")]
    fn is_in_memory() -> bool {
        use std::os::unix::fs::FileExt as _;
        let memory = std::fs::File::open("/proc/self/mem").expect("own memory");
        let maps = std::fs::read_to_string("/proc/self/maps").expect("own mappings");
        let is_secret =
            |window: &[u8]| (16..48).zip(window).all(|(i, byte)| *byte == secret_byte(i));
        maps.lines().filter(|line| line.contains(" rw-p ")).any(|line| {
            let range = line.split([' ', '-']).take(2);
            let range: Vec<_> = range.map(|hex| u64::from_str_radix(hex, 16)).collect();
            let [Ok(start), Ok(end)] = range[..] else { return false };
            let mut bytes = vec![0; (end - start) as usize];
            let len = memory.read_at(&mut bytes, start).unwrap_or(0);
            let is_found = bytes[..len].windows(32).any(is_secret);
            wipe(&mut bytes);
            is_found
        })
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn no_copy_of_a_wiped_line_stays_in_memory() {
        use crate::protocol::LineBuffer;
        let mut buffer = LineBuffer::new(1000);
        // The buffer grows with each byte.
        for offset in 0..300 {
            buffer.push(&[secret_byte(offset)]);
            assert_eq!(buffer.peek(), None);
        }
        assert!(is_in_memory(), "the partial line");
        buffer.push(b"\n");
        assert!(buffer.peek().is_some());
        buffer.wipe();
        buffer.advance();
        assert_eq!(buffer.peek(), None);
        assert!(!is_in_memory(), "a copy of the line");
        // The partial line is moved to the front of the buffer.
        let mut input = Vec::with_capacity(1000);
        input.extend([b'x'; 400]);
        input.push(b'\n');
        input.extend((0..300).map(secret_byte));
        buffer.push(&input);
        wipe(&mut input);
        assert!(buffer.peek().is_some());
        buffer.advance();
        assert_eq!(buffer.peek(), None);
        buffer.push(b"\n");
        assert!(buffer.peek().is_some());
        buffer.wipe();
        assert!(!is_in_memory(), "a copy of the line");
    }
}
