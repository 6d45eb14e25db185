//! What is in a container: the way to it, and whether it counts as part of the model.

use crate::names::{Step, StepKind};
use crate::pickle::{Graph, NodeId};

/// Something in a container, in 20 bytes; the step to it is made when it is taken.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub way: Way,
    pub node: NodeId,
    pub aside: Option<Aside>,
}

/// How one comes from a container to something in it.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// The value of this key.
    Key(NodeId),
    /// The attribute of this name.
    Attribute(NodeId),
    /// The parameter, buffer or submodule of this name.
    Module(NodeId),
    Index(u32),
    /// What a container has beside the pickle: the number among what is attached to this node.
    Attached(NodeId, u32),
    /// The key with this number, itself.
    KeyItself(u32),
    /// The argument with this number.
    Argument(u32),
    /// A part of a call or of an object.
    Part(Part),
}

/// The parts of a call or of an object.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    /// All arguments of a call.
    Args,
    /// Its keyword arguments.
    Kwargs,
    /// What is called.
    Callable,
    /// A state that is not made of attributes.
    State,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Args => "__args__",
            Part::Kwargs => "__kwargs__",
            Part::Callable => "__callable__",
            Part::State => "__state__",
        }
    }
}

/// Why something is no part of the model although it has data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aside {
    /// An attribute that `state_dict()` does not give.
    Attribute,
    /// A buffer that it does not give.
    NonPersistent,
    /// An attribute of another tensor.
    OfATensor,
}

impl Aside {
    /// The reason, for a record.
    pub fn reason(self) -> &'static str {
        match self {
            Aside::Attribute => "it is an attribute of a module and not in its state_dict()",
            Aside::NonPersistent => "it is a non-persistent buffer of a module and not in its state_dict()",
            Aside::OfATensor => "it is an attribute of another tensor",
        }
    }
}

const _: () = assert!(size_of::<Entry>() == 20);

impl Entry {
    pub fn new(way: Way, node: NodeId) -> Self {
        Entry { way, node, aside: None }
    }

    /// The step to it.
    pub fn step(&self, graph: &Graph) -> Step {
        match self.way {
            Way::Key(key) => Step::key(graph, key),
            Way::Attribute(key) => Step::key(graph, key).of_kind(StepKind::Attribute),
            Way::Module(key) => Step::key(graph, key).of_kind(StepKind::Module),
            Way::Index(index) => Step::new(StepKind::Index, index.to_string()),
            Way::Attached(node, number) => {
                let name = graph.attached(node).get(number as usize).map(|(name, _)| name.as_str()).unwrap_or_default();
                Step::new(StepKind::Key, name.to_owned())
            }
            Way::KeyItself(number) => Step::new(StepKind::Attribute, format!("__keys__.{number}")),
            Way::Argument(number) => Step::new(StepKind::Attribute, format!("{}.{number}", Part::Args.name())),
            Way::Part(part) => Step::new(StepKind::Attribute, part.name()),
        }
    }
}
