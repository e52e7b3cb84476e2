//! Why a command failed.

/// Why a command failed.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// What happened and what to do about it, in one line.
    Error(String),
    /// What is wrong with the arguments.
    Usage(String),
    /// The reader of standard output is gone.
    OutputClosed,
}

impl From<String> for Failure {
    fn from(error: String) -> Self {
        Self::Error(error)
    }
}
