//! Error codes.

/// The code of an [`error`](super::Reply::Error) reply: why the server refused a request or the
/// connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode(&'static str);

#[allow(missing_docs)] // The protocol reference explains each code.
impl ErrorCode {
    pub const UNKNOWN_COMMAND: Self = Self("unknown-command");
    pub const MISSING_ARGUMENT: Self = Self("missing-argument");
    pub const BAD_ARGUMENT: Self = Self("bad-argument");
    pub const LINE_TOO_LONG: Self = Self("line-too-long");
    pub const NOT_TEXT: Self = Self("not-text");
    pub const INCOMPLETE_LINE: Self = Self("incomplete-line");
    pub const AUTH_REQUIRED: Self = Self("auth-required");
    pub const AUTH_FAILED: Self = Self("auth-failed");
    pub const NOT_ALLOWED: Self = Self("not-allowed");
    pub const NO_SUCH_CLIENT: Self = Self("no-such-client");
    pub const NAME_TAKEN: Self = Self("name-taken");
    pub const BUSY: Self = Self("busy");
    pub const GONE: Self = Self("gone");
    pub const SERVER_FULL: Self = Self("server-full");

    /// The code as it is sent.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}
