//! What can be a key of a dict or an item of a set: Python raises for a list, a dict, a set and a bytearray, and for a tuple with one
//! of them in it.

use foldhash::HashSet;

use crate::error::Result;
use crate::pickle::graph::Graph;
use crate::pickle::machine::malformed;
use crate::pickle::node::{Node, NodeId};

/// The tuples that have no hash. A tuple has all its items from the start, so that each is looked at once, when it is made.
#[derive(Default)]
pub(super) struct Unhashable(HashSet<NodeId>);

impl Unhashable {
    /// Whether a tuple of these items has no hash.
    pub fn has(&self, graph: &Graph, items: &[NodeId]) -> bool {
        items.iter().any(|&item| self.holds(graph, item))
    }

    /// Notes a tuple that has none.
    pub fn insert(&mut self, tuple: NodeId) {
        self.0.insert(tuple);
    }

    fn holds(&self, graph: &Graph, id: NodeId) -> bool {
        match graph.node(id) {
            Node::List(_) | Node::Dict(_) | Node::Set(_) | Node::ByteArray(_) => true,
            Node::Tuple(_) => self.0.contains(&id),
            _ => false,
        }
    }

    /// Checks keys, or items of a set.
    ///
    /// # Errors
    /// `pickle-malformed` for one that has no hash.
    pub fn check(&self, graph: &Graph, mut keys: impl Iterator<Item = NodeId>) -> Result<()> {
        match keys.find(|&key| self.holds(graph, key)) {
            Some(key) => Err(malformed(format!("{} is used as a key", graph.node(key).kind()))),
            None => Ok(()),
        }
    }
}
