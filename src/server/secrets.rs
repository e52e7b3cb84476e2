//! The secrets that clients have to show, from their files.

use std::path::Path;

use log::warn;

use crate::credentials::file::is_readable_by_others;
use crate::credentials::secret::Secret;
use crate::credentials::secret_file;
use crate::hub::Secrets;
use crate::net::stream::Endpoint;
use crate::server::config::Config;

/// Reads the secrets anew. The error is one line that says what is wrong.
pub(super) fn read(config: &Config) -> Result<Secrets, String> {
    let user = config.secret_file.as_deref().map(|path| one(path, config)).transpose()?;
    let admin = config.admin_secret_file.as_deref().map(|path| one(path, config)).transpose()?;
    if user.is_some() && user == admin {
        return Err("the secret and the admin secret are the same; choose two".to_owned());
    }
    Ok(Secrets { user, admin })
}

fn one(path: &Path, config: &Config) -> Result<Secret, String> {
    let secret = secret_file::read(path)?;
    let longest = config.limits.max_line - "auth ".len();
    if secret.as_str().len() > longest {
        return Err(format!(
            "secret file {}: with --max-line {}, a secret can have {longest} bytes at most",
            path.display(),
            config.limits.max_line
        ));
    }
    if is_readable_by_others(path) {
        let path = path.display();
        warn!("secret file {path}: others can read it; mend that with: chmod 600 {path}");
    }
    Ok(secret)
}

/// Warns of a secret that goes over a network for everybody to read.
pub(super) fn warn_of_plain_addresses<'a>(
    secrets: &Secrets,
    addresses: impl Iterator<Item = (&'a Endpoint, bool)>,
) {
    let mut plain = addresses.filter(|(_, is_tls)| !is_tls).map(|(address, _)| address);
    if !secrets.is_empty()
        && let Some(address) = plain.find(|address| address.is_remote())
    {
        warn!(
            "clients at {address} send their secret over the network for everybody to read; \
             --listen-tls {address} would hide it"
        );
    }
}
