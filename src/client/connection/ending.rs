//! Why a connection ends, although its socket may still be open.
//!
//! This module performs **no I/O** and reads no clock.

use crate::client::messages::{connection_cut, explain, explain_goodbye};
use crate::protocol::{ErrorClass, ErrorCode};

/// Why no more replies are expected on a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The server said goodbye, for this reason. It did not execute requests without a reply.
    Goodbye(String),
    /// The connection was cut. The server may or may not have received requests without a reply.
    Cut,
    /// The server refused, for this reason, a request that may succeed later over another
    /// connection.
    Refused(String),
}

impl Ending {
    /// Returns the ending of the connection, if this error ends it. `is_upkeep` says whether the
    /// oldest pending request is one of the connection itself, such as `auth`.
    ///
    /// The error of a connection that was cut completes no request, because no request caused it.
    /// An upkeep request that may succeed later is repeated over another connection, except after
    /// `gone`, which says where to resume on this one.
    pub(super) fn of_error(code: &str, explanation: &str, is_upkeep: bool) -> Option<Self> {
        let code = ErrorCode::parse(code)?;
        match code.class() {
            ErrorClass::Connection => Some(Self::Cut),
            ErrorClass::Transient if is_upkeep && code != ErrorCode::GONE => {
                Some(Self::Refused(explain(code.as_str(), explanation)))
            }
            _ => None,
        }
    }

    /// Explains the ending to the user.
    pub(super) fn explain(&self) -> String {
        match self {
            Self::Goodbye(reason) => explain_goodbye(reason),
            Self::Cut => connection_cut(),
            Self::Refused(why) => why.clone(),
        }
    }
}
