//! How many descriptors there are, and for whom.

use log::warn;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::{Limits, RESERVED_DESCRIPTORS};

/// Raises the soft limit on descriptors to the hard one, and keeps the clients under it.
pub(super) fn fit(limits: &mut Limits, listeners: usize) -> Result<(), String> {
    let mut nofile = getrlimit(Resource::Nofile);
    if nofile.current != nofile.maximum {
        let raised = Rlimit { current: nofile.maximum, ..nofile };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => nofile = raised,
            Err(error) => warn!("cannot raise the limit on descriptors: {error}"),
        }
    }
    let Some(most) = nofile.current else { return Ok(()) };
    let for_others = RESERVED_DESCRIPTORS + listeners;
    let for_clients = (most as usize).saturating_sub(for_others);
    if for_clients == 0 {
        return Err(format!("cannot start: {most} descriptors are too few; raise ulimit -n"));
    }
    if for_clients < limits.max_clients {
        warn!(
            "--max-clients {} is lowered to {for_clients}: there are {most} descriptors (ulimit -n)",
            limits.max_clients
        );
        limits.max_clients = for_clients;
    }
    Ok(())
}
