//! The commands of `oyez` except chat, and their state machines.

pub(super) mod ask;
pub(super) mod broadcast;
mod format;
mod gap;
mod json;
pub(super) mod listen;
pub(super) mod publish_queue;
pub(super) mod raw;
pub(super) mod resume_cursor;
mod source;
