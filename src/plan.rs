//! What will be written: the header and every tensor's place in the file. Nothing is written from anything else.
//!
//! The layout is that of the reference implementation (safetensors 0.8): tensors by dtype, descending, then by name;
//! a compact JSON header padded with spaces to 8 bytes. Metadata keys are sorted, so that the same input gives the
//! same bytes.

use std::collections::BTreeMap;
use std::ops::Range;

use safetensors::Dtype as OutputDtype;
use serde::Serialize;

use crate::checkpoint::Checkpoint;
use crate::error::{self, Result};
use crate::globals::TensorId;
use crate::limits::Limits;
use crate::names::{PathId, TensorName};
use crate::select::Selected;

/// One output file, decided to the last byte but for the data.
#[derive(Debug)]
pub struct Plan {
    /// In the order of the file.
    pub tensors: Vec<Planned>,
    /// The length of the JSON, the JSON and its padding: everything before the data.
    pub header: Vec<u8>,
    /// Bytes after the header.
    pub data_bytes: u64,
}

/// One tensor of the output.
#[derive(Debug)]
pub struct Planned {
    pub name: TensorName,
    pub dtype: OutputDtype,
    pub shape: Vec<u64>,
    /// Its bytes, counted from the end of the header.
    pub bytes: Range<u64>,
    pub tensor: TensorId,
    pub path: PathId,
}

impl Plan {
    /// Lays out the selected tensors.
    ///
    /// # Errors
    /// The limits on the header and on the output.
    pub fn new(checkpoint: &Checkpoint, selected: &Selected, limits: &Limits) -> Result<Plan> {
        let mut tensors: Vec<Planned> = selected
            .tensors
            .iter()
            .map(|named| {
                let tensor = checkpoint.tensor(named.tensor);
                let (dtype, shape) = (tensor.dtype.output(), tensor.output_shape());
                Planned { name: named.name.clone(), dtype, shape, bytes: 0..tensor.output_bytes(), tensor: named.tensor, path: named.path }
            })
            .collect();
        tensors.sort_by(|a, b| b.dtype.cmp(&a.dtype).then_with(|| a.name.cmp(&b.name)));

        let storage_bytes = checkpoint.storage_ids().map(|id| checkpoint.storage_len(id)).sum();
        let budget = limits.output_budget(storage_bytes);
        let mut end = 0u64;
        for planned in &mut tensors {
            let len = planned.bytes.end;
            let start = end;
            end = start.checked_add(len).filter(|&end| end <= budget).ok_or_else(|| {
                let needed = u128::from(start) + u128::from(len);
                error::output_too_big(needed, budget).at(&checkpoint.tensor(planned.tensor).place)
            })?;
            planned.bytes = start..end;
        }
        let header = header(&tensors, &selected.aliases);
        limits.header_bytes(header.len() as u64 - 8)?;
        Ok(Plan { tensors, header, data_bytes: end })
    }

    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        self.header.len() as u64 + self.data_bytes
    }
}

fn header(tensors: &[Planned], aliases: &BTreeMap<TensorName, TensorName>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Info<'a> {
        dtype: String,
        shape: &'a [u64],
        data_offsets: [u64; 2],
    }
    let mut metadata: BTreeMap<&str, &str> = aliases.iter().map(|(dropped, kept)| (dropped.as_str(), kept.as_str())).collect();
    metadata.insert("format", "pt");
    let mut bytes = vec![0; 8]; // the length, known at the end
    bytes.extend(br#"{"__metadata__":"#);
    json(&mut bytes, &metadata);
    for planned in tensors {
        bytes.push(b',');
        json(&mut bytes, &planned.name.as_str());
        bytes.push(b':');
        let data_offsets = [planned.bytes.start, planned.bytes.end];
        json(&mut bytes, &Info { dtype: planned.dtype.to_string(), shape: &planned.shape, data_offsets });
    }
    bytes.push(b'}');
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    let len = bytes.len() as u64 - 8;
    bytes[..8].copy_from_slice(&len.to_le_bytes());
    bytes
}

fn json(out: &mut Vec<u8>, value: &impl Serialize) {
    if let Err(e) = serde_json::to_writer(out, value) {
        unreachable!("text and numbers are valid JSON, and memory takes them: {e}");
    }
}
