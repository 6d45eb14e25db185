//! Reports for people.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::container::Kind;
use crate::convert::Converted;
use crate::error::Error;
use crate::filenames::shard_path;
use crate::finding::{Severity, called_with};
use crate::ledger::{FindingRecord, Ledger, LoweredRecord};
use crate::set::Published;
use crate::text::{bytes, count, printable, quoted};

/// Names longer than this do not widen the table.
const MAX_NAME_COLUMN: usize = 60;
/// Lists in a summary show this many items; `--json` and the manifest have all.
const MAX_LISTED: usize = 5;

/// What a conversion did, in a few lines.
pub fn converted(input: &Path, converted: &Converted) -> String {
    let ledger = converted.ledger();
    let mut text = String::new();
    line(&mut text, format_args!("converted {} ({}, {})", shown(input), container(ledger), bytes(source_bytes(ledger))));
    let tensors = format!("{}, {}", count(ledger.tensors.len() as u64, "tensor"), bytes(ledger.tensor_bytes()));
    let files = &converted.files;
    match files.as_slice() {
        [only] => line(&mut text, format_args!("  {tensors} -> {}", shown(&only.output))),
        _ => line(&mut text, format_args!("  {tensors} -> {}", several(files.iter().map(|file| file.output.as_path())))),
    }
    notes(&mut text, ledger);
    let digests = match files.iter().all(|file| file.manifest.ledger().tensors.iter().all(|tensor| tensor.sha256.is_some())) {
        true => "every digest is",
        false => "the digests of source and output are",
    };
    match (files.as_slice(), &converted.index) {
        ([only], _) => line(&mut text, format_args!("  verified bit for bit; {digests} in {}", shown(&only.manifest_path))),
        _ => line(&mut text, format_args!("  verified bit for bit; {digests} in the manifest beside each file")),
    }
    if let Some(index) = &converted.index {
        line(&mut text, format_args!("  listed in {}", shown(index)));
    }
    text
}

/// That the files of a set are converted and listed.
pub fn indexed(input: &Path, published: &Published) -> String {
    let mut text = String::new();
    let (tensors, files) = (count(published.tensors, "tensor"), count(published.files.len() as u64, "file"));
    line(&mut text, format_args!("indexed {}: {tensors} in {files} -> {}", shown(input), shown(&published.path)));
    set_notes(&mut text, &published.notes);
    text
}

/// That the files of a set would be listed.
pub fn would_index(input: &Path, target: &Path, tensors: u64, files: u64, notes: &[String]) -> String {
    let mut text = String::new();
    let (tensors, files) = (count(tensors, "tensor"), count(files, "file"));
    line(&mut text, format_args!("would index {}: {tensors} in {files} -> {}", shown(input), shown(target)));
    set_notes(&mut text, notes);
    text
}

fn set_notes(text: &mut String, notes: &[String]) {
    for note in notes.iter().take(MAX_LISTED) {
        line(text, format_args!("  {note}"));
    }
    if notes.len() > MAX_LISTED {
        line(text, format_args!("  and {}", count((notes.len() - MAX_LISTED) as u64, "more difference")));
    }
}

/// `3 files, out/x-00001-of-00003.safetensors ... out/x-00003-of-00003.safetensors`
fn several<'a>(mut files: impl ExactSizeIterator<Item = &'a Path> + DoubleEndedIterator) -> String {
    let n = count(files.len() as u64, "file");
    let (first, last) = (files.next().map(shown).unwrap_or_default(), files.next_back().map(shown).unwrap_or_default());
    format!("{n}, {first} ... {last}")
}

/// That a checkpoint of a bundle was left alone.
pub fn skipped(input: &Path, error: &Error) -> String {
    format!("skipped {}: {}\n", shown(input), error.message())
}

/// What a conversion would do.
pub fn planned(input: &Path, output: &Path, ledger: &Ledger) -> String {
    let mut text = String::new();
    line(&mut text, format_args!("would convert {} ({}, {})", shown(input), container(ledger), bytes(source_bytes(ledger))));
    line(
        &mut text,
        format_args!(
            "  {}, {} -> {}",
            count(ledger.tensors.len() as u64, "tensor"),
            bytes(ledger.outputs.iter().map(|o| o.bytes).sum()),
            match ledger.outputs.len() {
                1 => shown(output),
                n => several((1..=n).map(|number| shard_path(output, number, n)).collect::<Vec<_>>().iter().map(PathBuf::as_path)),
            }
        ),
    );
    notes(&mut text, ledger);
    text
}

