//! Whether the files of a set hold the tensors that its index lists.

use std::collections::HashSet;

use super::{Checkpoint, values_of};
use crate::error::Result;
use crate::finding::{Finding, capped};
use crate::index::{Comparison, ShardIndex};
use crate::limits::Limits;
use crate::names::{Name, PathId};
use crate::place::Place;

impl Checkpoint {
    /// Compares what was read of the files of a set with their index: what it says otherwise is found.
    ///
    /// # Errors
    /// `set-incomplete` for names that are in no file, `name-collision` for one that is in two.
    pub(crate) fn compare_with(&self, index: &ShardIndex, limits: &Limits) -> Result<Vec<Finding>> {
        let graph = &self.document.graph;
        let mut names: Vec<(Name, &str)> = Vec::new();
        for leaf in &self.leaves {
            let file = self.paths.first_step(leaf.path).map_or("", |step| &*step.name);
            // What cannot be named is told when it is chosen.
            if let Ok(name) = self.paths.name_below(PathId::ROOT, leaf.path, limits) {
                names.push((name, file));
            }
        }
        let files = graph.attached(graph.root());
        let others: HashSet<Name> = files.iter().flat_map(|(_, root)| values_of(graph, *root).map(|(step, _)| step.name)).collect();
        let mut compared = Comparison::default();
        for (name, file) in &names {
            compared.see(name, file)?;
        }
        let differences = compared.finish(index, |name| others.contains(&Name::from(name.to_owned())))?;
        let note = |message| Finding::note("index-differs", Place::start_of(""), message);
        Ok(capped(differences.into_iter().map(note)))
    }
}
