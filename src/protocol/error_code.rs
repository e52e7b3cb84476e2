//! Error codes.

/// The code of an [`error`](super::Reply::Error) reply: why the server refused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The protocol reference explains each code.
pub enum ErrorCode {
    UnknownCommand,
    MissingArgument,
    BadArgument,
    LineTooLong,
    NotText,
    IncompleteLine,
    AuthRequired,
    AuthFailed,
    NotAllowed,
    NoSuchClient,
    NameTaken,
    Busy,
    Gone,
    ServerFull,
}

impl ErrorCode {
    /// The code as it is sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownCommand => "unknown-command",
            Self::MissingArgument => "missing-argument",
            Self::BadArgument => "bad-argument",
            Self::LineTooLong => "line-too-long",
            Self::NotText => "not-text",
            Self::IncompleteLine => "incomplete-line",
            Self::AuthRequired => "auth-required",
            Self::AuthFailed => "auth-failed",
            Self::NotAllowed => "not-allowed",
            Self::NoSuchClient => "no-such-client",
            Self::NameTaken => "name-taken",
            Self::Busy => "busy",
            Self::Gone => "gone",
            Self::ServerFull => "server-full",
        }
    }
}
