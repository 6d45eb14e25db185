//! What can be a key of a dict or an item of a set: Python raises for a list, a dict, a set and a bytearray.

use crate::error::Result;
use crate::pickle::graph::{Graph, Node, NodeId};
use crate::pickle::machine::malformed;

/// Tuples in one another that are looked into; shared ones can nest without end.
const MAX_DEPTH: usize = 16;

/// Checks keys, or items of a set.
///
/// # Errors
/// `pickle-malformed` for one that has no hash.
pub(super) fn check(graph: &Graph, keys: impl Iterator<Item = NodeId>) -> Result<()> {
    for key in keys {
        let mut inner = key;
        for _ in 0..MAX_DEPTH {
            match graph.node(inner) {
                Node::Tuple(parts) => match parts.iter().find(|part| is_tuple(graph, **part) || has_no_hash(graph, **part)) {
                    Some(part) => inner = *part,
                    None => break,
                },
                node if has_no_hash(graph, inner) => return Err(malformed(format!("{} is used as a key", node.kind()))),
                _ => break,
            }
        }
    }
    Ok(())
}

fn is_tuple(graph: &Graph, id: NodeId) -> bool {
    matches!(graph.node(id), Node::Tuple(_))
}

fn has_no_hash(graph: &Graph, id: NodeId) -> bool {
    matches!(graph.node(id), Node::List(_) | Node::Dict(_) | Node::Set(_) | Node::ByteArray(_))
}