/// Everything that is known of a checkpoint.
pub fn inspected(input: &Path, ledger: &Ledger) -> String {
    let mut text = String::new();
    line(&mut text, format_args!("{}: {}, {}", shown(input), container(ledger), bytes(source_bytes(ledger))));
    for (fact, value) in &ledger.source.facts {
        line(&mut text, format_args!("  {fact}: {}", printable(value)));
    }
    if ledger.tensors.is_empty() {
        line(&mut text, format_args!("\nno tensor would be written"));
    } else {
        tensors(&mut text, ledger);
        line(&mut text, format_args!("{}, {}", count(ledger.tensors.len() as u64, "tensor"), bytes(ledger.tensor_bytes())));
    }
    if ledger.root != "." {
        line(&mut text, format_args!("taken from {}", quoted(&ledger.root, 100)));
    }
    section(&mut text, "tied names", ledger.aliases.iter().map(|(dropped, kept)| format!("{} = {}", printable(dropped), printable(kept))));
    section(&mut text, "lowered", ledger.lowered.iter().map(|(name, lowered)| lowering(name, lowered)));
    section(
        &mut text,
        "left out",
        ledger.left_out.iter().map(|left| {
            let shape = left.shape.as_ref().map(|shape| format!(" {shape:?}")).unwrap_or_default();
            let dtype = left.dtype.as_ref().map(|dtype| format!(" ({}{shape})", printable(dtype))).unwrap_or_default();
            format!("{}{dtype}: {}", printable(&left.name), left.reason)
        }),
    );
    section(
        &mut text,
        "outside the root",
        ledger.outside_root.iter().map(|part| {
            format!(
                "{}: {}, {}; {} takes them",
                quoted(&part.name, 100),
                count(part.tensors, "tensor"),
                bytes(part.bytes),
                part.include_with
            )
        }),
    );
    section(&mut text, "other values", ledger.other_values.iter().map(|other| format!("{}: {}", printable(&other.name), other.value)));
    section(
        &mut text,
        "storage bytes that no tensor covers",
        ledger.uncovered_storage_bytes.iter().map(|storage| {
            format!("storage {}: {} of {}", printable(&storage.storage), bytes(storage.uncovered_bytes), bytes(storage.bytes))
        }),
    );
    section(
        &mut text,
        "members that nothing refers to",
        ledger.unreferenced_members.iter().map(|member| format!("{} ({})", printable(&member.name), bytes(member.bytes))),
    );
    section(
        &mut text,
        "globals",
        ledger.globals.iter().map(|global| {
            let times = if global.mentions == 1 { String::new() } else { format!(", {} times", global.mentions) };
            format!("{} at {}{times}", printable(&global.global), place(&global.member, global.offset))
        }),
    );
    section(&mut text, "findings", ledger.findings.iter().map(finding));
    text
}

/// `w: quantized qint8 [2, 3], as w, w.scale, w.zero_point`
fn lowering(name: &str, lowered: &LoweredRecord) -> String {
    let dtype = lowered.dtype.as_ref().filter(|dtype| **dtype != lowered.kind).map(|dtype| format!(" {}", printable(dtype)));
    let shape = lowered.shape.as_ref().map(|shape| format!(" {shape:?}"));
    let mut parts: Vec<_> = lowered.parts.iter().take(MAX_LISTED).map(|part| printable(part)).collect();
    if lowered.parts.len() > MAX_LISTED {
        parts.push("...".into());
    }
    let (dtype, shape) = (dtype.unwrap_or_default(), shape.unwrap_or_default());
    format!("{}: {}{dtype}{shape}, as {}", printable(name), lowered.kind, parts.join(", "))
}

fn tensors(text: &mut String, ledger: &Ledger) {
    let rows: Vec<[String; 4]> = ledger
        .tensors
        .iter()
        .map(|tensor| {
            [
                printable(&tensor.name).into_owned(),
                tensor.dtype.clone(),
                format!("{:?}", tensor.shape),
                bytes(tensor.data_offsets[1] - tensor.data_offsets[0]),
            ]
        })
        .collect();
    let header = ["tensor", "dtype", "shape", "size"].map(str::to_owned);
    let width = |column: usize| rows.iter().chain([&header]).map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (name, dtype, shape, size) = (width(0).min(MAX_NAME_COLUMN), width(1), width(2).min(MAX_NAME_COLUMN), width(3));
    text.push('\n');
    for row in [&header].into_iter().chain(&rows) {
        line(text, format_args!("{:name$}  {:dtype$}  {:shape$}  {:>size$}", row[0], row[1], row[2], row[3]));
    }
    text.push('\n');
}

