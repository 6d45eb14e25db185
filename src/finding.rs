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
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// At most `max` findings of each kind, and then how many more there are: a flood says nothing new.
pub(crate) fn at_most(max: usize, findings: Vec<Finding>) -> Vec<Finding> {
    let mut counts: Vec<(&'static str, usize, Place)> = Vec::new();
    let mut kept = Vec::new();
    for finding in findings {
        let count = match counts.iter_mut().find(|(kind, ..)| *kind == finding.kind) {
            Some((_, count, _)) => count,
            None => {
                counts.push((finding.kind, 0, finding.place.clone()));
                &mut counts.last_mut().unwrap_or_else(|| unreachable!("one was just added")).1
            }
        };
        *count += 1;
        if *count <= max {
            kept.push(finding);
        }
    }
    for (kind, count, place) in counts.into_iter().filter(|(_, count, _)| *count > max) {
        let more = crate::text::count((count - max) as u64, "more finding");
        kept.push(Finding::note(kind, place, format!("and {more} like these")));
    }
    kept
}
