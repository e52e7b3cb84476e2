//! Delivery: each client's pending output, and what slow consumers lose of it.

pub(crate) mod outbox;
pub(crate) mod skip;
