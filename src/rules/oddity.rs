//! Opcodes that do something without making a value: an extension code, a state that is given to a class itself.

use crate::finding::{Finding, Severity};
use crate::pickle::{Graph, Oddity, OddityKind};
use crate::rules::Findings;

pub(super) fn judge(graph: &Graph) -> Findings<'_> {
    Box::new(graph.oddities().iter().map(finding))
}

fn finding(Oddity { place, what }: &Oddity) -> Finding {
    match what {
        OddityKind::Extension(number) => {
            let message = format!("loading would use whatever the program that loads it has registered in copyreg as number {number}");
            Finding { severity: Severity::Unrecognized, ..Finding::note("extension-code", place.clone(), message) }
        }
        OddityKind::Patched(global) => {
            let shown = crate::text::printable(global).into_owned();
            let message = format!("loading would give new attributes or items to {shown} itself, which changes it for the whole process");
            Finding { severity: Severity::Dangerous, global: Some(global.clone()), ..Finding::note("callable", place.clone(), message) }
        }
    }
}
