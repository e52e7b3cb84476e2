//! Reads the secrets that clients authenticate with.

use std::path::Path;

use log::warn;

use super::config::Config;
use crate::credentials::file::is_readable_by_others;
use crate::credentials::secret::Secret;
use crate::credentials::secret_file;
use crate::hub::Secrets;

/// Reads the secret files, at start and on every reload. The error is one line for the operator.
pub(super) fn read(config: &Config) -> Result<Secrets, String> {
    let max_line = config.limits.max_line;
    let read = |path: &Option<_>| path.as_deref().map(|path| read_one(path, max_line)).transpose();
    let (user, admin) = (read(&config.secret_file)?, read(&config.admin_secret_file)?);
    if user.is_some() && user == admin {
        return Err("--secret-file and --admin-secret-file hold the same secret; \
                    choose two different ones"
            .to_owned());
    }
    Ok(Secrets { user, admin })
}

fn read_one(path: &Path, max_line: usize) -> Result<Secret, String> {
    let secret = secret_file::read(path)?;
    let max = max_line - "auth ".len();
    if secret.as_str().len() > max {
        return Err(format!(
            "secret file {}: longer than {max} bytes, the maximum with --max-line {max_line}",
            path.display()
        ));
    }
    if is_readable_by_others(path) {
        let path = path.display();
        warn!("secret file {path} is readable by others; fix: chmod 600 {path}");
    }
    Ok(secret)
}
