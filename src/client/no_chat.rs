//! What there is instead of a chat, in a build without it.

use super::{Failure, Session};

pub(super) fn chat(_: &mut Session) -> Result<(), Failure> {
    let said = "this oyez was built without chat; raw speaks the protocol (--help)";
    Err(Failure::Usage(said.to_owned()))
}
