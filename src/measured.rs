//! Steps of a conversion that the benchmarks measure alone. No user needs them, and they may change at any time.

use std::path::Path;

use crate::digest;
use crate::error::Result;
use crate::pipeline::CHUNK_BYTES;
use crate::place::Place;
use crate::source::{Region, Source};
use crate::storage::StorageId;
use crate::tensor::gather::Gather;
use crate::tensor::layout::Declared;
use crate::tensor::{Dtype, Tensor, Transform, View};

/// Gathers a tensor of torch's `dtype` that starts at the first byte of `file`, as a conversion does, and hands its chunks to `sink`.
///
/// # Errors
/// A dtype that is not known, a view that leaves the file, a file that cannot be read.
pub fn gather(file: &Path, dtype: &str, shape: &[i64], strides: &[i64], swap: bool, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
    let region = Region::file(&Source::open(file)?);
    let place = Place::start_of("");
    let dtype = Dtype::ALL.iter().find(|known| known.name() == dtype).copied();
    let dtype = dtype.ok_or_else(|| crate::error::Error::usage("there is no such dtype"))?;
    let declared = Declared { shape, strides, offset: 0, step_bytes: dtype.item_bytes() };
    let view = View::new(&declared, dtype.item_bytes(), region.len(), &place)?;
    let tensor = Tensor { dtype, storage: StorageId(0), view, transform: Transform { swap, ..Transform::default() }, place };
    let (mut gather, mut buffer, mut at) = (Gather::default(), Vec::new(), 0);
    while at < tensor.output_bytes() {
        let left = tensor.output_bytes() - at;
        let bytes = Gather::unit(&tensor, at).unwrap_or(left.min(CHUNK_BYTES as u64));
        buffer.resize(buffer.len().max(bytes as usize), 0);
        let chunk = &mut buffer[..bytes as usize];
        gather.fill(&tensor, &region, at, chunk)?;
        sink(chunk);
        at += bytes;
    }
    Ok(())
}

/// The SHA-256 of a file, read as a conversion reads.
///
/// # Errors
/// When it cannot be read.
pub fn sha256(file: &Path) -> Result<[u8; 32]> {
    Ok(digest::region(&Region::file(&Source::open(file)?), &())?.0)
}
