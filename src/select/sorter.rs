//! Each leaf of a checkpoint has one place: written, written as parts, left out with a reason, or outside the root.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::checkpoint::{Checkpoint, Content, Leaf};
use crate::error::{Error, Result};
use crate::globals::TensorId;
use crate::limits::ReadOptions;
use crate::names::{Name, PathId};
use crate::select::chosen::Chosen;
use crate::select::globs::Globs;
use crate::select::lowered::Collector;
use crate::select::outside::OutsideParts;
use crate::select::{LeftOut, Lower, Lowered, Named, Outside, Purpose, Selection};

/// A row of what is written or left out, and its places in tables.
const NAME_BYTES: u64 = 160;

const EXCLUDED: &str = "it was excluded on request";

/// What the leaves have been sorted into so far.
pub(super) struct Sorter<'a> {
    checkpoint: &'a Checkpoint,
    options: &'a ReadOptions,
    purpose: Purpose,
    lower: Lower,
    root: PathId,
    /// The number of steps to the root.
    depth: usize,
    globs: Globs,
    chosen: Chosen<'a>,
    lowered: Collector,
    left_out: Vec<LeftOut>,
    outside: OutsideParts,
    /// Tensors in several parts that stand aside.
    aside: HashSet<PathId>,
    /// Tensors in several parts that are left out whole.
    excluded: HashSet<PathId>,
    /// Bytes of all names inside the root.
    name_bytes: u64,
}

/// Everything in its place.
pub(super) struct Sorted {
    /// Sorted by name.
    pub tensors: Vec<Named>,
    pub lowered: Vec<Lowered>,
    pub left_out: Vec<LeftOut>,
    pub outside: Vec<Outside>,
}

/// The names of a leaf.
struct Names {
    own: Name,
    /// That of the tensor in several parts of which it is one.
    whole: Option<Name>,
}

impl Names {
    fn whole(&self) -> &Name {
        self.whole.as_ref().unwrap_or(&self.own)
    }
}

