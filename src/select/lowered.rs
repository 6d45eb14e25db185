//! Which names are written of each tensor that is lowered: one that safetensors cannot hold as it is.

use std::collections::HashMap;
use std::sync::Arc;

use crate::checkpoint::{Checkpoint, Leaf};
use crate::error::{self, Result};
use crate::globals::{Lowering, TensorId};
use crate::names::{Name, PathId, TensorName};
use crate::select::Lowered;
use crate::tensor::Tensor;

/// The lowered tensors met so far, in the order of the file.
#[derive(Default)]
pub(super) struct Collector {
    lowered: Vec<Lowered>,
    /// By path; tensor subclasses and what is below them are at different ones.
    by_path: HashMap<PathId, usize>,
}

impl Collector {
    /// Notes a tensor subclass, whose parts come later.
    pub fn open(&mut self, leaf: &Leaf, name: &Name) {
        if let Some(lowering) = leaf.lowering() {
            self.at(leaf.path, name, || Arc::clone(lowering));
        }
    }

    /// Notes a tensor that is written as `written`; `name` is that of the tensor it is a part of.
    pub fn add(&mut self, checkpoint: &Checkpoint, leaf: &Leaf, id: TensorId, ids: &[PathId], name: &Name, written: &TensorName) {
        let tensor = checkpoint.tensor(id);
        let own = match leaf.lowering() {
            Some(lowering) => Some(self.at(leaf.path, name, || Arc::clone(lowering))),
            None if tensor.dtype.is_lowered() => Some(self.at(leaf.path, name, || Arc::new(by_dtype(tensor)))),
            None => None,
        };
        // Of a subclass whose parts are lowered themselves, and of each subclass that it is inside of.
        let wrappers = std::iter::once(&PathId::ROOT).chain(ids).filter_map(|path| self.by_path.get(path).copied());
        let mut of: Vec<usize> = wrappers.chain(own).collect();
        of.dedup();
        for index in of {
            self.lowered[index].parts.push(written.clone());
        }
    }

    /// Fails for a tensor that is lowered.
    ///
    /// # Errors
    /// `tensor-unsupported`
    pub fn refuse(&self, checkpoint: &Checkpoint, leaf: &Leaf, id: TensorId, ids: &[PathId], name: &Name) -> Result<()> {
        let tensor = checkpoint.tensor(id);
        let kind = match leaf.lowering() {
            Some(lowering) => lowering.kind,
            None if tensor.dtype.is_lowered() => tensor.dtype.name(),
            None => match std::iter::once(&PathId::ROOT).chain(ids).find_map(|path| self.by_path.get(path)) {
                Some(&index) => self.lowered[index].lowering.kind,
                None => return Ok(()),
            },
        };
        let message = format!(
            "{} is of a kind that safetensors cannot hold as it is ({kind}), and --lower refuse forbids to take it apart",
            crate::text::quoted(name, 200)
        );
        let pattern = crate::text::quoted(&format!("{name}*"), 200);
        Err(error::tensor_unsupported(&tensor.place, message)
            .help(format!("leave it out with --exclude {pattern}, or allow it with --lower plain")))
    }

    /// Those of which anything is written.
    pub fn finish(self) -> Vec<Lowered> {
        self.lowered.into_iter().filter(|lowered| !lowered.parts.is_empty()).collect()
    }

    fn at(&mut self, path: PathId, name: &Name, lowering: impl FnOnce() -> Arc<Lowering>) -> usize {
        *self.by_path.entry(path).or_insert_with(|| {
            self.lowered.push(Lowered { name: name.clone(), lowering: lowering(), parts: Vec::new() });
            self.lowered.len() - 1
        })
    }
}

/// A tensor of a dtype without a twin in safetensors.
fn by_dtype(tensor: &Tensor) -> Lowering {
    Lowering::new(tensor.dtype.name(), Some(tensor.dtype.name().to_owned()), &tensor.view.signed_shape())
}
