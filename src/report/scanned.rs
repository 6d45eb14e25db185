//! `scan` for people: each finding with what would be called, where, and what it means.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::error::Error;
use crate::finding::{Finding, Severity, meaning};
use crate::scan::{Scanned, Verdict};
use crate::text::{count, printable, thousands};

/// Findings of one file that are shown; `--format json` has all.
const MAX_SHOWN: usize = 20;

/// What was found in one file. Of one that lies in a folder, only what is worth a look: `all` shows the rest too.
pub fn file(scanned: &Scanned, all: bool) -> String {
    let verdict = scanned.verdict();
    if !all && matches!(verdict, Verdict::Clean | Verdict::NoCheckpoint) {
        return String::new();
    }
    let mut text = String::new();
    let container = scanned.container.map(|kind| format!(" ({})", kind.as_str().replace('-', " "))).unwrap_or_default();
    let what = match verdict {
        Verdict::NoCheckpoint => "no checkpoint",
        verdict => verdict.as_str(),
    };
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(text, "{what}: {}{container}, {}", printable(&scanned.path.to_string_lossy()), count(scanned.pickles, "pickle"));
    for error in scanned.errors.iter().chain(&scanned.no_checkpoint) {
        let _ = writeln!(text, "  {}: {}", if scanned.errors.is_empty() { "because" } else { "error" }, printable(&error.to_string()));
        if let Some(help) = error.advice() {
            let _ = writeln!(text, "    {}", printable(help));
        }
    }
    let mut shown: Vec<&Finding> = scanned.findings.iter().filter(|finding| all || finding.severity > Severity::Note).collect();
    shown.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let mut last_kind = "";
    for finding in shown.iter().take(MAX_SHOWN) {
        one(&mut text, finding, last_kind != finding.kind);
        last_kind = finding.kind;
    }
    if shown.len() > MAX_SHOWN {
        let _ = writeln!(text, "  and {}; --format json has all", count((shown.len() - MAX_SHOWN) as u64, "more finding"));
    }
    text
}

/// The finding; what its kind means is said once for those that follow one another.
fn one(text: &mut String, finding: &Finding, explain: bool) {
    let _ = writeln!(text, "  {}: {}", finding.severity.as_str(), printable(&finding.message));
    if let Some(arguments) = finding.arguments.as_ref().filter(|arguments| !arguments.is_empty()) {
        let _ = writeln!(text, "    called with ({})", printable(arguments));
    }
    let _ = writeln!(text, "    at {}", finding.place);
    if explain {
        let _ = writeln!(text, "    {}: {}", finding.kind, meaning(finding.kind));
    }
}

/// The line at the end of a run over several files.
#[derive(Debug, Default)]
pub struct Summary {
    files: u64,
    verdicts: BTreeMap<Verdict, u64>,
}

impl Summary {
    /// Counts a file.
    pub fn add(&mut self, scanned: &Scanned) {
        self.files += 1;
        *self.verdicts.entry(scanned.verdict()).or_default() += 1;
    }

    /// `500 files: 2 dangerous, 1 unreadable, 490 clean, 7 no checkpoints`
    pub fn line(&self) -> String {
        let words = |verdict: &Verdict, n: &u64| match verdict {
            Verdict::NoCheckpoint => format!("{} without pickles", thousands(*n)),
            verdict => format!("{} {}", thousands(*n), verdict.as_str()),
        };
        let parts: Vec<String> = self.verdicts.iter().rev().map(|(verdict, n)| words(verdict, n)).collect();
        format!("{}: {}\n", count(self.files, "file"), if parts.is_empty() { "nothing to read".to_owned() } else { parts.join(", ") })
    }
}

/// Why a path cannot be scanned.
pub fn unreadable(error: &Error) -> String {
    format!("error: {}\n", printable(&error.to_string()))
}
