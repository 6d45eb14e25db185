//! Paths from the root of a checkpoint to its tensors.

use crate::error::{self, Result};
use crate::names::{Name, Step, StepKind, Unnameable};
use crate::room::reserve;

/// The paths of a tree, each a step from another one, so that a million of them share their beginnings.
#[derive(Debug, Clone)]
pub struct Paths {
    steps: Vec<(PathId, Step)>,
}

/// A path from the root of the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathId(u32);

impl PathId {
    /// The root itself.
    pub const ROOT: PathId = PathId(0);
}

impl Default for Paths {
    fn default() -> Self {
        Paths { steps: vec![(PathId::ROOT, Step::new(StepKind::Attribute, ""))] }
    }
}

impl Paths {
    /// Sets room aside for `n` more.
    pub(crate) fn reserve(&mut self, n: usize) {
        reserve(&mut self.steps, n);
    }

    pub(crate) fn push(&mut self, parent: PathId, step: Step) -> PathId {
        self.steps.push((parent, step));
        PathId((self.steps.len() - 1) as u32) // bounded by the limit on tensors and the depth of each
    }

    /// Forgets `path` and all that were made after it.
    pub(crate) fn forget_from(&mut self, path: PathId) {
        self.steps.truncate((path.0 as usize).max(1));
    }

    /// The steps from the root to `path`.
    pub fn steps(&self, path: PathId) -> Vec<&Step> {
        self.ids(path).into_iter().map(|id| &self.steps[id.0 as usize].1).collect()
    }

    /// The paths from the root (not included) to `path` (included).
    pub(crate) fn ids(&self, mut path: PathId) -> Vec<PathId> {
        let mut ids = Vec::new();
        while path != PathId::ROOT {
            ids.push(path);
            path = self.steps[path.0 as usize].0;
        }
        ids.reverse();
        ids
    }

    /// The first of the steps to `path`; none for the root.
    pub(crate) fn first_step(&self, mut path: PathId) -> Option<&Step> {
        let mut first = None;
        while path != PathId::ROOT {
            let (parent, step) = &self.steps[path.0 as usize];
            (path, first) = (*parent, Some(step));
        }
        first
    }

    /// The path as Python would write the access; `root` for the root.
    pub fn show(&self, path: PathId) -> String {
        let ids = self.ids(path);
        if ids.is_empty() { "root".to_owned() } else { ids.iter().map(|id| self.steps[id.0 as usize].1.to_string()).collect() }
    }

    /// The dotted name of `path` below the path `root`, or why there is none.
    ///
    /// # Errors
    /// `name-invalid` when a step has no name; the limit on the length of a name, before it is made.
    pub(crate) fn name_below(&self, root: PathId, path: PathId, limits: &crate::Limits) -> Result<Name> {
        let steps = self.steps(path);
        let skipped = self.ids(root).len().max(usize::from(steps.first().is_some_and(|step| step.kind == StepKind::File)));
        let below = &steps[skipped..];
        if let Some(problem) = below.iter().find_map(|step| step.problem()) {
            let shown = self.show(path);
            let error = match problem {
                Unnameable::Invalid(why) => error::name_invalid(&shown, why),
                Unnameable::Object => error::name_opaque(&shown),
                Unnameable::TooLong => error::limit("name-bytes", "a key of more than 64 KiB", limits.name_bytes),
            };
            return Err(error.help("leave it out with --root or --exclude"));
        }
        if below.is_empty() {
            return Ok("tensor".into());
        }
        if let [only] = below {
            limits.name_bytes(only.name.len() as u64)?;
            return Ok(only.name.clone());
        }
        let bytes: usize = below.iter().map(|step| step.name.len() + 1).sum();
        limits.name_bytes(bytes as u64 - 1)?;
        Ok(below.iter().map(|step| &*step.name).collect::<Vec<_>>().join(".").into())
    }
}
