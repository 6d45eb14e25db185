//! The tensors of an output: a record of each, made when it is asked for, because those of 200,000 tensors take 140 MB.

#![allow(missing_docs, reason = "docs/manifest.schema.json describes every field")]

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::checkpoint::Checkpoint;
use crate::digest::Sha;
use crate::plan::Plan;

/// A tensor of the output.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TensorRecord {
    pub name: String,
    /// As safetensors calls it.
    pub dtype: String,
    pub shape: Vec<u64>,
    /// First byte and the byte after the last, counted from the end of the header.
    pub data_offsets: [u64; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    pub from: Origin,
}

/// Where a tensor came from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Origin {
    /// The place in the tree, as Python would write it.
    pub path: String,
    /// The opcode that rebuilds it.
    pub member: String,
    pub offset: u64,
    /// The storage that holds its elements.
    pub storage: String,
    /// Bytes from the start of the storage to the first element.
    pub storage_offset: u64,
    /// Bytes from one element to the next along each dimension of the tensor in the input.
    pub strides: Vec<u64>,
    /// The dtype in the input, as torch calls it.
    pub dtype: String,
    #[serde(default, skip_serializing_if = "is_false")]
    pub byte_swapped: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub conjugated: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub negated: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// The tensors of an output, in the order of the file.
#[derive(Debug, Clone)]
pub struct Tensors(Kept);

#[derive(Debug, Clone)]
enum Kept {
    Planned {
        plan: Arc<Plan>,
        checkpoint: Arc<Checkpoint>,
        sha256: Arc<[Sha]>,
    },
    Read(Vec<TensorRecord>),
    /// Those of several files.
    Joined(Vec<Tensors>),
}

impl Tensors {
    /// Those of several files, one after another.
    pub(super) fn joined(files: Vec<Tensors>) -> Self {
        Tensors(Kept::Joined(files))
    }

    /// Those of one of several files.
    pub(super) fn of_file(&self, number: usize) -> Self {
        match &self.0 {
            Kept::Joined(files) => files[number].clone(),
            _ => self.clone(),
        }
    }

    pub(super) fn planned(plan: &Arc<Plan>, checkpoint: &Arc<Checkpoint>) -> Self {
        Tensors(Kept::Planned { plan: Arc::clone(plan), checkpoint: Arc::clone(checkpoint), sha256: Arc::new([]) })
    }

    /// Adds the digests of those that were written, in their order; none where they are not wanted.
    pub(super) fn seal(&mut self, digests: &[Sha]) {
        match &mut self.0 {
            Kept::Planned { sha256, .. } => *sha256 = digests.into(),
            Kept::Read(records) => {
                records.iter_mut().zip(digests).for_each(|(record, sha)| record.sha256 = Some(sha.to_string()));
            }
            Kept::Joined(_) => unreachable!("each file of several is sealed by itself"),
        }
    }

    /// Their number.
    pub fn len(&self) -> usize {
        match &self.0 {
            Kept::Planned { plan, .. } => plan.tensors.len(),
            Kept::Read(records) => records.len(),
            Kept::Joined(files) => files.iter().map(Tensors::len).sum(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> u64 {
        match &self.0 {
            Kept::Planned { plan, .. } => plan.data_bytes,
            Kept::Read(records) => records.iter().map(|record| record.data_offsets[1].saturating_sub(record.data_offsets[0])).sum(),
            Kept::Joined(files) => files.iter().map(Tensors::bytes).sum(),
        }
    }

    /// The record of each.
    pub fn iter(&self) -> impl Iterator<Item = TensorRecord> + '_ {
        let files = if let Kept::Joined(files) = &self.0 { files.as_slice() } else { std::slice::from_ref(self) };
        files.iter().flat_map(|file| (0..file.len()).filter_map(|i| file.get(i)))
    }

    fn get(&self, i: usize) -> Option<TensorRecord> {
        match &self.0 {
            Kept::Planned { plan, checkpoint, sha256 } => Some(record(plan, checkpoint, i, sha256.get(i))),
            Kept::Read(records) => records.get(i).cloned(),
            Kept::Joined(_) => None, // there are no files of files
        }
    }
}

fn record(plan: &Plan, checkpoint: &Checkpoint, i: usize, sha256: Option<&Sha>) -> TensorRecord {
    let planned = &plan.tensors[i];
    let tensor = checkpoint.tensor(planned.tensor);
    let from = Origin {
        path: checkpoint.paths.show(planned.path),
        member: tensor.place.member.to_string(),
        offset: tensor.place.offset,
        storage: checkpoint.storage_key(tensor.storage),
        storage_offset: tensor.view.offset(),
        strides: tensor.view.strides().to_vec(),
        dtype: tensor.dtype.name().to_owned(),
        byte_swapped: tensor.transform.swap,
        conjugated: tensor.transform.conj,
        negated: tensor.transform.neg,
    };
    TensorRecord {
        name: planned.name.to_string(),
        dtype: planned.dtype.to_string(),
        shape: planned.shape(checkpoint),
        data_offsets: [planned.bytes.start, planned.bytes.end],
        sha256: sha256.map(Sha::hex),
        from,
    }
}

impl Serialize for Tensors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Tensors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(|records| Tensors(Kept::Read(records)))
    }
}

/// Names that are the same tensor as another one, sorted: dropped name and kept name.
#[derive(Debug, Clone)]
pub struct Aliases(KeptNames);

#[derive(Debug, Clone)]
enum KeptNames {
    Planned(Arc<Plan>),
    Read(Vec<(String, String)>),
    /// Those of several files.
    Joined(Vec<Aliases>),
}

impl Aliases {
    /// Those of several files, one after another.
    pub(super) fn joined(files: Vec<Aliases>) -> Self {
        Aliases(KeptNames::Joined(files))
    }

    /// Those of one of several files.
    pub(super) fn of_file(&self, number: usize) -> Self {
        match &self.0 {
            KeptNames::Joined(files) => files[number].clone(),
            _ => self.clone(),
        }
    }

    pub(super) fn planned(plan: &Arc<Plan>) -> Self {
        Aliases(KeptNames::Planned(Arc::clone(plan)))
    }

    /// Their number.
    pub fn len(&self) -> usize {
        match &self.0 {
            KeptNames::Planned(plan) => plan.aliases.len(),
            KeptNames::Read(names) => names.len(),
            KeptNames::Joined(files) => files.iter().map(Aliases::len).sum(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Dropped name and kept name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        let files = if let KeptNames::Joined(files) = &self.0 { files.as_slice() } else { std::slice::from_ref(self) };
        files.iter().flat_map(|file| (0..file.len()).filter_map(|i| file.get(i)))
    }

    fn get(&self, i: usize) -> Option<(&str, &str)> {
        match &self.0 {
            KeptNames::Planned(plan) => plan.aliases.get(i).map(|(dropped, kept)| (dropped.as_str(), kept.as_str())),
            KeptNames::Read(names) => names.get(i).map(|(dropped, kept)| (dropped.as_str(), kept.as_str())),
            KeptNames::Joined(_) => None, // there are no files of files
        }
    }
}

impl Serialize for Aliases {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Aliases {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = std::collections::BTreeMap::<String, String>::deserialize(deserializer)?;
        Ok(Aliases(KeptNames::Read(names.into_iter().collect())))
    }
}
