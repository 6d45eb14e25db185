//! The report of a migration: what became of every file of a store. It holds no time and no machine and does not say which run did what,
//! so that a store that was migrated in ten runs has the report of one that was migrated at once.
//!
//! `docs/report.schema.json` describes the form.

#![allow(missing_docs, reason = "docs/report.schema.json describes every field")]

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::convert::Converted;
use crate::error::{Code, Error};
use crate::ledger::{FindingRecord, Ledger, Tool};

/// The version of the format; a reader refuses a higher one.
pub const REPORT_VERSION: u32 = 1;

/// Findings of one file that the report lists; its manifest has all.
const MAX_FINDINGS: usize = 100;

/// What every report has, whatever its version.
#[derive(Deserialize)]
pub(crate) struct Version {
    pub report_version: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    pub report_version: u32,
    pub tool: Tool,
    /// The store, relative to the folder of the report where that is possible.
    pub store: String,
    /// How it was converted.
    pub options: Value,
    /// Which part of the store it is about, when several machines share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    pub totals: Totals,
    /// By path.
    pub inputs: Vec<Row>,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its outputs are there and verified.
    Converted,
    /// It was brought along as it is.
    Copied,
    /// It would be converted or copied.
    Planned,
    /// It is no checkpoint, or holds no tensors.
    Skipped,
    /// Findings refuse it.
    Refused,
    /// It could not be converted.
    Failed,
}

impl State {
    /// Every state, in the order of reports.
    pub const ALL: [State; 6] = [State::Converted, State::Copied, State::Planned, State::Skipped, State::Refused, State::Failed];

    /// The word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Converted => "converted",
            State::Copied => "copied",
            State::Planned => "planned",
            State::Skipped => "skipped",
            State::Refused => "refused",
            State::Failed => "failed",
        }
    }
}

/// Files and bytes of a report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub inputs: u64,
    pub converted: u64,
    pub copied: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub planned: u64,
    pub skipped: u64,
    pub refused: u64,
    pub failed: u64,
    pub outputs: u64,
    pub tensors: u64,
    /// Bytes of all files, each counted once.
    pub input_bytes: u64,
    /// Bytes of those that were converted.
    pub converted_bytes: u64,
    pub output_bytes: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// A file of the store, and what became of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// Relative to the store.
    pub path: String,
    /// Its other names in the store, where links lead to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    pub bytes: u64,
    /// When it was changed last, in nanoseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<u64>,
    pub state: State,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    pub outputs: Vec<OutputRow>,
    /// Why it, or a checkpoint in it, was not converted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<FindingRecord>,
    /// Findings beyond those that are listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_findings: u64,
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputRow {
    /// Relative to the folder of the report.
    pub path: String,
    pub bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Its manifest, beside it; files that were copied have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// The path of the checkpoint in the bundle that the input is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tensors: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tensor_bytes: u64,
    /// The part of the checkpoint that was taken; absent for all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Tensors outside of that part, and their bytes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub outside: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub outside_bytes: u64,
    /// Tensors that were left out by name or kind.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// Names of tensors that have another name too, under which they were written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tied: u64,
    /// Tensors that were written as others.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lowered: u64,
}

/// Why a file, or a checkpoint in it, was not converted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The path of the checkpoint in the bundle that the input is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// The word of the error, as `--json` has it.
    pub reason: String,
    pub message: String,
    /// Where in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Report {
    /// The report of these rows.
    pub fn new(store: String, options: Value, part: Option<String>, mut inputs: Vec<Row>) -> Report {
        inputs.sort_by(|a, b| a.path.cmp(&b.path));
        let tool = Tool { name: env!("CARGO_PKG_NAME").to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
        Report { report_version: REPORT_VERSION, tool, store, options, part, totals: Totals::of(&inputs), inputs }
    }

    /// The exit code of a run that ends with it.
    pub fn exit_code(&self) -> u8 {
        self.inputs.iter().map(Row::exit_code).max().unwrap_or(0)
    }
}

