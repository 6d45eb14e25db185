//! Opcodes that do something without making a value: an extension code, a state that is given to a class itself; and names of
//! dangerous functions behind the place where a stream breaks for this reader and not for each.

use crate::finding::{Finding, Severity};
use crate::globals::{Meaning, meaning};
use crate::pickle::{Graph, Mention, Oddity, OddityKind};
use crate::rules::Findings;

pub(super) fn judge(graph: &Graph) -> Findings<'_> {
    Box::new(graph.oddities().iter().map(finding).chain(graph.mentions().iter().filter_map(mentioned)))
}

fn mentioned(Mention { place, module, name }: &Mention) -> Option<Finding> {
    let Some(Meaning::Dangerous(how)) = meaning(module, name) else { return None };
    let path = format!("{module}.{name}");
    let message = format!("behind the place where the pickle breaks it names {}, which {how}", crate::text::printable(&path));
    let finding = Finding::note("callable", place.clone(), message);
    Some(Finding { severity: Severity::Dangerous, global: Some(path), ..finding })
}

fn finding(Oddity { place, what }: &Oddity) -> Finding {
    match what {
        OddityKind::Extension(number) => {
            let message = format!("loading would use whatever the program that loads it has registered in copyreg as number {number}");
            Finding { severity: Severity::Unrecognized, ..Finding::note("extension-code", place.clone(), message) }
        }
        OddityKind::Unread(reason) => {
            let message = format!("a pickle that is here could not be read to its end: {}", crate::text::printable(reason));
            Finding { severity: Severity::Unrecognized, ..Finding::note("callable", place.clone(), message) }
        }
        OddityKind::Patched(global) => {
            let shown = crate::text::printable(global).into_owned();
            let message = format!("loading would give new attributes or items to {shown} itself, which changes it for the whole process");
            Finding { severity: Severity::Dangerous, global: Some(global.clone()), ..Finding::note("callable", place.clone(), message) }
        }
    }
}
