//! The names under which tensors are written, each once, and those that are one and the same tensor.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::checkpoint::{Checkpoint, Leaf};
use crate::error::{self, Error, Result};
use crate::globals::TensorId;
use crate::limits::Limits;
use crate::names::{PathId, TensorName};
use crate::select::Named;

/// The tensors chosen so far, each name once.
pub(super) struct Chosen<'a> {
    renames: &'a [(String, String)],
    used: Vec<bool>,
    /// The leaf that each name came from, by its path and part, and its tensor.
    names: HashMap<TensorName, (PathId, Arc<str>, TensorId)>,
    tensors: Vec<Named>,
}

impl<'a> Chosen<'a> {
    pub fn new(renames: &'a [(String, String)]) -> Chosen<'a> {
        Chosen { renames, used: vec![false; renames.len()], names: HashMap::new(), tensors: Vec::new() }
    }

    /// Adds a tensor under its name, or the name that was asked for instead, which is returned.
    ///
    /// # Errors
    /// `name-collision` and `name-invalid`
    pub fn add(&mut self, checkpoint: &Checkpoint, name: String, leaf: &Leaf, tensor: TensorId, limits: &Limits) -> Result<TensorName> {
        let shown = |path: PathId, part: &str| checkpoint.paths.show(path) + part;
        let show = || shown(leaf.path, &leaf.part);
        let renamed = self.renames.iter().position(|(old, _)| *old == name || *old == show());
        let name = match renamed {
            Some(i) => {
                self.used[i] = true;
                self.renames[i].1.clone()
            }
            None => name,
        };
        let name = TensorName::new(name, &show, limits)?;
        match self.names.entry(name.clone()) {
            Entry::Vacant(free) => free.insert((leaf.path, Arc::clone(&leaf.part), tensor)),
            // Objects that are dicts and have their items as attributes too hold one tensor in both places.
            Entry::Occupied(taken) if taken.get().2 == tensor => return Ok(name),
            Entry::Occupied(taken) => {
                let (path, part, _) = taken.get();
                return Err(error::collision(name.as_str(), &shown(*path, part), &show()));
            }
        };
        self.tensors.push(Named { name: name.clone(), tensor, path: leaf.path });
        Ok(name)
    }

    /// The tensors, sorted by name.
    ///
    /// # Errors
    /// `usage` when a renamed name does not exist.
    pub fn finish(mut self) -> Result<Vec<Named>> {
        if let Some(i) = self.used.iter().position(|used| !used) {
            return Err(Error::usage(format!("--rename finds no tensor called {}", crate::text::quoted(&self.renames[i].0, 200))));
        }
        self.tensors.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(self.tensors)
    }
}

/// Keeps, of names that are the same view of the same storage, the alphabetically first. `tensors` is sorted by name.
pub(super) fn drop_shared(checkpoint: &Checkpoint, tensors: &mut Vec<Named>) -> BTreeMap<TensorName, TensorName> {
    let mut kept = HashMap::new();
    let mut aliases = BTreeMap::new();
    tensors.retain(|named| {
        let tensor = checkpoint.tensor(named.tensor);
        // As in the reference, tensors without elements share nothing.
        if tensor.view.n_elements() == 0 {
            return true;
        }
        match kept.entry(tensor.identity()) {
            Entry::Vacant(first) => {
                first.insert(named.name.clone());
                true
            }
            Entry::Occupied(first) => {
                aliases.insert(named.name.clone(), first.get().clone());
                false
            }
        }
    });
    aliases
}