impl Totals {
    /// Adds up rows.
    pub fn of(rows: &[Row]) -> Totals {
        let mut totals = Totals { inputs: rows.len() as u64, ..Totals::default() };
        for row in rows {
            totals.add(row);
        }
        totals
    }

    fn add(&mut self, row: &Row) {
        *self.count_mut(row.state) += 1;
        self.input_bytes += row.bytes;
        if row.state == State::Converted {
            self.converted_bytes += row.bytes;
        }
        for output in &row.outputs {
            self.outputs += 1;
            self.tensors += output.tensors;
            self.output_bytes += output.bytes;
        }
    }

    /// How many files have a state.
    pub fn count(&self, state: State) -> u64 {
        *self.clone().count_mut(state)
    }

    fn count_mut(&mut self, state: State) -> &mut u64 {
        match state {
            State::Converted => &mut self.converted,
            State::Copied => &mut self.copied,
            State::Planned => &mut self.planned,
            State::Skipped => &mut self.skipped,
            State::Refused => &mut self.refused,
            State::Failed => &mut self.failed,
        }
    }
}

impl Row {
    /// The exit code that the file gives a run.
    pub fn exit_code(&self) -> u8 {
        match self.state {
            State::Refused | State::Failed => self.reasons.iter().map(Reason::exit_code).max().unwrap_or(1),
            _ => 0,
        }
    }

    /// Adds what was found, as far as it is listed.
    pub(crate) fn find(&mut self, findings: impl IntoIterator<Item = FindingRecord>) {
        for finding in findings {
            match self.findings.len() < MAX_FINDINGS {
                true => self.findings.push(finding),
                false => self.more_findings += 1,
            }
        }
    }

    /// Notes why it, or a checkpoint in it, was not converted.
    pub(crate) fn give(&mut self, reason: Reason, state: State) {
        self.state = self.state.max(state);
        self.reasons.push(reason);
    }
}

impl Reason {
    /// What an error says.
    pub fn of(error: &Error, member: Option<String>) -> Reason {
        Reason {
            member,
            reason: error.code().as_str().to_owned(),
            message: error.message().to_owned(),
            place: error.place().map(ToString::to_string),
            help: error.advice().map(str::to_owned),
        }
    }

    /// The code of the error, if this version knows it.
    pub fn code(&self) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.as_str() == self.reason)
    }

    fn exit_code(&self) -> u8 {
        self.code().map_or(1, |code| code.kind().exit_code())
    }
}

impl OutputRow {
    /// What was converted to `path`.
    pub(crate) fn converted(path: String, manifest: String, ledger: &Ledger) -> OutputRow {
        let output = ledger.outputs.first();
        OutputRow {
            path,
            manifest: Some(manifest),
            bytes: output.map_or(0, |output| output.bytes),
            sha256: output.and_then(|output| output.sha256.clone()),
            member: ledger.source.member.clone(),
            tensors: ledger.tensors.len() as u64,
            tensor_bytes: ledger.tensor_bytes(),
            root: Some(ledger.root.clone()).filter(|root| root != "."),
            outside: ledger.outside_root.iter().map(|part| part.tensors).sum(),
            outside_bytes: ledger.outside_root.iter().map(|part| part.bytes).sum(),
            left_out: ledger.left_out.len() as u64,
            tied: ledger.aliases.iter().count() as u64,
            lowered: ledger.lowered.len() as u64,
        }
    }

    /// A file that is not made of tensors.
    pub(crate) fn plain(path: String, bytes: u64, sha256: Option<String>) -> OutputRow {
        OutputRow {
            path,
            bytes,
            sha256,
            manifest: None,
            member: None,
            tensors: 0,
            tensor_bytes: 0,
            root: None,
            outside: 0,
            outside_bytes: 0,
            left_out: 0,
            tied: 0,
            lowered: 0,
        }
    }
}

/// What a row says of its input, once a checkpoint of it was converted.
pub(crate) fn note_source(row: &mut Row, converted: &Converted) {
    let source = &converted.ledger().source;
    row.sha256.clone_from(&source.sha256);
    row.container = Some(source.container.clone());
}
