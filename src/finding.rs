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

/// Every kind of finding: its stable id, and what it means.
pub const KINDS: &[(&str, &str)] = &[
    ("callable", "Loading the file with pickle makes this call, with all that it does."),
    ("unknown-class", "Loading the file makes an object of this class, which runs methods of it."),
    ("dynamic-global", "What is called is only known by running other calls; files are made so to hide it."),
    ("extension-code", "A class or function is looked up by a number that only the program which loads the file can resolve."),
    ("embedded-source", "The file carries Python source."),
    ("tensor-escapes", "A tensor is handed to unknown code, which could change it; the tensor is taken as it was handed over."),
    ("unsupported-tensor", "A tensor was left out because it is of a kind that cannot be written."),
    ("trailing-data", "Bytes follow the end of the data. Some readers never see them, others do."),
    ("stack-leftover", "The pickle makes values that it does not give back."),
    ("duplicate-key", "A dict has one key twice. The last value counts; a reader that takes the first sees another checkpoint."),
    ("cycle", "A container contains itself."),
    ("bool-not-0-1", "A tensor of bools has bytes other than 0 and 1, which programs read differently."),
    ("confusable-names", "Two tensors have names that look alike."),
    ("unreferenced-entry", "The archive has a member that the checkpoint does not use."),
    ("duplicate-entry", "Two members of the archive are one and the same to some readers."),
    ("zip-header-mismatch", "The archive describes one thing twice and differently, so that two readers could see two different files."),
    ("zip-crc", "A checksum of the archive is not recorded, or was ignored."),
    ("zip-flags", "A member of the archive has flags that no writer of checkpoints sets."),
    ("zip-comment", "The archive carries a comment."),
    ("zip-gap", "The archive has bytes that belong to no member."),
    ("zip-prefix", "Other bytes stand before the archive."),
    ("zip-trailing-data", "Other bytes stand behind the archive."),
    ("zip-unicode-path", "A member has a second name, which only some readers use."),
    ("noncanonical-layout", "The archive is not laid out as the library that it is for writes it: another program made or changed it."),
    ("byteorder", "The file says that it comes from a big-endian machine."),
    ("unknown-version", "The file names a version of its format that is not known here."),
    ("index-differs", "The index of a set says something else of its files than what is in them; what is in them counts."),
    ("polyglot", "The file is of two formats at once, so that two programs could read two different things from it."),
];

/// What a kind of finding means, in a sentence.
pub fn meaning(kind: &str) -> &'static str {
    KINDS.iter().find(|(id, _)| *id == kind).map(|(_, meaning)| *meaning).unwrap_or_default()
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

/// `; called with ("a", 1)`, or nothing where there are no arguments.
pub(crate) fn called_with(arguments: Option<&str>) -> String {
    let arguments = arguments.filter(|arguments| !arguments.is_empty());
    arguments.map(|arguments| format!("; called with ({})", crate::text::printable(arguments))).unwrap_or_default()
}

/// The most findings that are kept of one checkpoint.
const MAX_FINDINGS: usize = 10_000;

/// The first findings of a checkpoint, dangerous ones before others, and then how many more there are.
pub(crate) fn limited(findings: Vec<Finding>) -> Vec<Finding> {
    limited_to(MAX_FINDINGS, findings)
}

/// The same for at most `most` of them, which is not 0.
pub(crate) fn limited_to(most: usize, mut findings: Vec<Finding>) -> Vec<Finding> {
    let Some(more) = findings.len().checked_sub(most).filter(|more| *more > 0) else { return findings };
    findings.sort_by_key(|finding| finding.severity != Severity::Dangerous);
    let severity = findings[most..].iter().map(|finding| finding.severity).max().unwrap_or(Severity::Note);
    findings.truncate(most);
    let place = findings[most - 1].place.clone();
    let message = format!("and {}", crate::text::count(more as u64, "more finding"));
    findings.push(Finding { severity, ..Finding::note("callable", place, message) });
    findings
}

/// Findings of one kind that are kept; more say nothing new.
const MAX_OF_A_KIND: usize = 100;

/// The first findings of each kind, and then how many more there are.
pub(crate) fn capped(findings: impl IntoIterator<Item = Finding>) -> Vec<Finding> {
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
        if *count <= MAX_OF_A_KIND {
            kept.push(finding);
        }
    }
    for (kind, count, place) in counts.into_iter().filter(|(_, count, _)| *count > MAX_OF_A_KIND) {
        let more = crate::text::count((count - MAX_OF_A_KIND) as u64, "more finding");
        kept.push(Finding::note(kind, place, format!("and {more} like these")));
    }
    kept
}
