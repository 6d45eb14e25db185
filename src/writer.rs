//! Plan to bytes: streams every tensor to the file and computes all digests on the way.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use safetensors::Dtype;

use crate::checkpoint::Checkpoint;
use crate::digest::{Hasher, Sha};
use crate::error::{self, Result};
use crate::finding::{Finding, capped};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::spool::Opened;
use crate::tensor::gather::Gather;

/// What was written.
#[derive(Debug)]
pub struct Written {
    /// Of the whole file.
    pub sha256: Sha,
    /// Of each tensor's bytes, in the order of the plan.
    pub tensors: Vec<Sha>,
    /// What only the data shows.
    pub findings: Vec<Finding>,
}

/// Small tensors are collected into writes of this size; larger chunks go straight through.
const BUFFER_BYTES: usize = 256 << 10;

/// Writes the file that `plan` describes to `file`, which `path` names in errors. Stops when `cancelled` becomes true.
///
/// # Errors
/// When the source cannot be read or the file cannot be written.
pub(crate) fn write(
    plan: &Plan,
    checkpoint: &Checkpoint,
    opened: &Opened,
    file: &File,
    path: &Path,
    progress: &dyn Progress,
    cancelled: &AtomicBool,
) -> Result<Written> {
    let writing = |e: std::io::Error| error::io("write", path, &e);
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
    let mut whole = Hasher::default();
    let mut gather = Gather::default();
    let mut tensors = Vec::with_capacity(plan.tensors.len());
    let mut odd_bools = Vec::new();
    whole.update(&plan.header);
    out.write_all(&plan.header).map_err(writing)?;
    for planned in &plan.tensors {
        let tensor = checkpoint.tensor(planned.tensor);
        let mut own = Hasher::default();
        let mut odd = None;
        gather.stream(tensor, opened.region(tensor.storage), &mut |chunk| {
            if cancelled.load(Ordering::Relaxed) || progress.cancelled() {
                return Err(error::interrupted());
            }
            if planned.dtype == Dtype::BOOL && odd.is_none() {
                odd = chunk.iter().copied().find(|&byte| byte > 1);
            }
            out.write_all(chunk).map_err(writing)?;
            whole.update(chunk);
            own.update(chunk);
            progress.advance(chunk.len() as u64);
            Ok(())
        })?;
        tensors.push(own.finish());
        odd_bools.extend(odd.map(|byte| {
            let name = crate::text::quoted(planned.name.as_str(), 200);
            let message = format!("the bool tensor {name} has a byte {byte:#04x}, which is neither 0 nor 1; it is written as it is");
            Finding::note("bool-not-0-1", tensor.place.clone(), message)
        }));
    }
    out.flush().map_err(writing)?;
    Ok(Written { sha256: whole.finish(), tensors, findings: capped(odd_bools) })
}
