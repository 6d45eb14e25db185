//! What was just written against the source, tensor by tensor, through plain indexing.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use safetensors::SafeTensors;

use super::header::{self, Expected};
use crate::checkpoint::Checkpoint;
use crate::error::{self, Result};
use crate::pipeline::{Buffer, CHUNK_BYTES, Chunk, pieces};
use crate::plan::Plan;
use crate::source::{Region, Source};
use crate::verify::Verified;
use crate::verify::elements::Elements;
use crate::writer::{Checker, Output, Written};

/// The file that is written, opened again to be read.
#[derive(Debug)]
pub(crate) struct ReadBack {
    file: Arc<Source>,
    whole: Region,
}

impl ReadBack {
    /// The file that `plan` describes and that `path` names in errors.
    pub fn new(file: File, path: &Path, plan: &Plan) -> ReadBack {
        let file = Source::own(file, path, plan.file_bytes());
        ReadBack { whole: Region::file(&file), file }
    }

    /// Compares chunks of the data with the source, for one thread.
    pub fn checker<'a>(&'a self, output: &'a Output<'a>) -> Box<dyn Checker + 'a> {
        Box::new(Comparison { read_back: self, output, written: Buffer::default(), expected: Buffer::default() })
    }

    /// Compares the header with the plan, and with what the safetensors library reads in it.
    ///
    /// # Errors
    /// `mismatch`, naming the tensor, when anything differs.
    pub fn compare_header(&self, output: &Output<'_>) -> Result<SameHeader> {
        let plan = output.plan;
        let mut same = BufWriter::with_capacity(CHUNK_BYTES, Same { region: &self.whole, at: 0, read: Vec::new() });
        let compared = plan.write_header(output.checkpoint, &mut same).and_then(|()| same.flush());
        compared.map_err(|e| error::mismatch(format!("the header that was written is not the header that was planned: {e}")))?;
        // Of the mapping only the header is touched.
        let bytes = self.file.map()?;
        let header = usize::try_from(plan.header_bytes).ok().and_then(|n| bytes.get(..n)).unwrap_or_default();
        let tensors = plan.tensors.iter().map(|planned| Expected {
            name: planned.name.as_str(),
            dtype: planned.dtype.to_string().into(),
            shape: planned.shape(output.checkpoint).into(),
            data_offsets: [planned.bytes.start, planned.bytes.end],
        });
        let aliases = plan.header_aliases().iter().map(|(dropped, kept)| (dropped.as_str(), kept.as_str()));
        header::compare(header, tensors, aliases).map_err(|why| error::mismatch(format!("the header was written wrong: {why}")))?;
        if plan.header_bytes <= MAX_LIBRARY_BYTES {
            compare_with_library(plan, output.checkpoint, &bytes)?;
        }
        Ok(SameHeader(()))
    }
}

/// Proof that the header is the one that was planned.
#[derive(Debug)]
pub(crate) struct SameHeader(());

impl SameHeader {
    /// With the data, of which every chunk was compared where the plan says that it is, that is the whole file.
    pub fn with_data(self, written: Written) -> Verified {
        Verified::new(written)
    }
}

/// The library needs seven times the memory of a header; it is asked about those of up to this size, some 50,000 tensors.
const MAX_LIBRARY_BYTES: u64 = 6 << 20;

/// Compares the plan with what the safetensors library reads in a file.
fn compare_with_library(plan: &Plan, checkpoint: &Checkpoint, bytes: &[u8]) -> Result<()> {
    let read = SafeTensors::deserialize(bytes)
        .map_err(|e| error::mismatch(format!("the safetensors library does not read what was written: {e}")))?;
    if read.len() != plan.tensors.len() {
        return Err(error::mismatch(format!("{} tensors were planned and {} are in the file", plan.tensors.len(), read.len())));
    }
    for planned in &plan.tensors {
        let name = planned.name.as_str();
        let view = read.tensor(name).map_err(|e| differs(name, &e.to_string()))?;
        let same_shape = view.shape().iter().map(|&size| size as u64).eq(planned.shape(checkpoint));
        let start = (view.data().as_ptr().addr() - bytes.as_ptr().addr()) as u64;
        let len = view.data().len() as u64;
        let same_bytes = start == plan.header_bytes + planned.bytes.start && len == planned.bytes.end - planned.bytes.start;
        if view.dtype() != planned.dtype || !same_shape || !same_bytes {
            return Err(differs(name, "its dtype, shape or place is another"));
        }
    }
    Ok(())
}

