//! The `--json` output of the commands: frozen shapes of their own.

use std::path::Path;

use serde::Serialize;

use crate::container::Kind;
use crate::convert::Converted;
use crate::error::Error;
use crate::ledger::{FindingRecord, Ledger};
use crate::place::Place;
use crate::scan::Scanned;
use crate::set::{Checked, Published};
use crate::store::record::{Row, Totals};
use crate::verify::Report;

/// One line of `convert --json`, also when the input is refused.
#[derive(Debug, Serialize)]
pub struct Conversion<'a> {
    input: String,
    decision: &'static str,
    reason: Option<&'static str>,
    message: Option<String>,
    place: Option<PlaceRecord>,
    help: Option<String>,
    tensors: u64,
    outputs: Vec<String>,
    manifest: Option<String>,
    /// Those of several outputs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    manifests: Vec<String>,
    /// The index of several outputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<String>,
    /// In what the index of a set is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    findings: &'a [FindingRecord],
}

#[derive(Debug, Serialize)]
struct PlaceRecord {
    member: String,
    offset: u64,
}

impl<'a> Conversion<'a> {
    /// A conversion that was done.
    pub fn done(input: &Path, converted: &'a Converted) -> Self {
        let files = &converted.files;
        Conversion {
            outputs: files.iter().map(|file| path(&file.output)).collect(),
            manifest: if let [only] = files.as_slice() { Some(path(&only.manifest_path)) } else { None },
            manifests: if files.len() > 1 { files.iter().map(|file| path(&file.manifest_path)).collect() } else { Vec::new() },
            index: converted.index.as_deref().map(path),
            ..Conversion::planned(input, converted.ledger())
        }
    }

    /// A conversion that would be done.
    pub fn planned(input: &Path, ledger: &'a Ledger) -> Self {
        Conversion { tensors: ledger.tensors.len() as u64, findings: &ledger.findings, ..Conversion::of(input, "convert") }
    }

    /// The index that was written for the outputs of a set, when they are all there.
    pub fn indexed(input: &Path, published: &Published) -> Self {
        Conversion {
            tensors: published.tensors,
            outputs: published.files.iter().map(|file| path(file)).collect(),
            index: Some(path(&published.path)),
            notes: published.notes.clone(),
            ..Conversion::of(input, "index")
        }
    }

    /// A set that would be converted file by file.
    pub fn would_index(input: &Path, tensors: u64, notes: &[String]) -> Self {
        Conversion { tensors, notes: notes.to_vec(), ..Conversion::of(input, "index") }
    }

    fn of(input: &Path, decision: &'static str) -> Self {
        Conversion {
            input: path(input),
            decision,
            reason: None,
            message: None,
            place: None,
            help: None,
            tensors: 0,
            outputs: Vec::new(),
            manifest: None,
            manifests: Vec::new(),
            index: None,
            notes: Vec::new(),
            findings: &[],
        }
    }

    /// A checkpoint of a bundle that holds no tensors.
    pub fn skipped(input: &Path, error: &Error) -> Self {
        Conversion { decision: "skip", ..Conversion::refused(input, error, &[]) }
    }

    /// A refusal, with the findings made before it.
    pub fn refused(input: &Path, error: &Error, findings: &'a [FindingRecord]) -> Self {
        Conversion {
            reason: Some(error.code().as_str()),
            message: Some(error.message().to_owned()),
            place: error.place().map(PlaceRecord::from),
            help: error.advice().map(str::to_owned),
            findings,
            ..Conversion::of(input, "refuse")
        }
    }
}

/// One line of `convert --json` for a store.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum StoreEvent<'a> {
    /// What there is to do.
    Start {
        /// Files to look at.
        files: u64,
        /// Their bytes.
        bytes: u64,
        /// Files of which nothing is left to do.
        done_before: u64,
    },
    /// A file that is done.
    File(&'a Row),
    /// The end.
    End {
        /// Of all files, those that were done before too.
        totals: &'a Totals,
        /// Where the report is.
        report: Option<String>,
    },
}

