//! The names under which tensors are written, each once, and those that are one and the same tensor.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use crate::checkpoint::{Checkpoint, Content, Leaf};
use crate::error::{self, Error, Result};
use crate::globals::TensorId;
use crate::limits::Limits;
use crate::names::{Name, TensorName};
use crate::select::Named;

/// The tensors chosen so far, each name once.
pub(super) struct Chosen<'a> {
    renames: &'a [(String, String)],
    used: Vec<bool>,
    tensors: Vec<Named>,
    /// Their numbers by their names.
    by_name: HashTable<u32>,
    hasher: RandomState,
}

impl<'a> Chosen<'a> {
    /// For about as many tensors.
    pub fn new(renames: &'a [(String, String)], tensors: usize) -> Chosen<'a> {
        let (by_name, hasher) = (HashTable::with_capacity(tensors), RandomState::new());
        Chosen { renames, used: vec![false; renames.len()], tensors: Vec::new(), by_name, hasher }
    }

    /// Adds a tensor under its name, or the name that was asked for instead, which is returned.
    ///
    /// # Errors
    /// `name-collision` and `name-invalid`
    pub fn add(&mut self, checkpoint: &Checkpoint, name: Name, leaf: &Leaf, tensor: TensorId, limits: &Limits) -> Result<TensorName> {
        let shown = |leaf: &Leaf| checkpoint.paths.show(leaf.path) + leaf.part();
        let renamed = self.renames.iter().position(|(old, _)| *old == *name || *old == shown(leaf));
        let name = match renamed {
            Some(i) => {
                self.used[i] = true;
                self.renames[i].1.clone().into()
            }
            None => name,
        };
        let name = TensorName::new(name, &|| shown(leaf), limits)?;
        let Chosen { tensors, by_name, hasher, .. } = self;
        let hash = |name: &TensorName| hasher.hash_one(name.as_str());
        match by_name.find(hash(&name), |&number| tensors[number as usize].name == name).map(|&number| &tensors[number as usize]) {
            // Objects that are dicts and have their items as attributes too hold one tensor in both places.
            Some(taken) if taken.tensor == tensor => return Ok(name),
            Some(taken) => {
                let is_it = |leaf: &&Leaf| leaf.path == taken.path && matches!(leaf.content, Content::Tensor(id) if id == taken.tensor);
                let other = checkpoint.leaves.iter().find(is_it).map(shown).unwrap_or_default();
                return Err(error::collision(name.as_str(), &other, &shown(leaf)));
            }
            None => {}
        }
        let number = tensors.len() as u32; // as many as the limit on tensors allows
        tensors.push(Named { name: name.clone(), tensor, path: leaf.path });
        by_name.insert_unique(hash(&name), number, |&number| hash(&tensors[number as usize].name));
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
pub(super) fn drop_shared(checkpoint: &Checkpoint, tensors: &mut Vec<Named>) -> Vec<(TensorName, TensorName)> {
    let mut first: HashMap<_, u32> = HashMap::with_capacity(tensors.len());
    let mut aliases = Vec::new();
    let mut kept: Vec<Named> = Vec::with_capacity(tensors.len());
    for named in std::mem::take(tensors) {
        let tensor = checkpoint.tensor(named.tensor);
        // As in the reference, tensors without elements share nothing.
        if tensor.view.n_elements() > 0 {
            let number = kept.len() as u32; // as many as the limit on tensors allows
            let same = *first.entry(tensor.identity()).or_insert(number);
            if same != number {
                aliases.push((named.name, kept[same as usize].name.clone()));
                continue;
            }
        }
        kept.push(named);
    }
    *tensors = kept;
    aliases
}
