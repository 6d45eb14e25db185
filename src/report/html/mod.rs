//! The report of a store as one page for people: it needs no network and works from a disk.
//!
//! Nothing that came from a file can become markup or script. Data goes into the page as JSON or escaped text only (`embedded.rs`), the
//! script puts it into elements as text only, and the page forbids every script and style but its own two, by their digests, and every
//! request. Without a script there are still the totals and a plain table.

mod embedded;
mod tensors;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::digest::Hasher;
use crate::error::Result;
use crate::finding::meaning;
use crate::output::{self, NewFolders, Pending};
use crate::store::record::{OutputRow, Report, Row, State, Totals};
use crate::text::{bytes, count, thousands};
use embedded::escaped;
use tensors::{Tensor, listed};

/// The page, with slots between pairs of `@@`.
const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// How every page starts; what starts otherwise is somebody's file.
const PAGE_START: &[u8] = b"<!doctype html>\n<html lang=\"en\" class=\"depickle-report\">";

/// Tensors of one output that the page lists; its manifest has all.
const MAX_TENSORS_OF_OUTPUT: usize = 2_000;
/// Tensors of all outputs that it lists: with their digests, about 30 MB.
const MAX_TENSORS: usize = 200_000;
/// Rows of the table that is shown without a script.
const MAX_PLAIN_ROWS: usize = 1_000;

/// Writes the page of a report to a file. `home` is the folder from which the report sees the outputs; `replace` also what is no such page.
///
/// # Errors
/// `io`; `output-exists`, `usage` when the file is no page of a report.
pub fn write(path: &Path, report: &Report, home: &Path, replace: bool) -> Result<()> {
    check(path, replace)?;
    let _folders = NewFolders::make(path)?;
    Pending::with_content(path, |out| page(report, home, out))?.put(true)
}

/// Checks that the page may be written, before work begins.
///
/// # Errors
/// `output-exists`, `usage` when the file is no page of a report.
pub fn check(path: &Path, replace: bool) -> Result<()> {
    output::check_free(path, PAGE_START, replace)
}

/// The page of a report.
///
/// # Errors
/// Those of `out`. Manifests that cannot be read are said on the page.
pub fn page(report: &Report, home: &Path, out: &mut impl Write) -> io::Result<()> {
    for (i, piece) in PAGE.split("@@").enumerate() {
        match (i % 2, piece) {
            (0, markup) => out.write_all(markup.as_bytes())?,
            (_, "policy") => write!(out, "{}", policy())?,
            (_, "style") => out.write_all(STYLE.as_bytes())?,
            (_, "script") => out.write_all(SCRIPT.as_bytes())?,
            (_, "store") => out.write_all(store(report).as_bytes())?,
            (_, "verdict") => {
                out.write_all(verdict(&report.totals).as_bytes())?;
                if let Some(part) = &report.part {
                    write!(out, " This is part {} of the store only.", escaped(part))?;
                }
            }
            (_, "sums") => sums(report, out)?,
            (_, "states") => states(&report.totals, out)?,
            (_, "facts") => facts(report, out)?,
            (_, "plain") => plain(report, out)?,
            (_, "data") => data(report, home, out)?,
            (_, slot) => unreachable!("the page has no slot {slot}"),
        }
    }
    Ok(())
}

