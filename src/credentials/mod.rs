//! Secrets, and the files that contain secrets, keys and certificates.

pub(crate) mod file;
pub mod secret;
pub(crate) mod secret_file;
