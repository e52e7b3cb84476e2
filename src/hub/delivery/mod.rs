//! Delivery: each client's pending output, and dropping or skipping it for slow consumers.

pub(crate) mod outbox;
pub(crate) mod skip;
