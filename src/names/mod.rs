//! From a place in the tree of the checkpoint to the name of a tensor, by written rules.
//!
//! The parts of a path are joined with `.`. A dict key gives: text as it is; a Python 2 string as UTF-8 where it is,
//! else as Latin-1; bytes as Latin-1; an int in decimal; a bool or `None` by its word; a float as Python's `repr`; a
//! tuple its items joined with `.`; a class its `module.name`. Lists, tuples and sets give the index, objects the
//! attribute. Other keys, and text that is not Unicode, have no name.

mod confusable;
mod integer;
mod key;
mod name;
mod paths;

use std::fmt;

use crate::error::{self, Result};
use crate::pickle::{Graph, NodeId};

pub(crate) use confusable::pairs as confusable_pairs;
pub(crate) use integer::integer;
pub(crate) use key::{Identity, float_repr, identity, unique_pairs};
pub use name::Name;
pub use paths::{PathId, Paths};

/// A name that safetensors can carry: never `__metadata__`, and within the limit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorName(Name);

/// The name that safetensors keeps for itself.
const RESERVED: &str = "__metadata__";

impl TensorName {
    /// Checks a name; `path` is what it was made from, for the message.
    ///
    /// # Errors
    /// `name-invalid` for `__metadata__`; the limit on the length of a name.
    pub fn new(name: Name, path: &dyn Fn() -> String, limits: &crate::Limits) -> Result<Self> {
        if &*name == RESERVED {
            let error = error::name_invalid(&path(), "safetensors keeps the name \"__metadata__\" for itself");
            return Err(error.help("give it another one with --rename __metadata__=NEW"));
        }
        limits.name_bytes(name.len() as u64)?;
        Ok(TensorName(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TensorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a key gives no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unnameable {
    /// It cannot be part of a name, for this reason.
    Invalid(&'static str),
    /// It is an object: only running what makes it would tell its name.
    Object,
    /// It is longer than any name may be.
    TooLong,
}

/// One step from a container to something in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Step {
    /// The part of the tensor's name.
    pub name: Name,
    /// What kind of step it is.
    pub kind: StepKind,
    /// What few steps have.
    unusual: Option<Box<Unusual>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Unusual {
    /// For tuple keys, how Python would write them.
    shown: Option<String>,
    /// Why no name can be made of it.
    problem: Option<Unnameable>,
}

/// The kinds of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StepKind {
    /// A file of a set, which is no part of a name.
    File,
    /// A dict key that is text.
    Key,
    /// A dict key that is something else.
    OtherKey,
    /// A position in a list, tuple or set.
    Index,
    /// An attribute of an object.
    Attribute,
    /// A parameter, buffer or submodule of an `nn.Module`.
    Module,
}

impl Step {
    pub(crate) fn new(kind: StepKind, name: impl Into<Name>) -> Self {
        Step { name: name.into(), kind, unusual: None }
    }

    /// The step to the value of a dict's key.
    pub(crate) fn key(graph: &Graph, key: NodeId) -> Self {
        if let Some(text) = graph.str_shared(key).filter(|text| text.len() <= key::MAX_BYTES).and_then(Name::of) {
            return Step::new(StepKind::Key, text);
        }
        let (mut name, mut problem) = key::name(graph, key, &mut key::MAX_PARTS.clone());
        if name.len() > key::MAX_BYTES {
            problem = problem.or(Some(Unnameable::TooLong));
            name = name.chars().take(80).collect();
        }
        let kind = if graph.text(key).is_some() { StepKind::Key } else { StepKind::OtherKey };
        let shown = graph.tuple(key).map(|_| key::repr(graph, key));
        let is_usual = problem.is_none() && shown.is_none();
        Step { unusual: (!is_usual).then(|| Box::new(Unusual { shown, problem })), ..Step::new(kind, name) }
    }

    pub(crate) fn of_kind(self, kind: StepKind) -> Self {
        Step { kind, ..self }
    }

    /// Why no name can be made of it.
    pub fn problem(&self) -> Option<Unnameable> {
        self.unusual.as_ref().and_then(|unusual| unusual.problem)
    }

    /// Bytes of memory that a path of it takes.
    pub(crate) fn memory(&self) -> u64 {
        size_of::<(PathId, Step)>() as u64 + self.name.memory()
    }
}

/// As Python would write the access: `["a"]`, `[0]`, `.weight`.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = || crate::text::printable(self.unusual.as_ref().and_then(|unusual| unusual.shown.as_deref()).unwrap_or(&self.name));
        match self.kind {
            StepKind::Key | StepKind::File => write!(f, "[{}]", crate::text::quoted(&self.name, 200)),
            StepKind::OtherKey | StepKind::Index => write!(f, "[{}]", shown()),
            StepKind::Attribute | StepKind::Module => write!(f, ".{}", shown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_no_name() {
        let path = || "x".to_owned();
        let limits = crate::Limits::default();
        let error = TensorName::new("__metadata__".into(), &path, &limits).unwrap_err();
        assert!(error.advice().unwrap().contains("--rename"));
        assert!(TensorName::new("a".repeat(5000).into(), &path, &limits).is_err());
        assert!(TensorName::new(Name::default(), &path, &limits).is_ok());
    }
}
