//! CPU cores, the descriptor limit, and the CPU time and memory of a process.

use std::fs;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Separate CPU cores for the server and the load generator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    pub(crate) server: usize,
    pub(crate) generator: usize,
}

impl Cores {
    /// Chooses the first two cores that this process may use.
    pub(crate) fn choose() -> Result<Self, String> {
        let allowed = sched_getaffinity(None)
            .map_err(|error| format!("cannot read CPU affinity: {error}"))?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
        match (cores.next(), cores.next()) {
            (Some(server), Some(generator)) => Ok(Self { server, generator }),
            _ => Err("two CPU cores are needed: one for the server, one for its clients".into()),
        }
    }
}

/// Pins this thread, and all threads and processes that it starts later, to one core.
pub(crate) fn pin(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}

/// Raises the soft limit on file descriptors to the hard limit. Returns the new limit.
pub(crate) fn raise_descriptor_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    let current =
        if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    current.map_or(usize::MAX, |limit| limit as usize)
}

/// Returns the CPU time of a process in seconds, without threads that have ended.
pub(crate) fn cpu_seconds(process: u32) -> io::Result<f64> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let on_cpu = text.split(' ').next().and_then(|number| number.parse::<u64>().ok());
        nanoseconds += on_cpu
            .ok_or_else(|| io::Error::other(format!("schedstat has no CPU time: {text:?}")))?;
    }
    Ok(nanoseconds as f64 / 1e9)
}

/// Returns the resident memory of a process, in bytes.
pub(crate) fn resident_bytes(process: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = resident.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("the process status has no VmRSS"))
}
