//! Error codes, and what each of them blames.

/// The code of an [`error`](super::Reply::Error) reply: why the server refused a request or the
/// connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode {
    code: &'static str,
    blame: Blame,
}

/// What an error blames. It decides what a client does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The line that was sent: the server always refuses it.
    Line,
    /// The client's rights: it must authenticate, or is not allowed to do this.
    Rights,
    /// What the request names: a client that does not exist, or a name that is taken.
    Target,
    /// The moment or the place: the same request, or one from another place in the feed, may
    /// succeed later.
    Moment,
    /// The connection: it was cut, so whatever the server has not answered may be lost. No request
    /// is to blame.
    Connection,
}

/// Every code with its blame. This is the only place that sorts them.
macro_rules! error_codes {
    ($($name:ident = $code:literal: $blame:ident,)*) => {
        #[allow(missing_docs)] // The protocol reference explains each code.
        impl ErrorCode {
            $(pub const $name: Self = Self { code: $code, blame: Blame::$blame };)*

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
    BUSY = "busy": Moment,
    GONE = "gone": Moment,
    SERVER_FULL = "server-full": Moment,
    INCOMPLETE_LINE = "incomplete-line": Connection,
}

impl ErrorCode {
    /// Returns the code that a server has sent, or `None` if this version does not know it.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|known| known.code == word).copied()
    }

    /// The code as it is sent.
    pub const fn as_str(self) -> &'static str {
        self.code
    }

    /// What the error blames.
    pub const fn blame(self) -> Blame {
        self.blame
    }
}
