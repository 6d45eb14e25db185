//! Which tensors of a checkpoint are written, and under which names. What is not chosen is listed with the reason.

mod chosen;
mod globs;
mod lowered;
mod outside;
mod root;
mod sorter;

use std::borrow::Cow;
use std::sync::Arc;

use crate::checkpoint::Checkpoint;
use crate::container::Kind;
use crate::error::{Code, Error, Result};
use crate::finding::{Finding, capped};
use crate::globals::{Lowering, TensorId};
use crate::limits::ReadOptions;
use crate::names::{Name, PathId, TensorName, confusable_pairs};
use crate::place::Place;
use crate::select::sorter::{Sorted, Sorter};

pub(crate) use globs::Globs;

/// What to take from a checkpoint.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Selection {
    /// Where the tensors are.
    pub root: Root,
    /// What happens to tensors that are one and the same under several names.
    pub shared: Shared,
    /// Globs of names; when there are any, only names that match one are taken.
    pub include: Vec<String>,
    /// Globs of names that are left out.
    pub exclude: Vec<String>,
    /// What happens to tensors that safetensors cannot hold as they are.
    pub lower: Lower,
    /// `(OLD, NEW)` names; OLD may also be a path as messages show it.
    pub rename: Vec<(String, String)>,
}

/// Where in the checkpoint the tensors are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Root {
    /// The whole checkpoint if it is a state dict; else the state dict under a well-known key.
    #[default]
    Auto,
    /// Everything.
    Whole,
    /// The part with this dotted name.
    Path(String),
}

/// What happens to tensors that are one and the same under several names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Shared {
    /// One name is kept, the alphabetically first; the others are recorded.
    #[default]
    Drop,
    /// Every name gets a copy.
    Copy,
}

/// What happens to tensors that safetensors cannot hold as they are: quantized, sparse, nested, structured ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lower {
    /// They are written as the plain tensors that they are made of, and recorded.
    #[default]
    Plain,
    /// One that is not left out is an error.
    Refuse,
}

/// What a selection is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To write: there must be tensors, and each of them must be one that can be written.
    Convert,
    /// To show: what cannot be written is listed.
    Inspect,
}

/// The result of a selection.
#[derive(Debug)]
pub(crate) struct Selected {
    /// The dotted name of the root; `.` for the whole checkpoint.
    pub root_name: String,
    /// What is written, sorted by name.
    pub tensors: Vec<Named>,
    /// Names that are the same tensor as another one, dropped name and kept name, sorted.
    pub aliases: Vec<(TensorName, TensorName)>,
    /// What is not written as it was.
    pub lowered: Vec<Lowered>,
    /// What is left out of the root, in the order of the file.
    pub left_out: Vec<LeftOut>,
    /// What is outside the root, by its first step.
    pub outside: Vec<Outside>,
}

/// A tensor under its name in the output.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub name: TensorName,
    pub tensor: TensorId,
    pub path: PathId,
}

/// A tensor that is written as others.
#[derive(Debug, Clone)]
pub(crate) struct Lowered {
    /// The name that it would have.
    pub name: Name,
    pub lowering: Arc<Lowering>,
    /// What is written of it.
    pub parts: Vec<TensorName>,
}

/// A tensor that is not written, and why.
#[derive(Debug, Clone)]
pub(crate) struct LeftOut {
    pub name: Name,
    pub path: PathId,
    pub dtype: Option<String>,
    pub shape: Option<Vec<i64>>,
    pub reason: Cow<'static, str>,
    /// The tensor, when it has data and only stands aside from the model.
    aside: Option<TensorId>,
}

/// Tensors outside the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outside {
    /// The dotted name of their part of the checkpoint.
    pub name: String,
    pub tensors: u64,
    pub bytes: u64,
}

impl Selected {
    /// Names of the output that look alike, as findings.
    pub(crate) fn confusable(&self) -> Vec<Finding> {
        let pairs = confusable_pairs(self.tensors.iter().map(|named| named.name.as_str()));
        let finding = |(first, second)| {
            let message = format!("the names {} and {} look alike and are two", escaped(first), escaped(second));
            Finding::note("confusable-names", Place::start_of(""), message)
        };
        capped(pairs.into_iter().map(finding))
    }
}

/// A name in which every letter beyond ASCII is written as its number.
fn escaped(name: &str) -> String {
    format!("\"{}\"", name.escape_default())
}

impl Selection {
    /// Applies the selection to a checkpoint.
    ///
    /// # Errors
    /// `no-tensors` when nothing is left to write; `name-collision` and `name-invalid`; the error of an unsupported
    /// tensor that was not left out; `usage` when the root or a renamed name does not exist.
    pub(crate) fn apply(&self, checkpoint: &Checkpoint, options: &ReadOptions, purpose: Purpose) -> Result<Selected> {
        let root = root::find(&self.root, checkpoint)?;
        let mut sorter = Sorter::new(self, checkpoint, options, purpose, root)?;
        for leaf in &checkpoint.leaves {
            sorter.sort(leaf)?;
        }
        let Sorted { mut tensors, lowered, left_out, outside } = sorter.finish()?;
        let root_name = if root == PathId::ROOT {
            ".".to_owned()
        } else {
            checkpoint.paths.name_below(PathId::ROOT, root, &options.limits)?.to_string()
        };
        if tensors.is_empty() && purpose == Purpose::Convert {
            return Err(no_tensors(checkpoint, &left_out, &outside, &root_name));
        }
        let aliases = match self.shared {
            Shared::Copy => Vec::new(),
            Shared::Drop => chosen::drop_shared(checkpoint, &mut tensors),
        };
        Ok(Selected { root_name, tensors, aliases, lowered, left_out, outside })
    }
}

fn no_tensors(checkpoint: &Checkpoint, left_out: &[LeftOut], outside: &[Outside], root_name: &str) -> Error {
    let error = |message: String| Error::new(Code::NoTensors, message);
    if let Some(first) = left_out.first() {
        let n = crate::text::count(left_out.len() as u64, "value");
        return error(format!(
            "there are no tensors to write: {n} left out, the first, {}, because {}",
            crate::text::quoted(&first.name, 100),
            first.reason
        ));
    }
    if let Some(part) = outside.first() {
        return error(format!("there are no tensors under {}", crate::text::quoted(root_name, 100)))
            .help(format!("there are some under {}; --root . takes everything", crate::text::quoted(&part.name, 100)));
    }
    if checkpoint.leaves.is_empty() && matches!(checkpoint.document.kind, Kind::Npy | Kind::Npz) {
        let message = "the file holds an array of Python objects, and none of them is a tensor";
        return Error::new(Code::ObjectArray, message).help("have its author save the numbers in arrays of their own");
    }
    error(format!("the file holds no tensors: it is {}", checkpoint.root_is))
        .help("there is nothing to convert; --extras writes what it holds as JSON when there are tensors too")
}
