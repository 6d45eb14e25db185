//! What the nodes of a graph are, as far as they are more than inert: 13 bytes for a tensor, whatever other values need.

use foldhash::HashMap;

use crate::globals::value::{TensorId, Value};
use crate::pickle::NodeId;

/// The values of nodes.
#[derive(Debug, Default)]
pub(crate) struct Values {
    known: HashMap<NodeId, Known>,
    others: Vec<Value>,
}

#[derive(Debug, Clone, Copy)]
enum Known {
    Tensor(TensorId),
    Storage,
    StandsFor(NodeId),
    Other(u32),
}

/// The value of a node.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Seen<'a> {
    Tensor(TensorId),
    /// A part of a storage; which one is soon found out again.
    Storage,
    StandsFor(NodeId),
    Other(&'a Value),
}

impl Seen<'_> {
    /// The value itself, where it is kept.
    pub fn value(self) -> Option<Value> {
        match self {
            Seen::Tensor(id) => Some(Value::Tensor(id)),
            Seen::Storage => None,
            Seen::StandsFor(node) => Some(Value::StandsFor(node)),
            Seen::Other(value) => Some(value.clone()),
        }
    }

    /// Whether it is a tensor or was to be one, or a storage; what only leads to others is not.
    pub fn is_tensor(self) -> bool {
        !matches!(self, Seen::StandsFor(_) | Seen::Other(Value::ObjectArray { .. }))
    }
}

impl Values {
    /// Sets room aside for the values of `n` nodes.
    pub fn reserve(&mut self, n: usize) {
        let _ = self.known.try_reserve(n);
    }

    pub fn get(&self, id: NodeId) -> Option<Seen<'_>> {
        self.known.get(&id).map(|known| self.seen(*known))
    }

    fn seen(&self, known: Known) -> Seen<'_> {
        match known {
            Known::Tensor(id) => Seen::Tensor(id),
            Known::Storage => Seen::Storage,
            Known::StandsFor(node) => Seen::StandsFor(node),
            Known::Other(index) => Seen::Other(&self.others[index as usize]),
        }
    }

    /// Sets the value of a node that has none yet; false when it has one.
    pub fn insert_new(&mut self, id: NodeId, value: &Value) -> bool {
        let others = &mut self.others;
        let mut is_new = false;
        self.known.entry(id).or_insert_with(|| {
            is_new = true;
            known(others, value)
        });
        is_new
    }

    pub fn insert(&mut self, id: NodeId, value: &Value) {
        let known = known(&mut self.others, value);
        self.known.insert(id, known);
    }

    /// Leaves only what `keep` says, and no values that are no more than an argument of others.
    pub fn retain(&mut self, keep: impl Fn(NodeId) -> bool) {
        let others = &self.others;
        self.known.retain(|&id, known| {
            let argument =
                matches!(known, Known::Other(index) if matches!(others[*index as usize], Value::Bytes(..) | Value::NumpyDtype(_)));
            keep(id) && !argument
        });
    }

    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.known.keys().copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = Seen<'_>> {
        self.known.values().map(|known| self.seen(*known))
    }
}

/// What is kept of a value; a larger one goes to the others.
fn known(others: &mut Vec<Value>, value: &Value) -> Known {
    match value {
        Value::Tensor(tensor) => Known::Tensor(*tensor),
        Value::Storage(_) => Known::Storage,
        Value::StandsFor(node) => Known::StandsFor(*node),
        other => {
            others.push(other.clone());
            Known::Other(others.len() as u32 - 1) // at most one per node
        }
    }
}
