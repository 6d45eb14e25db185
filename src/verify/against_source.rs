//! What was just written against the source, tensor by tensor, through plain indexing.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use safetensors::SafeTensors;

use super::header::{self, Expected};
use crate::checkpoint::Checkpoint;
use crate::error::{self, Result};
use crate::pipeline::{CHUNK_BYTES, Chunk, pieces};
use crate::plan::Plan;
use crate::source::{Region, Source};
use crate::tensor::Tensor;
use crate::verify::Verified;
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
        Box::new(Comparison { read_back: self, output, written: Vec::new(), expected: Vec::new() })
    }

    /// Compares the header with the plan, and with what the safetensors library reads in it. With every chunk of the data, which
    /// was compared where the plan says that it is, that is the whole file.
    ///
    /// # Errors
    /// `mismatch`, naming the tensor, when anything differs.
    pub fn compare_header(&self, output: &Output<'_>, written: Written) -> Result<Verified> {
        let plan = output.plan;
        let mut same = BufWriter::new(Same { region: &self.whole, at: 0, read: Vec::new() });
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
        let aliases = plan.aliases.iter().map(|(dropped, kept)| (dropped.as_str(), kept.as_str()));
        header::compare(header, tensors, aliases).map_err(|why| error::mismatch(format!("the header was written wrong: {why}")))?;
        if plan.header_bytes <= MAX_LIBRARY_BYTES {
            compare_with_library(plan, output.checkpoint, &bytes)?;
        }
        Ok(Verified::new(written))
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
    written: Vec<u8>,
    expected: Vec<u8>,
}

impl Checker for Comparison<'_> {
    fn check(&mut self, chunk: &Chunk) -> Result<()> {
        let data = self.output.plan.header_bytes;
        for piece in pieces(self.output, *chunk) {
            let tensor = self.output.tensor(piece.part);
            let region = self.output.opened.region(tensor.storage);
            let start = data + self.output.plan.tensors[piece.part].bytes.start + piece.inside;
            let contiguous = tensor.view.is_contiguous() && tensor.transform == Default::default();
            let mut elements = (!contiguous && piece.bytes > 0).then(|| Elements::new(tensor, region, piece.inside)).transpose()?;
            let mut done = 0;
            while done < piece.bytes {
                let bytes = (piece.bytes - done).min(CHUNK_BYTES);
                self.written.resize(bytes.max(self.written.len()), 0);
                self.expected.resize(bytes.max(self.expected.len()), 0);
                let (written, expected) = (&mut self.written[..bytes], &mut self.expected[..bytes]);
                self.read_back.whole.read_at(start + done as u64, written)?;
                match &mut elements {
                    None => region.read_at(tensor.view.offset() + piece.inside + done as u64, expected)?,
                    Some(elements) => elements.fill(expected),
                }
                if written != expected {
                    let first = written.iter().zip(&*expected).take_while(|(a, b)| a == b).count();
                    let at = piece.inside + (done + first) as u64;
                    let name = self.output.plan.tensors[piece.part].name.as_str();
                    return Err(differs(name, &format!("byte {at} differs from the source")));
                }
                done += bytes;
            }
        }
        Ok(())
    }
}

/// The elements of a strided tensor one after another, each read where its index says.
struct Elements<'a> {
    tensor: &'a Tensor,
    source: ::bytes::Bytes,
    /// Size and stride of the dimensions with more than one element.
    dims: Vec<(u64, u64)>,
    index: Vec<u64>,
    /// Where the element at `index` is.
    at: u64,
}

impl<'a> Elements<'a> {
    /// Those from byte `inside` of the output on.
    fn new(tensor: &'a Tensor, region: &Region, inside: u64) -> Result<Self> {
        let (shape, strides) = (tensor.view.shape(), tensor.view.strides());
        let dims: Vec<(u64, u64)> = shape.iter().copied().zip(strides.iter().copied()).filter(|(size, _)| *size != 1).collect();
        let mut index = vec![0; dims.len()];
        let mut element = inside / u64::from(tensor.dtype.item_bytes());
        let mut at = tensor.view.offset();
        for (i, (size, stride)) in index.iter_mut().zip(&dims).rev() {
            *i = element % size;
            at += *i * stride;
            element /= size;
        }
        Ok(Elements { tensor, source: region.bytes()?, index, dims, at })
    }

    fn fill(&mut self, values: &mut [u8]) {
        let item = usize::from(self.tensor.dtype.item_bytes());
        let plain = self.tensor.transform == Default::default();
        for value in values.chunks_exact_mut(item) {
            let at = self.at as usize;
            value.copy_from_slice(&self.source[at..at + item]);
            if !plain {
                as_value(value, self.tensor);
            }
            self.step();
        }
    }

    fn step(&mut self) {
        for (i, (size, stride)) in self.index.iter_mut().zip(&self.dims).rev() {
            *i += 1;
            self.at += stride;
            if *i < *size {
                return;
            }
            self.at -= stride * size;
            *i = 0;
        }
    }
}

/// Turns one stored element into its little-endian value, part by part.
fn as_value(element: &mut [u8], tensor: &Tensor) {
    let transform = tensor.transform;
    let part_bytes = element.len() / usize::from(tensor.dtype.parts());
    for (i, part) in element.chunks_exact_mut(part_bytes).enumerate() {
        let mut wide = [0u8; 8];
        wide[..part_bytes].copy_from_slice(part);
        let mut value = u64::from_le_bytes(wide);
        if transform.swap {
            value = value.swap_bytes() >> (64 - 8 * part_bytes);
        }
        let sign = 1u64 << (8 * part_bytes - 1);
        if transform.neg {
            value ^= sign;
        }
        if transform.conj && i == 1 {
            value ^= sign;
        }
        part.copy_from_slice(&value.to_le_bytes()[..part_bytes]);
    }
}
