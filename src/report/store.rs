//! A store for people: a line for each file, and what became of all at the end.

use std::fmt::Write;
use std::path::Path;

use crate::store::record::{Reason, Report, Row, State, Totals};
use crate::text::{bytes, count, printable};

/// Reasons of one file that are shown; the report has all.
const MAX_SHOWN: usize = 5;

/// What became of a file; nothing for one that is no checkpoint and was left alone.
pub fn row(row: &Row) -> String {
    let (path, mut text) = (printable(&row.path), String::new());
    // Writing to a String cannot fail, here and below.
    let _ = match row.state {
        State::Converted => writeln!(text, "converted {path}{}", outputs(row)),
        // What is copied is no container.
        State::Planned if row.container.is_some() => {
            writeln!(text, "would convert {path}{}", outputs(row))
        }
        State::Planned => writeln!(text, "would copy {path}"),
        State::Copied => writeln!(text, "copied {path}"),
        State::Skipped if row.reasons.iter().all(|reason| reason.code().is_none()) => return text,
        state => writeln!(text, "{} {path}{}", state.as_str(), first(&row.reasons)),
    };
    for reason in row.reasons.iter().skip(usize::from(in_line(&row.reasons))).take(MAX_SHOWN) {
        let _ = writeln!(text, "  {}: {}", printable(reason.member.as_deref().unwrap_or("the file")), said(reason));
    }
    if let [Reason { help: Some(help), .. }] = &row.reasons[..] {
        let _ = writeln!(text, "  help: {}", printable(help));
    }
    text
}

/// Whether the only reason stands in the line of the file.
fn in_line(reasons: &[Reason]) -> bool {
    matches!(reasons, [Reason { member: None, .. }])
}

fn first(reasons: &[Reason]) -> String {
    match reasons {
        [reason] if in_line(reasons) => format!(": {}", said(reason)),
        _ => String::new(),
    }
}

fn said(reason: &Reason) -> String {
    let place = reason.place.as_ref().map(|place| format!(" (at {place})")).unwrap_or_default();
    printable(&format!("{}{place}", reason.message)).into_owned()
}

fn outputs(row: &Row) -> String {
    let tensors: u64 = row.outputs.iter().map(|output| output.tensors).sum();
    let size = match row.outputs.iter().map(|output| output.bytes).sum() {
        n if tensors == 0 => bytes(n),
        n => format!("{}, {}", count(tensors, "tensor"), bytes(n)),
    };
    match &row.outputs[..] {
        [] => String::new(),
        [output] if output.bytes == 0 => format!(" -> {}", printable(&output.path)),
        [output] => format!(" -> {} ({size})", printable(&output.path)),
        [first, ..] => {
            let all = count(row.outputs.len() as u64, "output");
            format!(" -> {} ... ({all}, {size})", printable(&first.path))
        }
    }
}

/// What became of a store, in a few lines; `before` files were done by earlier runs.
pub fn summary(report: &Report, before: u64, place: Option<&Path>) -> String {
    let mut text = String::new();
    let totals = &report.totals;
    let before = if before > 0 { format!("; {before} done before") } else { String::new() };
    let _ = writeln!(text, "{}, {}: {}{before}", count(totals.inputs, "file"), bytes(totals.input_bytes), states(totals));
    if totals.outputs > 0 {
        let (outputs, tensors) = (count(totals.outputs, "output"), count(totals.tensors, "tensor"));
        let _ = writeln!(text, "{outputs}, {}, with {tensors}", bytes(totals.output_bytes));
    }
    if let Some(place) = place {
        let _ = writeln!(text, "the report is {}", printable(&place.to_string_lossy()));
    }
    text
}

fn states(totals: &Totals) -> String {
    let counted = State::ALL.iter().map(|&state| (state, totals.count(state))).filter(|(_, n)| *n > 0);
    let said: Vec<String> = counted.map(|(state, n)| format!("{} {}", crate::text::thousands(n), state.as_str())).collect();
    if said.is_empty() { "nothing to do".to_owned() } else { said.join(", ") }
}
