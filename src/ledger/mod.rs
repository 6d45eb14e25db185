//! The record of a conversion: what the source is, what was written, what was left out and why. `inspect` shows it
//! before anything is written; sealed with the digests of a verified output it is the manifest.
//!
//! The form is versioned and described by `docs/manifest.schema.json`. It holds no time and no machine, so that the
//! same input gives the same bytes; only how far the program shut itself in depends on the system that it ran on.

#![allow(missing_docs, reason = "docs/manifest.schema.json describes every field")]

mod tensors;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::checkpoint::{self, Checkpoint};
use crate::container::Kind;
use crate::coverage;
use crate::digest::Sha;
use crate::filenames::index_path;
use crate::finding::Finding;
use crate::names::Step;
use crate::pickle::NodeId;
use crate::select::Selected;
use crate::split::Plans;

pub use tensors::{Aliases, Origin, TensorRecord, Tensors};

/// The version of the format; a reader refuses a higher one.
pub const MANIFEST_VERSION: u32 = 1;

/// Everything that is known of one checkpoint and of what becomes of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ledger {
    pub manifest_version: u32,
    pub tool: Tool,
    /// How far the program had shut itself in when it read the input.
    #[serde(default)]
    pub sandbox: SandboxLevel,
    pub source: SourceRecord,
    /// The dotted name of the part of the checkpoint that is taken; `.` for all of it.
    pub root: String,
    pub outputs: Vec<OutputRecord>,
    /// In the order of the file.
    pub tensors: Tensors,
    /// Names that are the same tensor as another one: dropped name to kept name.
    pub aliases: Aliases,
    /// Tensors that safetensors cannot hold as they are, by the name that each would have.
    pub lowered: BTreeMap<String, LoweredRecord>,
    pub left_out: Vec<LeftOutRecord>,
    /// Tensors outside the root.
    pub outside_root: Vec<OutsideRecord>,
    pub uncovered_storage_bytes: Vec<UncoveredRecord>,
    pub unreferenced_members: Vec<MemberRecord>,
    pub globals: Vec<GlobalRecord>,
    pub other_values: Vec<OtherRecord>,
    pub findings: Vec<FindingRecord>,
}

/// The program that made the record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tool {
    pub name: String,
    pub version: String,
}

/// How far a process has given up the rights that reading untrusted input does not need.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SandboxLevel {
    /// Not at all, or nothing is known of it.
    #[default]
    None,
    /// Some of them: the system knows no more.
    Partial,
    /// It can open nothing but its inputs and the folders of its outputs and temporary files, start no program and reach no network.
    Full,
}

/// The input file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SourceRecord {
    /// Relative to the folder of the manifest where that is possible.
    pub path: String,
    pub bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The path of the checkpoint in the bundle that the source is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// Other files that the checkpoint is spread over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub companions: Vec<CompanionRecord>,
    pub container: String,
    /// What the file says of its producer.
    pub facts: BTreeMap<String, String>,
}

/// A file that belongs to the source: a shard of a set, an array of joblib before 0.10.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CompanionRecord {
    /// Relative to the folder of the manifest where that is possible.
    pub path: String,
    pub bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// An output file, beside its manifest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OutputRecord {
    /// The file's name.
    pub path: String,
    /// The index that lists it, for one of several files that a checkpoint was split into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    pub bytes: u64,
    /// Bytes before the data.
    pub header_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// A tensor that is written as others. `docs/lowering.md` has the policy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoweredRecord {
    /// The kind of tensor: `quantized`, `sparse_coo`, `subclass` ...
    pub kind: String,
    /// As its library calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<i64>>,
    /// What else is needed to make it again: the axis, the scheme, the unit.
    #[serde(flatten)]
    pub details: serde_json::Map<String, serde_json::Value>,
    /// The names that are written of it.
    pub parts: Vec<String>,
}

/// A tensor inside the root that is not written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LeftOutRecord {
    pub name: String,
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<i64>>,
    pub reason: String,
}

/// Tensors outside the root, by the part of the checkpoint that they are in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OutsideRecord {
    pub name: String,
    pub tensors: u64,
    pub bytes: u64,
    /// The argument that takes them.
    pub include_with: String,
}