impl<'a> Sorter<'a> {
    /// # Errors
    /// `usage` for a pattern that is no glob.
    pub fn new(
        selection: &'a Selection,
        checkpoint: &'a Checkpoint,
        options: &'a ReadOptions,
        purpose: Purpose,
        root: PathId,
    ) -> Result<Sorter<'a>> {
        Ok(Sorter {
            checkpoint,
            options,
            purpose,
            lower: selection.lower,
            root,
            depth: checkpoint.paths.ids(root).len(),
            globs: Globs::new(&selection.include, &selection.exclude)?,
            chosen: Chosen::new(&selection.rename, checkpoint.leaves.len()),
            lowered: Collector::default(),
            left_out: Vec::new(),
            outside: OutsideParts::default(),
            aside: HashSet::new(),
            excluded: HashSet::new(),
            name_bytes: 0,
        })
    }

    /// Puts a leaf in its place.
    ///
    /// # Errors
    /// `name-collision`, `name-invalid`, `limit-exceeded`, and the error of an unsupported tensor that was not left out.
    pub fn sort(&mut self, leaf: &Leaf) -> Result<()> {
        let ids = self.checkpoint.paths.ids(leaf.path);
        if self.depth > 0 && ids.get(self.depth - 1) != Some(&self.root) {
            self.outside.count(self.checkpoint, leaf, &ids, self.root);
            return Ok(());
        }
        let names = self.names(leaf)?;
        match (&leaf.content, leaf.aside()) {
            (Content::Absent(absence), _) => self.leave(leaf, &names.own, absence.reason.clone()),
            // Of a lowered tensor that stands aside its name is listed, once.
            (_, Some(reason)) if leaf.lowering().is_some() => {
                if self.aside.insert(leaf.path) {
                    self.leave(leaf, names.whole(), reason.reason());
                }
            }
            (_, Some(reason)) => self.leave(leaf, &names.own, reason.reason()),
            (_, None) if self.exclude(leaf, &ids, &names) => {}
            (Content::Wrapper, None) => self.lowered.open(leaf, &names.own),
            (Content::Unsupported(error), None) if self.purpose == Purpose::Inspect => {
                self.leave(leaf, &names.own, error.message().to_owned());
            }
            (Content::Unsupported(error), None) => {
                let name = crate::text::quoted(&names.own, 200);
                return Err(Error::clone(error).help(format!("leave it out with --exclude {name} to convert the rest")));
            }
            (Content::Tensor(id), None) => self.take(leaf, *id, &ids, &names)?,
        }
        Ok(())
    }

    /// # Errors
    /// As [`Sorter::sort`].
    fn names(&mut self, leaf: &Leaf) -> Result<Names> {
        let paths = &self.checkpoint.paths;
        let name = match (paths.name_below(self.root, leaf.path, &self.options.limits), &leaf.content, leaf.aside()) {
            (Ok(name), ..) => name,
            // Without data or aside from the model, a name is only for the list.
            (Err(_), Content::Absent(_), _) | (Err(_), _, Some(_)) => paths.show(leaf.path).into(),
            (Err(error), ..) => return Err(error),
        };
        let bare = leaf.path == self.root && leaf.lowering().is_some_and(|lowering| lowering.is_like_a_dict());
        let whole = leaf.lowering().is_some().then(|| if bare { "tensor".into() } else { name.clone() });
        let own = match leaf.part() {
            part if bare => part.strip_prefix('.').unwrap_or(part).to_owned().into(),
            "" => name,
            part => format!("{name}{part}").into(),
        };
        // Names share storage in the file, not in the output; what no header could hold is not built up here.
        self.name_bytes += own.len() as u64;
        self.options.limits.header_bytes(self.name_bytes)?;
        self.options.debit(NAME_BYTES + own.memory())?;
        Ok(Names { own, whole })
    }

    /// Leaves out what is not wanted; whether that is so. A tensor in several parts may be left out by its own name, too.
    fn exclude(&mut self, leaf: &Leaf, ids: &[PathId], names: &Names) -> bool {
        if matches!(leaf.content, Content::Wrapper) {
            let forbidden = self.globs.forbids(&names.own);
            if forbidden {
                self.excluded.insert(leaf.path);
                self.leave(leaf, &names.own, EXCLUDED);
            }
            return forbidden;
        }
        if !self.excluded.is_empty() && std::iter::once(&PathId::ROOT).chain(ids).any(|id| self.excluded.contains(id)) {
            return true;
        }
        if leaf.lowering().is_some() && self.globs.forbids(names.whole()) {
            self.excluded.insert(leaf.path);
            self.leave(leaf, names.whole(), EXCLUDED);
            return true;
        }
        let excluded = self.globs.excludes(&names.own);
        if excluded {
            self.leave(leaf, &names.own, EXCLUDED);
        }
        excluded
    }

    fn take(&mut self, leaf: &Leaf, id: TensorId, ids: &[PathId], names: &Names) -> Result<()> {
        if self.lower == Lower::Refuse && self.purpose == Purpose::Convert {
            self.lowered.refuse(self.checkpoint, leaf, id, ids, names.whole())?;
        }
        let written = self.chosen.add(self.checkpoint, names.own.clone(), leaf, id, &self.options.limits)?;
        self.lowered.add(self.checkpoint, leaf, id, ids, names.whole(), &written);
        Ok(())
    }

    fn leave(&mut self, leaf: &Leaf, name: &Name, reason: impl Into<Cow<'static, str>>) {
        self.left_out.push(left(self.checkpoint, leaf, name.clone(), reason.into()));
    }

    /// # Errors
    /// `usage` when a renamed name does not exist.
    pub fn finish(mut self) -> Result<Sorted> {
        let tensors = self.chosen.finish()?;
        // What is written under a name of the model is not lost by being an attribute elsewhere too.
        let written: HashSet<TensorId> = tensors.iter().map(|named| named.tensor).collect();
        self.left_out.retain(|left| left.aside.is_none_or(|id| !written.contains(&id)));
        Ok(Sorted { tensors, lowered: self.lowered.finish(), left_out: self.left_out, outside: self.outside.parts })
    }
}

fn left(checkpoint: &Checkpoint, leaf: &Leaf, name: Name, reason: Cow<'static, str>) -> LeftOut {
    let (dtype, shape) = match &leaf.content {
        Content::Absent(absence) => (absence.dtype.clone(), absence.shape.clone()),
        Content::Tensor(id) => {
            let tensor = checkpoint.tensor(*id);
            (Some(tensor.dtype.name().to_owned()), Some(tensor.view.signed_shape()))
        }
        Content::Unsupported(_) | Content::Wrapper => (None, None),
    };
    let aside = match (&leaf.content, leaf.aside()) {
        (Content::Tensor(id), Some(_)) => Some(*id),
        _ => None,
    };
    LeftOut { name, path: leaf.path, dtype, shape, reason, aside }
}
