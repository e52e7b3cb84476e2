//! Adjusts `--max-clients` to the number of file descriptors that the process may open.

use log::warn;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::{Limits, RESERVED_DESCRIPTORS};

/// Raises the soft limit on file descriptors to the hard limit. If that is too low, lowers
/// `max_clients`. The error is one line for the operator.
pub(super) fn cap_clients(limits: &mut Limits, listeners: usize) -> Result<(), String> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        warn!("cannot raise the limit on file descriptors: {error}");
    }
    let Some(max) = getrlimit(Resource::Nofile).current else { return Ok(()) };
    let clients = (max as usize).saturating_sub(RESERVED_DESCRIPTORS + listeners);
    if clients == 0 {
        return Err(format!("cannot start with {max} file descriptors; raise ulimit -n"));
    }
    if clients < limits.max_clients {
        warn!(
            "--max-clients {} lowered to {clients}: the limit is {max} file descriptors; \
             raise ulimit -n",
            limits.max_clients
        );
        limits.max_clients = clients;
    }
    Ok(())
}
