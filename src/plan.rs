//! What will be written: the header and every tensor's place in the file. Nothing is written from anything else.
//!
//! The layout is that of the reference implementation (safetensors 0.8): tensors by dtype, descending, then by name;
//! a compact JSON header padded with spaces to 8 bytes. Metadata keys are sorted, so that the same input gives the
//! same bytes.

use std::io::{self, Write};
use std::ops::Range;

use safetensors::Dtype as OutputDtype;
use serde::{Serialize, Serializer};

use crate::checkpoint::Checkpoint;
use crate::error::{self, Result};
use crate::globals::TensorId;
use crate::limits::Limits;
use crate::names::{PathId, TensorName};
use crate::select::{Named, Selected};

/// One output file, decided to the last byte but for the data.
#[derive(Debug)]
pub struct Plan {
    /// In the order of the file.
    pub tensors: Vec<Planned>,
    /// Names that are the same tensor as another one, dropped name and kept name, sorted.
    pub aliases: Vec<(TensorName, TensorName)>,
    /// Whether it is one of several files of a checkpoint.
    pub is_shard: bool,
    /// Bytes before the data: the length of the JSON, the JSON and its padding.
    pub header_bytes: u64,
    /// Bytes after the header.
    pub data_bytes: u64,
}

/// One tensor of the output.
#[derive(Debug)]
pub struct Planned {
    pub name: TensorName,
    pub dtype: OutputDtype,
    /// Its bytes, counted from the end of the header.
    pub bytes: Range<u64>,
    pub tensor: TensorId,
    pub path: PathId,
}

impl Plan {
    /// The selected tensors in the order of a file.
    ///
    /// # Errors
    /// The limit on the output.
    pub fn ordered(checkpoint: &Checkpoint, selected: &mut Selected, limits: &Limits) -> Result<Vec<Planned>> {
        let mut tensors: Vec<Planned> = std::mem::take(&mut selected.tensors)
            .into_iter()
            .map(|Named { name, tensor: id, path }| {
                let tensor = checkpoint.tensor(id);
                Planned { name, dtype: tensor.dtype.output(), bytes: 0..tensor.output_bytes(), tensor: id, path }
            })
            .collect();
        tensors.sort_by(|a, b| b.dtype.cmp(&a.dtype).then_with(|| a.name.cmp(&b.name)));

        let storage_bytes = checkpoint.storage_ids().map(|id| checkpoint.storage_len(id)).sum();
        let budget = limits.output_budget(storage_bytes);
        let mut end = 0u64;
        for planned in &tensors {
            let (start, len) = (end, planned.len());
            end = start.checked_add(len).filter(|&end| end <= budget).ok_or_else(|| {
                let needed = u128::from(start) + u128::from(len);
                error::output_too_big(needed, budget).at(&checkpoint.tensor(planned.tensor).place)
            })?;
        }
        Ok(tensors)
    }

    /// Lays out tensors that are in the order of the file.
    ///
    /// # Errors
    /// The limit on the header.
    pub fn of(
        checkpoint: &Checkpoint,
        mut tensors: Vec<Planned>,
        aliases: Vec<(TensorName, TensorName)>,
        is_shard: bool,
        limits: &Limits,
    ) -> Result<Plan> {
        let mut end = 0u64;
        for planned in &mut tensors {
            planned.bytes = end..end + planned.len(); // all of them are within the budget
            end = planned.bytes.end;
        }
        let mut plan = Plan { tensors, aliases, is_shard, header_bytes: 0, data_bytes: end };
        let json_bytes = plan.json_bytes(checkpoint);
        plan.header_bytes = 8 + json_bytes.next_multiple_of(8);
        limits.header_bytes(plan.header_bytes - 8)?;
        Ok(plan)
    }

    /// The tied names that stand in the header: those of a shard stand in the index.
    pub fn header_aliases(&self) -> &[(TensorName, TensorName)] {
        if self.is_shard { &[] } else { &self.aliases }
    }

    /// Writes everything before the data. It is made again each time, because 200,000 tensors have one of 20 MB.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_header(&self, checkpoint: &Checkpoint, out: &mut dyn Write) -> io::Result<()> {
        let json_bytes = self.header_bytes - 8;
        out.write_all(&json_bytes.to_le_bytes())?;
        let mut counted = Counted { out, bytes: 0 };
        self.write_json(checkpoint, &mut counted)?;
        let padding = json_bytes.saturating_sub(counted.bytes) as usize;
        out.write_all(&b"       "[..padding.min(7)])
    }

    fn json_bytes(&self, checkpoint: &Checkpoint) -> u64 {
        let mut counted = Counted { out: &mut io::sink(), bytes: 0 };
        match self.write_json(checkpoint, &mut counted) {
            Ok(()) => counted.bytes,
            Err(e) => unreachable!("text and numbers are valid JSON, and nothing is written: {e}"),
        }
    }

    fn write_json(&self, checkpoint: &Checkpoint, out: &mut dyn Write) -> io::Result<()> {
        #[derive(Serialize)]
        struct Info<'a> {
            dtype: String,
            shape: &'a [u64],
            data_offsets: [u64; 2],
        }
        out.write_all(br#"{"__metadata__":"#)?;
        serde_json::to_writer(&mut *out, &Metadata(self.header_aliases()))?;
        // An entry is put together first: `out` takes few large pieces faster than many small ones.
        let mut entry = Vec::new();
        for planned in &self.tensors {
            entry.clear();
            entry.push(b',');
            serde_json::to_writer(&mut entry, planned.name.as_str())?;
            entry.push(b':');
            let (shape, data_offsets) = (planned.shape(checkpoint), [planned.bytes.start, planned.bytes.end]);
            serde_json::to_writer(&mut entry, &Info { dtype: planned.dtype.to_string(), shape: &shape, data_offsets })?;
            out.write_all(&entry)?;
        }
        out.write_all(b"}")
    }

    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        self.header_bytes + self.data_bytes
    }
}

impl Planned {
    /// The number of its bytes.
    pub fn len(&self) -> u64 {
        self.bytes.end - self.bytes.start
    }

    /// Its shape in the output.
    pub fn shape(&self, checkpoint: &Checkpoint) -> Vec<u64> {
        checkpoint.tensor(self.tensor).output_shape()
    }
}

/// The metadata of the header: the tied names, and the format, before which a tied name gives way.
struct Metadata<'a>(&'a [(TensorName, TensorName)]);

const FORMAT: (&str, &str) = ("format", "pt");

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let tied = self.0.iter().map(|(dropped, kept)| (dropped.as_str(), kept.as_str()));
        let at = self.0.partition_point(|(dropped, _)| dropped.as_str() < FORMAT.0);
        let before = tied.clone().take(at);
        let after = tied.skip(at).filter(|(dropped, _)| *dropped != FORMAT.0);
        serializer.collect_map(before.chain([FORMAT]).chain(after))
    }
}

/// Counts what passes through.
struct Counted<'a> {
    out: &'a mut dyn Write,
    bytes: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
