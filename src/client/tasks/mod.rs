//! What `oyez` can be asked to do, one task a module.

pub(crate) mod ask;
pub(crate) mod broadcast;
pub(crate) mod format;
pub(crate) mod listen;
mod progress;
pub(crate) mod publish_queue;
pub(crate) mod raw;
pub(crate) mod resume_cursor;
mod source;
