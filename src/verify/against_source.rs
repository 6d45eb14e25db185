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

/// Compares the file with the plan and, by indexing that shares nothing with the gather, with the source.
///
/// # Errors
/// `mismatch`, naming the tensor and the element, when anything differs.
pub(crate) fn compare(plan: &Plan, checkpoint: &Checkpoint, opened: &Opened, file: File, path: &Path, written: Written, progress: &dyn Progress) -> Result<Verified> {
    let bytes = Source::own(file, path, plan.file_bytes()).map()?;
    if bytes.len() as u64 != plan.file_bytes() || !bytes.starts_with(&plan.header) {
        return Err(error::mismatch("the header that was written is not the header that was planned"));
    }
    let read = SafeTensors::deserialize(&bytes).map_err(|e| error::mismatch(format!("the safetensors library does not read what was written: {e}")))?;
    let names: HashSet<&str> = read.names().into_iter().collect();
    if names.len() != plan.tensors.len() {
        return Err(error::mismatch(format!("{} tensors were planned and {} are in the file", plan.tensors.len(), names.len())));
    }
    for planned in &plan.tensors {
        let differs = |what: &str| error::mismatch(format!("tensor {} was written wrong: {what}", crate::text::quoted(planned.name.as_str(), 200)));
        let view = read.tensor(planned.name.as_str()).map_err(|e| differs(&e.to_string()))?;
        let same_shape = view.shape().iter().map(|&size| size as u64).eq(planned.shape.iter().copied());
        if view.dtype() != planned.dtype || !same_shape {
            return Err(differs("its dtype or shape is another"));
        }
        let tensor = checkpoint.tensor(planned.tensor);
        if let Some(at) = first_difference(tensor, opened.region(tensor.storage), view.data(), progress)? {
            return Err(differs(&format!("byte {at} differs from the source")));
        }
    }
    Ok(Verified::new(written))
}

/// The first byte of `output` that is not what the source says.
fn first_difference(tensor: &Tensor, region: &Region, output: &[u8], progress: &dyn Progress) -> Result<Option<usize>> {
    if output.len() as u64 != tensor.output_bytes() {
        return Ok(Some(output.len()));
    }
    if tensor.view.is_contiguous() && tensor.transform == Default::default() {
        return contiguous_difference(tensor, region, output, progress);
    }
    let source = region.bytes()?;
    let item = usize::from(tensor.dtype.item_bytes());
    let mut index = vec![0u64; tensor.view.shape().len()];
    let mut expected = [0u8; 16];
    for (n, element) in output.chunks_exact(item).enumerate() {
        let at: u64 = tensor.view.offset() + index.iter().zip(tensor.view.strides()).map(|(i, stride)| i * stride).sum::<u64>();
        let expected = &mut expected[..item];
        expected.copy_from_slice(&source[at as usize..at as usize + item]);
        as_value(expected, tensor);
        if expected != element {
            return Ok(Some(n * item));
        }
        if n % 65_536 == 65_535 {
            progress.advance(65_536 * item as u64);
        }
        for (i, &size) in index.iter_mut().zip(tensor.view.shape()).rev() {
            *i += 1;
            if *i < size {
                break;
            }
            *i = 0;
        }
    }
    progress.advance((output.len() % (65_536 * item)) as u64);
    Ok(None)
}

fn contiguous_difference(tensor: &Tensor, region: &Region, output: &[u8], progress: &dyn Progress) -> Result<Option<usize>> {
    let mut buffer = vec![0; output.len().min(256 << 10)];
    for (i, chunk) in output.chunks(256 << 10).enumerate() {
        let at = i * (256 << 10);
        let stored = &mut buffer[..chunk.len()];
        region.read_at(tensor.view.offset() + at as u64, stored)?;
        if stored != chunk {
            return Ok(stored.iter().zip(chunk).position(|(a, b)| a != b).map(|n| at + n));
        }
        progress.advance(chunk.len() as u64);
    }
    Ok(None)
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
