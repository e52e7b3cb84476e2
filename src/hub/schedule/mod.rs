//! Scheduling: which client is served next, and how much a turn may do.

pub(crate) mod budget;
pub(crate) mod flush_schedule;
pub(crate) mod ready_queue;
pub(crate) mod timers;
