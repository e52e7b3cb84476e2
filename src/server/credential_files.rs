//! Reads the files that the server needs, at start and on every reload.

use log::warn;

use super::config::Config;
use super::secrets;
use crate::credentials::file::{Files, replaceable};
use crate::hub::Secrets;
use crate::net::tls::ServerTls;

/// Reads the secrets, and the certificate and its key.
pub(super) fn read(
    config: &Config,
    files: &mut Files,
) -> Result<(Secrets, Option<ServerTls>), String> {
    let secrets = secrets::read(config, files)?;
    let tls = config.tls.as_ref().map(|tls| ServerTls::read(tls, files)).transpose()?;
    let client_ca = config.tls.iter().flat_map(|tls| &tls.client_ca);
    for warning in client_ca.flat_map(|path| replaceable("CA file", path)) {
        warn!("{warning}");
    }
    Ok((secrets, tls))
}