/// One line of `verify --json`.
#[derive(Debug, Serialize)]
pub struct Verification {
    manifest: String,
    verified: bool,
    reason: Option<&'static str>,
    message: Option<String>,
    tensors: u64,
    bytes: u64,
    /// Whether each tensor was compared with a digest of its own; if not, the digest of the file covers them.
    tensor_hashes: bool,
    source_checked: bool,
}

impl Verification {
    /// Everything is as the manifest says.
    pub fn same(report: &Report) -> Self {
        Verification {
            manifest: path(&report.manifest),
            verified: true,
            reason: None,
            message: None,
            tensors: report.tensors,
            bytes: report.bytes,
            tensor_hashes: report.tensor_hashes,
            source_checked: report.source_checked,
        }
    }

    /// It is not, or could not be checked.
    pub fn failed(manifest: &Path, error: &Error) -> Self {
        Verification {
            manifest: path(manifest),
            verified: false,
            reason: Some(error.code().as_str()),
            message: Some(error.message().to_owned()),
            tensors: 0,
            bytes: 0,
            tensor_hashes: false,
            source_checked: false,
        }
    }
}

/// One line of `verify --json` for the index of a set.
#[derive(Debug, Serialize)]
pub struct VerifiedIndex {
    index: String,
    verified: bool,
    reason: Option<&'static str>,
    message: Option<String>,
    tensors: u64,
    files: Vec<String>,
}

impl VerifiedIndex {
    /// Each tensor is in the file that the index lists.
    pub fn same(index: &Path, checked: &Checked) -> Self {
        let files = checked.files.iter().map(|file| path(file)).collect();
        VerifiedIndex { index: path(index), verified: true, reason: None, message: None, tensors: checked.tensors, files }
    }

    /// It is not, or could not be checked.
    pub fn failed(index: &Path, error: &Error) -> Self {
        let (reason, message) = (Some(error.code().as_str()), Some(error.message().to_owned()));
        VerifiedIndex { index: path(index), verified: false, reason, message, tensors: 0, files: Vec::new() }
    }
}

/// One line of `scan --format json`.
#[derive(Debug, Serialize)]
pub struct Scan {
    input: String,
    verdict: &'static str,
    container: Option<&'static str>,
    pickles: u64,
    /// Of the first error, or of what says that it is no checkpoint.
    reason: Option<&'static str>,
    message: Option<String>,
    place: Option<PlaceRecord>,
    errors: Vec<ErrorRecord>,
    findings: Vec<FindingRecord>,
}

#[derive(Debug, Serialize)]
struct ErrorRecord {
    reason: &'static str,
    message: String,
    place: Option<PlaceRecord>,
}

impl From<&Place> for PlaceRecord {
    fn from(place: &Place) -> Self {
        PlaceRecord { member: place.member.to_string(), offset: place.offset }
    }
}

impl Scan {
    /// What was found in a file.
    pub fn of(scanned: &Scanned) -> Self {
        let first = scanned.errors.first().or(scanned.no_checkpoint.as_ref());
        Scan {
            input: path(&scanned.path),
            verdict: scanned.verdict().as_str(),
            container: scanned.container.map(Kind::as_str),
            pickles: scanned.pickles,
            reason: first.map(|error| error.code().as_str()),
            message: first.map(|error| error.message().to_owned()),
            place: first.and_then(Error::place).map(PlaceRecord::from),
            errors: scanned
                .errors
                .iter()
                .map(|error| ErrorRecord {
                    reason: error.code().as_str(),
                    message: error.message().to_owned(),
                    place: error.place().map(PlaceRecord::from),
                })
                .collect(),
            findings: scanned.findings.iter().map(FindingRecord::from).collect(),
        }
    }
}

/// One line of JSON.
pub fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|e| unreachable!("these records have only text keys: {e}"))
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