/// Bytes of a storage that no tensor of the checkpoint covers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UncoveredRecord {
    pub storage: String,
    pub bytes: u64,
    pub uncovered_bytes: u64,
}

/// A member of an archive that nothing refers to, or that is no checkpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MemberRecord {
    pub name: String,
    pub bytes: u64,
}

/// A global that the pickle mentions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GlobalRecord {
    pub global: String,
    pub mentions: u64,
    /// Where it is mentioned first.
    pub member: String,
    pub offset: u64,
}

/// A value at the top of the checkpoint that holds no tensor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OtherRecord {
    pub name: String,
    /// What it is, in words.
    pub value: String,
}

/// A finding.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FindingRecord {
    pub kind: String,
    pub severity: String,
    pub global: Option<String>,
    pub member: String,
    pub offset: u64,
    pub message: String,
    pub arguments: Option<String>,
}

impl From<&Finding> for FindingRecord {
    fn from(finding: &Finding) -> Self {
        FindingRecord {
            kind: finding.kind.to_owned(),
            severity: finding.severity.as_str().to_owned(),
            global: finding.global.clone(),
            member: finding.place.member.to_string(),
            offset: finding.place.offset,
            message: finding.message.clone(),
            arguments: finding.arguments.clone(),
        }
    }
}

/// The most values without tensors that are listed.
const MAX_OTHER_VALUES: usize = 1_000;

/// What a record says of the pickles, listed while they are there.
pub(crate) struct Contents {
    globals: Vec<GlobalRecord>,
    other_values: Vec<OtherRecord>,
}

impl Contents {
    pub fn of(checkpoint: &Checkpoint) -> Self {
        let globals = checkpoint.document.graph.globals().iter().map(|global| GlobalRecord {
            global: global.path(),
            mentions: global.mentions,
            member: global.first.member.to_string(),
            offset: global.first.offset,
        });
        Contents { globals: globals.collect(), other_values: other_values(checkpoint) }
    }
}

/// What a record is made of.
pub(crate) struct Subject {
    pub checkpoint: Arc<Checkpoint>,
    pub contents: Contents,
    pub selected: Selected,
    pub plans: Arc<Plans>,
}

