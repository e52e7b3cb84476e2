//! Delivery: what each client will be sent, and what a slow consumer skips.

pub(crate) mod outbox;
pub(crate) mod skip;