/// What a user should know beyond the numbers.
fn notes(text: &mut String, ledger: &Ledger) {
    if ledger.root != "." {
        line(text, format_args!("  taken from {}", quoted(&ledger.root, 100)));
    }
    if !ledger.outside_root.is_empty() {
        let parts = ledger
            .outside_root
            .iter()
            .map(|part| format!("{} ({}, {})", quoted(&part.name, 60), count(part.tensors, "tensor"), bytes(part.bytes)));
        line(text, format_args!("  not taken: {}; --root . takes everything", listed(parts, ledger.outside_root.len())));
    }
    if !ledger.left_out.is_empty() {
        let parts = ledger.left_out.iter().map(|left| format!("{}: {}", quoted(&left.name, 60), left.reason));
        line(text, format_args!("  left out: {}", listed(parts, ledger.left_out.len())));
    }
    if !ledger.aliases.is_empty() {
        let parts = ledger.aliases.iter().map(|(dropped, kept)| format!("{} = {}", printable(dropped), printable(kept)));
        line(text, format_args!("  tied, written once: {}", listed(parts, ledger.aliases.len())));
    }
    if !ledger.lowered.is_empty() {
        let parts = ledger.lowered.iter().map(|(name, lowered)| format!("{} ({})", printable(name), lowered.kind));
        line(text, format_args!("  lowered: {}", listed(parts, ledger.lowered.len())));
    }
    let of = |severity: &str| ledger.findings.iter().filter(|finding| finding.severity == severity).collect::<Vec<_>>();
    let dangerous = of(Severity::Dangerous.as_str());
    if !dangerous.is_empty() {
        line(
            text,
            format_args!(
                "  dangerous, and not run: {}",
                listed(dangerous.iter().map(|f| printable(&f.message).into_owned()), dangerous.len())
            ),
        );
    }
    match of(Severity::Unrecognized.as_str()).len() {
        0 => {}
        n => line(
            text,
            format_args!("  not run: {} of classes and functions that are not known; inspect lists them", count(n as u64, "call")),
        ),
    }
}

fn finding(finding: &FindingRecord) -> String {
    let arguments = called_with(finding.arguments.as_deref());
    format!("{}: {}{arguments} (at {})", finding.severity, printable(&finding.message), place(&finding.member, finding.offset))
}

fn place(member: &str, offset: u64) -> String {
    crate::Place::start_of(member).with_offset(offset).to_string()
}

fn container(ledger: &Ledger) -> String {
    let container = ledger.source.container.replace('-', " ");
    let compression = ledger.source.facts.get("compression").map(|form| format!(", {form}")).unwrap_or_default();
    let bundle = if ledger.source.member.is_some() { " in a bundle" } else { "" };
    let files = if is_set(ledger) { format!(" of {}", count(ledger.source.companions.len() as u64, "file")) } else { String::new() };
    format!("{container}{files}{compression}{bundle}")
}

fn is_set(ledger: &Ledger) -> bool {
    ledger.source.container == Kind::TorchIndex.as_str()
}

/// The size of the source, which for an index is that of its files.
fn source_bytes(ledger: &Ledger) -> u64 {
    match is_set(ledger) {
        true => ledger.source.companions.iter().map(|file| file.bytes).sum(),
        false => ledger.source.bytes,
    }
}

fn listed(items: impl Iterator<Item = String>, total: usize) -> String {
    let mut shown: Vec<String> = items.take(MAX_LISTED).collect();
    if total > shown.len() {
        shown.push(format!("and {} more", crate::text::thousands((total - shown.len()) as u64)));
    }
    shown.join("; ")
}

fn section(text: &mut String, title: &str, items: impl Iterator<Item = String>) {
    let mut items = items.peekable();
    if items.peek().is_some() {
        line(text, format_args!("\n{title}"));
        items.for_each(|item| line(text, format_args!("  {item}")));
    }
}

fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy()).into_owned()
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail. Trailing spaces of the last column are cut.
    let start = text.len();
    let _ = text.write_fmt(content);
    text.truncate(start + text[start..].trim_end().len());
    text.push('\n');
}
