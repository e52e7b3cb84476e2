//! Secrets, and the small files that hold secrets, keys and certificates.

pub(crate) mod file;
pub mod secret;
pub(crate) mod secret_file;