fn differs(name: &str, what: &str) -> error::Error {
    error::mismatch(format!("tensor {} was written wrong: {what}", crate::text::quoted(name, 200)))
}

/// Takes what should be in a region, and fails where that has something else.
struct Same<'a> {
    region: &'a Region,
    at: u64,
    read: Vec<u8>,
}

impl Write for Same<'_> {
    fn write(&mut self, expected: &[u8]) -> io::Result<usize> {
        self.read.resize(expected.len(), 0);
        self.region.read_at(self.at, &mut self.read).map_err(io::Error::other)?;
        if self.read != expected {
            return Err(io::Error::other(format!("it differs behind byte {}", self.at)));
        }
        self.at += expected.len() as u64;
        Ok(expected.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compares chunks.
struct Comparison<'a> {
    read_back: &'a ReadBack,
    output: &'a Output<'a>,
    written: Buffer,
    expected: Buffer,
}

impl Checker for Comparison<'_> {
    fn check(&mut self, chunk: &Chunk) -> Result<()> {
        let data = self.output.plan.header_bytes;
        // The pieces of a chunk are read in one go; a chunk that is longer than usual is one piece.
        let is_read = chunk.bytes <= CHUNK_BYTES;
        if is_read {
            self.read_back.whole.read_at(data + chunk.at, self.written.make(chunk.bytes))?;
        }
        let mut before = 0;
        for piece in pieces(self.output, *chunk) {
            let tensor = self.output.tensor(piece.part);
            let region = self.output.opened.region(tensor.storage);
            let start = data + self.output.plan.tensors[piece.part].bytes.start + piece.inside;
            let one_run = tensor.view.is_contiguous() && tensor.transform == Default::default();
            let elements = (!one_run && piece.bytes > 0).then(|| Elements::new(tensor, region)).transpose()?;
            // Of rows that are far apart in the source, as many as make good use of each line of it.
            let rows_bytes = elements.as_ref().map_or(0, |elements| ROWS * elements.row_bytes((MOST_BYTES / ROWS) as u64) as usize);
            let at_once = rows_bytes.max(CHUNK_BYTES);
            let mut done = 0;
            while done < piece.bytes {
                let bytes = (piece.bytes - done).min(at_once);
                if !is_read {
                    self.read_back.whole.read_at(start + done as u64, self.written.make(bytes))?;
                }
                let written = if is_read { &self.written[before + done..][..bytes] } else { &self.written[..bytes] };
                let inside = piece.inside + done as u64;
                let difference = match &elements {
                    None => {
                        let expected = self.expected.make(bytes);
                        region.read_at(tensor.view.offset() + inside, expected)?;
                        let expected = &*expected;
                        (written != expected).then(|| written.iter().zip(expected).take_while(|(a, b)| a == b).count())
                    }
                    Some(elements) => elements.first_difference(inside, written),
                };
                if let Some(first) = difference {
                    let name = self.output.plan.tensors[piece.part].name.as_str();
                    return Err(differs(name, &format!("byte {} differs from the source", inside + first as u64)));
                }
                done += bytes;
            }
            before += piece.bytes;
        }
        Ok(())
    }
}

/// Rows of the output that are compared at a time, where they are not too long.
const ROWS: usize = 64;
/// The most bytes of the output that are compared at a time.
const MOST_BYTES: usize = 2 << 20;
