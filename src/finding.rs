//! What is worth saying about a file beyond its tensors. The rules make findings, and so does whoever meets something on
//! the way that only it can see.

use crate::place::Place;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// Good to know; no honest reader is misled by it.
    Note,
    /// A call or class that this program does not know.
    Unrecognized,
    /// A known way to run code, touch files or reach the network.
    Dangerous,
}

impl Severity {
    /// The word in JSON and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Unrecognized => "unrecognized",
            Severity::Dangerous => "dangerous",
        }
    }
}

/// Something in the file that its user should know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Finding {
    /// The stable rule id, such as `callable` or `trailing-data`.
    pub kind: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// The global that it is about, as `module.name`.
    pub global: Option<String>,
    /// Where in the input it is.
    pub place: Place,
    /// One sentence for people.
    pub message: String,
    /// A short inert preview of the arguments of a call.
    pub arguments: Option<String>,
}

impl Finding {
    pub(crate) fn note(kind: &'static str, place: Place, message: impl Into<String>) -> Self {
        Finding { kind, severity: Severity::Note, global: None, place, message: message.into(), arguments: None }
    }
}