/// What the page may do: its own style and its own script, and no request at all.
fn policy() -> String {
    let digest = |text: &str| {
        let mut hasher = Hasher::default();
        hasher.update(text.as_bytes());
        base64(&hasher.finish().0)
    };
    let (style, script) = (digest(STYLE), digest(SCRIPT));
    format!("default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; base-uri 'none'; form-action 'none'")
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |group: &[u8]| {
        let bits = (0..3).fold(0u32, |bits, i| bits << 8 | group.get(i).copied().map_or(0, u32::from));
        (0..4).map(|i| if i <= group.len() { char::from(DIGITS[(bits >> (18 - 6 * i) & 63) as usize]) } else { '=' }).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

/// What there is left to think about, in a sentence.
fn verdict(totals: &Totals) -> String {
    let were = |n: u64, what: &str| format!("{} {} {what}", count(n, "file"), if n == 1 { "was" } else { "were" });
    let troubles: Vec<String> = [(totals.refused, "refused"), (totals.failed, "not converted")]
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| were(n, what))
        .collect();
    match (totals.planned, &troubles[..]) {
        (1.., []) => "This is a plan: nothing was written yet.".to_owned(),
        (1.., _) => format!("This is a plan, with trouble: {}.", troubles.join(" and ")),
        (_, []) if totals.converted == 0 => "There was nothing to convert.".to_owned(),
        (_, []) => "Every checkpoint was converted, and verified bit for bit.".to_owned(),
        (_, _) => format!("{}. Their originals are as they were.", troubles.join(" and ")),
    }
}

/// What the store is called.
fn store(report: &Report) -> String {
    match &*report.store {
        "" | "." => "The folder of this report".to_owned(),
        store => escaped(store),
    }
}

/// How much it is, in a line.
fn sums(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let totals = &report.totals;
    write!(out, "{}, {}", count(totals.inputs, "file"), bytes(totals.input_bytes))?;
    if totals.outputs > 0 {
        let (outputs, size, tensors) = (count(totals.outputs, "output"), bytes(totals.output_bytes), count(totals.tensors, "tensor"));
        write!(out, "; {outputs}, {size}, with {tensors}")?;
    }
    Ok(())
}

fn states(totals: &Totals, out: &mut impl Write) -> io::Result<()> {
    for state in State::ALL {
        let (n, word) = (totals.count(state), state.as_str());
        if n > 0 {
            writeln!(out, "<li class=\"{word}\" data-state=\"{word}\" data-n=\"{n}\"><b>{}</b> {word}</li>", thousands(n))?;
        }
    }
    Ok(())
}

/// How it was made.
fn facts(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let options = match &report.options {
        serde_json::Value::Object(options) if options.is_empty() => "usual".to_owned(),
        options => options.to_string(),
    };
    let tool = format!("{} {}", report.tool.name, report.tool.version);
    let facts = [("part", report.part.as_ref()), ("options", Some(&options)), ("made by", Some(&tool))];
    for (name, value) in facts {
        if let Some(value) = value {
            write!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", escaped(value))?;
        }
    }
    Ok(())
}

/// The rows of the table that is there without a script.
fn plain(report: &Report, out: &mut impl Write) -> io::Result<()> {
    for row in report.inputs.iter().take(MAX_PLAIN_ROWS) {
        let outputs: Vec<&str> = row.outputs.iter().map(|output| &*output.path).collect();
        let reasons: Vec<&str> = row.reasons.iter().map(|reason| &*reason.message).collect();
        writeln!(
            out,
            "<tr><td class=\"{state}\">{state}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(&row.path),
            bytes(row.bytes),
            escaped(&outputs.join(", ")),
            escaped(&reasons.join("; ")),
            state = row.state.as_str(),
        )?;
    }
    if report.inputs.len() > MAX_PLAIN_ROWS {
        let more = (report.inputs.len() - MAX_PLAIN_ROWS) as u64;
        writeln!(out, "<tr><td colspan=\"5\">and {}</td></tr>", count(more, "more file"))?;
    }
    Ok(())
}

/// The report and what the findings mean.
#[derive(Serialize)]
struct Data<'a> {
    report: &'a Report,
    meanings: BTreeMap<&'a str, &'static str>,
}

/// The tensors of an output.
#[derive(Default, Serialize)]
struct Block {
    #[serde(skip_serializing_if = "Option::is_none")]
    tensors: Option<Vec<Tensor>>,
    /// Why they cannot be listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// Another output of the input, which is the same file under another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    same_as: Option<usize>,
}

/// How much of the manifests is on the page.
#[derive(Default, Serialize)]
struct Listing {
    listed: u64,
    only_in_manifests: u64,
    unreadable: u64,
}

/// All that the script shows. Each output has an element of its own, which is read when it is looked at.
fn data(report: &Report, home: &Path, out: &mut impl Write) -> io::Result<()> {
    let kinds = report.inputs.iter().flat_map(|row| &row.findings).map(|finding| &*finding.kind);
    element("report", &Data { report, meanings: kinds.map(|kind| (kind, meaning(kind))).collect() }, out)?;
    let mut listing = Listing::default();
    for (i, row) in report.inputs.iter().enumerate() {
        for (j, block) in blocks(row, home, &mut listing) {
            element(&format!("tensors-{i}-{j}"), &block, out)?;
        }
    }
    element("listing", &listing, out)
}

/// The tensors of each output of a file, by the number of the output.
fn blocks<'a>(row: &'a Row, home: &'a Path, listing: &'a mut Listing) -> impl Iterator<Item = (usize, Block)> {
    let mut seen: HashMap<(&str, Option<&str>), usize> = HashMap::new();
    row.outputs.iter().enumerate().filter(|(_, output)| output.tensors > 0).filter_map(move |(j, output)| {
        let manifest = output.manifest.as_deref()?;
        let sha256 = output.sha256.as_deref()?;
        match seen.get(&(sha256, output.member.as_deref())) {
            Some(&first) => Some((j, Block { same_as: Some(first), ..Block::default() })),
            None => {
                seen.insert((sha256, output.member.as_deref()), j);
                block(&home.join(manifest), output, listing).map(|block| (j, block))
            }
        }
    })
}

/// The tensors of an output; `None` when the page has no room for them.
fn block(manifest: &Path, output: &OutputRow, listing: &mut Listing) -> Option<Block> {
    let room = MAX_TENSORS.saturating_sub(usize::try_from(listing.listed).unwrap_or(usize::MAX));
    if room == 0 {
        listing.only_in_manifests += output.tensors;
        return None;
    }
    match listed(manifest, output, room.min(MAX_TENSORS_OF_OUTPUT)) {
        Ok(tensors) => {
            listing.listed += tensors.len() as u64;
            listing.only_in_manifests += output.tensors.saturating_sub(tensors.len() as u64);
            Some(Block { tensors: Some(tensors), ..Block::default() })
        }
        Err(problem) => {
            listing.unreadable += 1;
            Some(Block { problem: Some(problem), ..Block::default() })
        }
    }
}

fn element(id: &str, value: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    write!(out, "<script type=\"application/json\" id=\"{id}\">")?;
    embedded::write(out, value)?;
    out.write_all(b"</script>\n")
}

#[cfg(test)]
mod tests;
