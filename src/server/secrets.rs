//! Reads the secrets that clients authenticate with.

use std::path::{Path, PathBuf};

use log::warn;

use super::config::Config;
use crate::credentials::file::{Files, exposures};
use crate::credentials::secret::Secret;
use crate::credentials::secret_file;
use crate::hub::Secrets;

/// Reads the secret files, at start and on every reload. The error is one line for the operator.
pub(super) fn read(config: &Config, files: &mut Files) -> Result<Secrets, String> {
    let max_line = config.limits.max_line;
    let mut read = |path: &Option<PathBuf>| {
        path.as_deref().map(|path| read_one(path, max_line, files)).transpose()
    };
    let (user, admin) = (read(&config.secret_file)?, read(&config.admin_secret_file)?);
    if user.is_some() && user == admin {
        return Err("--secret-file and --admin-secret-file hold the same secret; \
                    choose two different ones"
            .to_owned());
    }
    Ok(Secrets { user, admin })
}

fn read_one(path: &Path, max_line: usize, files: &mut Files) -> Result<Secret, String> {
    let secret = secret_file::read(path, files)?;
    let max = max_line - "auth ".len();
    if secret.as_str().len() > max {
        return Err(format!(
            "secret file {}: longer than {max} bytes, the maximum with --max-line {max_line}",
            path.display()
        ));
    }
    if let Some(warning) = secret_file::warning(path, &secret) {
        warn!("{warning}");
    }
    exposures("secret file", path).iter().for_each(|warning| warn!("{warning}"));
    Ok(secret)
}
