//! What was just written against the source, tensor by tensor, through plain indexing.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;

use safetensors::SafeTensors;

use crate::checkpoint::Checkpoint;
use crate::error::{self, Result};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::source::{Region, Source};
use crate::spool::Opened;
use crate::tensor::Tensor;
use crate::verify::Verified;
use crate::writer::Written;

/// Bytes compared at a time; a multiple of every element size.
const CHUNK_BYTES: usize = 256 << 10;

/// Compares the file with the plan and, by indexing that shares nothing with the gather, with the source.
///
/// # Errors
/// `mismatch`, naming the tensor and the byte, when anything differs.
pub(crate) fn compare(
    plan: &Plan,
    checkpoint: &Checkpoint,
    opened: &Opened,
    file: File,
    path: &Path,
    written: Written,
    progress: &dyn Progress,
) -> Result<Verified> {
    let file = Source::own(file, path, plan.file_bytes());
    // Of the mapping only the header is touched; data is read by position.
    let bytes = file.map()?;
    if !bytes.starts_with(&plan.header) {
        return Err(error::mismatch("the header that was written is not the header that was planned"));
    }
    let read = SafeTensors::deserialize(&bytes)
        .map_err(|e| error::mismatch(format!("the safetensors library does not read what was written: {e}")))?;
    let names: HashSet<&str> = read.names().into_iter().collect();
    if names.len() != plan.tensors.len() {
        return Err(error::mismatch(format!("{} tensors were planned and {} are in the file", plan.tensors.len(), names.len())));
    }
    let whole = Region::file(&file);
    let mut compare = Compare { output: vec![0; CHUNK_BYTES], stored: vec![0; CHUNK_BYTES], progress };
    for planned in &plan.tensors {
        let differs =
            |what: &str| error::mismatch(format!("tensor {} was written wrong: {what}", crate::text::quoted(planned.name.as_str(), 200)));
        let view = read.tensor(planned.name.as_str()).map_err(|e| differs(&e.to_string()))?;
        let same_shape = view.shape().iter().map(|&size| size as u64).eq(planned.shape.iter().copied());
        let tensor = checkpoint.tensor(planned.tensor);
        if view.dtype() != planned.dtype || !same_shape || view.data().len() as u64 != tensor.output_bytes() {
            return Err(differs("its dtype, shape or size is another"));
        }
        let start = view.data().as_ptr().addr() - bytes.as_ptr().addr();
        let output = whole.slice(start as u64, tensor.output_bytes()).ok_or_else(|| differs("it is outside the file"))?;
        if let Some(at) = compare.first_difference(tensor, opened.region(tensor.storage), &output)? {
            return Err(differs(&format!("byte {at} differs from the source")));
        }
    }
    Ok(Verified::new(written))
}

struct Compare<'a> {
    output: Vec<u8>,
    stored: Vec<u8>,
    progress: &'a dyn Progress,
}

impl Compare<'_> {
    /// The first byte of `output` that is not what the source says.
    fn first_difference(&mut self, tensor: &Tensor, region: &Region, output: &Region) -> Result<Option<u64>> {
        let contiguous = tensor.view.is_contiguous() && tensor.transform == Default::default();
        let mut elements = (!contiguous).then(|| Elements::new(tensor, region)).transpose()?;
        let mut at = 0;
        while at < output.len() {
            let len = (output.len() - at).min(CHUNK_BYTES as u64) as usize;
            let (written, expected) = (&mut self.output[..len], &mut self.stored[..len]);
            output.read_at(at, written)?;
            match &mut elements {
                None => region.read_at(tensor.view.offset() + at, expected)?,
                Some(elements) => elements.fill(expected),
            }
            if written != expected {
                let first = written.iter().zip(&*expected).position(|(a, b)| a != b);
                return Ok(first.map(|first| at + first as u64));
            }
            at += len as u64;
            self.progress.advance(len as u64);
            if self.progress.cancelled() {
                return Err(error::interrupted());
            }
        }
        Ok(None)
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
    fn new(tensor: &'a Tensor, region: &Region) -> Result<Self> {
        let (shape, strides) = (tensor.view.shape(), tensor.view.strides());
        let dims: Vec<(u64, u64)> = shape.iter().copied().zip(strides.iter().copied()).filter(|(size, _)| *size != 1).collect();
        Ok(Elements { tensor, source: region.bytes()?, index: vec![0; dims.len()], dims, at: tensor.view.offset() })
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
