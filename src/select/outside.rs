//! What is in the checkpoint beside the root, for the report.

use std::collections::HashMap;

use crate::checkpoint::{Checkpoint, Content, Leaf};
use crate::names::PathId;
use crate::select::Outside;

/// The parts of the checkpoint outside the root, by the first step that leads away from it.
#[derive(Default)]
pub(super) struct OutsideParts {
    pub parts: Vec<Outside>,
    positions: HashMap<PathId, usize>,
}

impl OutsideParts {
    /// Counts a leaf of the checkpoint; `ids` are those of the steps to it.
    pub fn count(&mut self, checkpoint: &Checkpoint, leaf: &Leaf, ids: &[PathId], root: PathId) {
        let common = ids.iter().zip(checkpoint.paths.ids(root)).take_while(|(a, b)| **a == *b).count();
        let part = ids.get(common).copied().unwrap_or(leaf.path);
        let position = *self.positions.entry(part).or_insert_with(|| {
            let steps: Vec<&str> = checkpoint.paths.steps(part).into_iter().map(|step| &*step.name).collect();
            self.parts.push(Outside { name: steps.join("."), tensors: 0, bytes: 0 });
            self.parts.len() - 1
        });
        self.parts[position].tensors += 1;
        if let Content::Tensor(id) = &leaf.content {
            self.parts[position].bytes += checkpoint.tensor(*id).output_bytes();
        }
    }
}