impl Ledger {
    /// The record of what will be written to a file called `output`, or to several that are named after it.
    pub(crate) fn new(subject: Subject, findings: &[Finding], source: SourceRecord, output: &Path, sandbox: SandboxLevel) -> Ledger {
        let Subject { checkpoint, contents, selected, plans } = subject;
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let index = plans.index.as_ref().map(|_| name(&index_path(output)));
        let outputs = plans.paths(output).into_iter().zip(&plans.files).map(|(path, plan)| OutputRecord {
            path: name(&path),
            index: index.clone(),
            bytes: plan.file_bytes(),
            header_bytes: plan.header_bytes,
            sha256: None,
        });
        let (tensors, aliases) = match plans.files.as_slice() {
            [only] => (Tensors::planned(only, &checkpoint), Aliases::planned(only)),
            several => (
                Tensors::joined(several.iter().map(|plan| Tensors::planned(plan, &checkpoint)).collect()),
                Aliases::joined(several.iter().map(Aliases::planned).collect()),
            ),
        };
        let lowered = selected.lowered.into_iter().map(|lowered| {
            let record = LoweredRecord {
                kind: lowered.lowering.kind.to_owned(),
                dtype: lowered.lowering.dtype.clone(),
                shape: lowered.lowering.shape.clone(),
                details: lowered.lowering.details.clone(),
                parts: lowered.parts.iter().map(ToString::to_string).collect(),
            };
            (lowered.name.to_string(), record)
        });
        let left_out = selected.left_out.into_iter().map(|left| LeftOutRecord {
            name: left.name.to_string(),
            path: checkpoint.paths.show(left.path),
            dtype: left.dtype,
            shape: left.shape,
            reason: left.reason.into_owned(),
        });
        let outside_root = selected.outside.into_iter().map(|part| OutsideRecord {
            name: part.name,
            tensors: part.tensors,
            bytes: part.bytes,
            include_with: "--root .".to_owned(),
        });
        let uncovered = coverage::uncovered(&checkpoint).into_iter().map(|found| UncoveredRecord {
            storage: found.storage,
            bytes: found.bytes,
            uncovered_bytes: found.uncovered_bytes,
        });
        Ledger {
            manifest_version: MANIFEST_VERSION,
            tool: Tool { name: env!("CARGO_PKG_NAME").to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
            sandbox,
            source,
            root: selected.root_name,
            outputs: outputs.collect(),
            tensors,
            aliases,
            lowered: lowered.collect(),
            left_out: left_out.collect(),
            outside_root: outside_root.collect(),
            uncovered_storage_bytes: uncovered.collect(),
            unreferenced_members: unreferenced(&checkpoint),
            globals: contents.globals,
            other_values: contents.other_values,
            findings: findings.iter().map(FindingRecord::from).collect(),
        }
    }

    /// The record of one of several files: what is said of the source is the same for each.
    pub(crate) fn of_file(&self, number: usize) -> Ledger {
        let tensors = self.tensors.of_file(number);
        let lowered = if self.lowered.is_empty() {
            BTreeMap::new()
        } else {
            let names: HashSet<String> = tensors.iter().map(|tensor| tensor.name).collect();
            let has_part = |lowered: &LoweredRecord| lowered.parts.iter().any(|part| names.contains(part));
            self.lowered.iter().filter(|(_, lowered)| has_part(lowered)).map(|(name, lowered)| (name.clone(), lowered.clone())).collect()
        };
        Ledger {
            outputs: vec![self.outputs[number].clone()],
            tensors,
            aliases: self.aliases.of_file(number),
            lowered,
            tool: self.tool.clone(),
            source: self.source.clone(),
            root: self.root.clone(),
            left_out: self.left_out.clone(),
            outside_root: self.outside_root.clone(),
            uncovered_storage_bytes: self.uncovered_storage_bytes.clone(),
            unreferenced_members: self.unreferenced_members.clone(),
            globals: self.globals.clone(),
            other_values: self.other_values.clone(),
            findings: self.findings.clone(),
            ..*self
        }
    }

    /// Adds the digests of an output, and of its tensors where they have digests of their own.
    pub(crate) fn seal(&mut self, output: &Sha, tensors: &[Sha]) {
        for record in &mut self.outputs {
            record.sha256 = Some(output.to_string());
        }
        self.tensors.seal(tensors);
    }

    /// Bytes of all tensors.
    pub fn tensor_bytes(&self) -> u64 {
        self.tensors.bytes()
    }
}

fn unreferenced(checkpoint: &Checkpoint) -> Vec<MemberRecord> {
    let unused = coverage::unreferenced(checkpoint).map(|m| MemberRecord { name: m.place().member.to_string(), bytes: m.len });
    unused.chain(checkpoint.document.others.iter().map(|(name, bytes)| MemberRecord { name: name.clone(), bytes: *bytes })).collect()
}

/// What stands at the top of the checkpoint, or of each file of a set, beside the tensors.
fn other_values(checkpoint: &Checkpoint) -> Vec<OtherRecord> {
    let Checkpoint { paths, leaves, document, .. } = checkpoint;
    let graph = &document.graph;
    let record = |(step, node): (Step, NodeId)| OtherRecord { name: step.name.to_string(), value: crate::describe::value(graph, node) };
    if document.kind == Kind::TorchIndex {
        let with_tensors = leaves.iter().filter_map(|leaf| match paths.steps(leaf.path).as_slice() {
            [file, step, ..] => Some((&*file.name, *step)),
            _ => None,
        });
        let with_tensors: HashSet<(&str, &Step)> = with_tensors.collect();
        let files = graph.attached(graph.root()).iter();
        let values =
            files.flat_map(|(file, root)| checkpoint::values_of(graph, *root).map(move |(step, node)| (file.as_str(), step, node)));
        let others = values.filter(|(file, step, _)| !with_tensors.contains(&(*file, step)));
        return others.take(MAX_OTHER_VALUES).map(|(_, step, node)| record((step, node))).collect();
    }
    let with_tensors: HashSet<&Step> = leaves.iter().filter_map(|leaf| paths.first_step(leaf.path)).collect();
    checkpoint::top_values(graph).filter(|(step, _)| !with_tensors.contains(step)).take(MAX_OTHER_VALUES).map(record).collect()
}
