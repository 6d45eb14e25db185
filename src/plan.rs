//! What will be written: the header and every tensor's place in the file. Nothing is written from anything else.
//!
//! The layout is that of the reference implementation (safetensors 0.8): tensors by dtype, descending, then by name;
//! a compact JSON header padded with spaces to 8 bytes. Metadata keys are sorted, so that the same input gives the
//! same bytes.

use std::collections::BTreeMap;
use std::ops::Range;

use safetensors::Dtype as OutputDtype;
use serde_json::{Map, Value, json};

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

        let storage_bytes = checkpoint.storages.iter().map(|storage| storage.len).sum();
        let budget = limits.output_budget(storage_bytes);
        let mut end = 0u64;
        for planned in &mut tensors {
            let len = planned.bytes.end;
            let start = end;
            end = start.checked_add(len).filter(|&end| end <= budget).ok_or_else(|| {
                let needed = u128::from(start) + u128::from(len);
                error::storage_too_big("the tensors need", needed, budget).at(&checkpoint.tensor(planned.tensor).place)
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
    let mut metadata: BTreeMap<&str, &str> = aliases.iter().map(|(dropped, kept)| (dropped.as_str(), kept.as_str())).collect();
    metadata.insert("format", "pt");
    let mut header = Map::with_capacity(tensors.len() + 1);
    header.insert("__metadata__".to_owned(), json!(metadata));
    for planned in tensors {
        let info = json!({
            "dtype": planned.dtype.to_string(),
            "shape": planned.shape,
            "data_offsets": [planned.bytes.start, planned.bytes.end],
        });
        header.insert(planned.name.as_str().to_owned(), info);
    }
    let mut json = Value::Object(header).to_string().into_bytes();
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut json);
    bytes
}
