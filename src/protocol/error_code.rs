//! Error codes, and the class of each.

/// The code of an [`error`](super::Reply::Error) reply: why the server refused a request or the
/// connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode {
    code: &'static str,
    class: ErrorClass,
}

/// What an error is about. It decides what a client does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The line that was sent: the server always refuses it.
    Line,
    /// The client's rights: it must authenticate, or is not allowed to do this.
    Rights,
    /// What the request names: a client that does not exist, or a name that is taken.
    Target,
    /// The state of the server: the same request, or one for another position in the feed, may
    /// succeed later.
    Transient,
    /// The connection: it was cut, so requests without a reply may be lost. The error is not the
    /// reply to a request.
    Connection,
}

/// Defines every code and its class.
macro_rules! error_codes {
    ($($name:ident = $code:literal: $class:ident,)*) => {
        #[allow(missing_docs)] // The protocol reference explains each code.
        impl ErrorCode {
            $(pub const $name: Self = Self { code: $code, class: ErrorClass::$class };)*

            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

error_codes! {
    UNKNOWN_COMMAND = "unknown-command": Line,
    MISSING_ARGUMENT = "missing-argument": Line,
    BAD_ARGUMENT = "bad-argument": Line,
    LINE_TOO_LONG = "line-too-long": Line,
    NOT_TEXT = "not-text": Line,
    AUTH_REQUIRED = "auth-required": Rights,
    AUTH_FAILED = "auth-failed": Rights,
    NOT_ALLOWED = "not-allowed": Rights,
    NO_SUCH_CLIENT = "no-such-client": Target,
    NAME_TAKEN = "name-taken": Target,
    BUSY = "busy": Transient,
    GONE = "gone": Transient,
    SERVER_FULL = "server-full": Transient,
    INCOMPLETE_LINE = "incomplete-line": Connection,
}

impl ErrorCode {
    /// Parses a code. Returns `None` if this version does not know it.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|known| known.code == word).copied()
    }

    /// The code as it is sent.
    pub const fn as_str(self) -> &'static str {
        self.code
    }

    /// What the error is about.
    pub const fn class(self) -> ErrorClass {
        self.class
    }
}
