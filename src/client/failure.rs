//! Why a command failed.

/// Why a command failed.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// What happened and how to fix it, in one line.
    Error(String),
    /// What is wrong with the arguments.
    Usage(String),
    /// The reader of standard output has closed it.
    OutputClosed,
}

impl From<String> for Failure {
    fn from(error: String) -> Self {
        Self::Error(error)
    }
}
