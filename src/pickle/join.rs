//! Graphs of several pickles: one takes over the nodes of another, and a container says what stands where.

use std::collections::HashSet;

use ::bytes::Bytes;

use crate::error::{self, Result};
use crate::pickle::graph::{Graph, Stream};
use crate::pickle::node::{Blob, GlobalId, Node, NodeId};
use crate::place::Place;

impl Graph {
    /// A graph of values that a container holds itself: without keys one value, else a dict. The values, which stand at
    /// `start`, are returned in the order of the keys.
    ///
    /// # Errors
    /// `name-collision` when two keys are equal: a dict would keep only one of the values.
    pub fn given(start: &Place, keys: Option<&[String]>) -> Result<(Graph, Vec<NodeId>)> {
        let mut graph = Graph::of(Stream::new(Bytes::new(), start.clone()));
        let Some(keys) = keys else {
            let value = graph.add(Node::Given)?;
            graph.root = value;
            return Ok((graph, vec![value]));
        };
        let mut seen = HashSet::new();
        if let Some(twice) = keys.iter().find(|key| !seen.insert(key.as_str())) {
            return Err(error::members_collide(twice));
        }
        let mut pairs = Vec::new();
        for key in keys {
            let offset = graph.streams[0].unescaped.len() as u64;
            let blob = Blob { unescaped: true, stream: 0, offset, len: key.len() as u64 };
            graph.streams[0].unescaped.extend_from_slice(key.as_bytes());
            pairs.push((graph.add(Node::Text(blob))?, graph.add(Node::Given)?));
        }
        let values = pairs.iter().map(|(_, value)| *value).collect();
        graph.root = graph.add(Node::Dict(&pairs))?;
        Ok((graph, values))
    }

    /// A graph of one value, in the place of one that is no longer needed.
    pub(crate) fn nothing() -> Graph {
        let mut graph = Graph::of(Stream::new(Bytes::new(), Place::start_of("")));
        if let Ok(root) = graph.add(Node::None) {
            graph.root = root;
        }
        graph
    }

    fn add(&mut self, node: Node<'_>) -> Result<NodeId> {
        self.nodes.push(node, 0, &mut 0)
    }

    /// Takes over all nodes of `other` and returns its root.
    ///
    /// # Errors
    /// The limit on memory, when there are more nodes than can be counted.
    pub fn adopt(&mut self, other: Graph) -> Result<NodeId> {
        let nodes = self.nodes.len();
        let moved = |id: NodeId| id.moved(nodes);
        if self.global_ids.is_empty() {
            let named = self.globals.iter().zip(0..).map(|(global, i)| ((global.module.clone(), global.name.clone()), i));
            self.global_ids = named.collect();
        }
        let mut globals = Vec::with_capacity(other.globals.len());
        for global in other.globals {
            let next = self.globals.len() as u32; // no more than opcodes, which are limited
            let index = *self.global_ids.entry((global.module.clone(), global.name.clone())).or_insert(next);
            match self.globals.get_mut(index as usize) {
                Some(same) => same.mentions += global.mentions,
                None => self.globals.push(global),
            }
            globals.push(GlobalId(index));
        }
        self.nodes.adopt(other.nodes, &globals)?;
        self.changes.extend(other.changes.into_iter().map(|(id, offset)| (moved(id), offset)));
        self.links.extend(other.links.into_iter().map(|(from, to)| (moved(from), moved(to))));
        let attached = other.attached.into_iter();
        self.attached
            .extend(attached.map(|(id, given)| (moved(id), given.into_iter().map(|(name, value)| (name, moved(value))).collect())));
        self.streams.extend(other.streams.into_iter().map(|stream| Stream { first_node: stream.first_node + nodes as u32, ..stream }));
        self.oddities.extend(other.oddities);
        self.memory = self.memory.saturating_add(other.memory);
        Ok(moved(other.root))
    }

    /// Gives a value one more entry, which its container has beside the pickle. It stands beside those of the value, also
    /// beside one of the same name.
    pub fn attach(&mut self, target: NodeId, name: &str, value: NodeId) {
        self.attached.entry(target).or_default().push((name.to_owned(), value));
    }

    /// The entries that a container gives a value.
    pub fn attached(&self, id: NodeId) -> &[(String, NodeId)] {
        self.attached.get(&id).map(Vec::as_slice).unwrap_or_default()
    }

    /// Says that `place` is only where `value` stands.
    pub fn link(&mut self, place: NodeId, value: NodeId) {
        self.links.insert(place, value);
    }

    /// The node that this one only is the place of.
    pub fn linked(&self, id: NodeId) -> Option<NodeId> {
        self.links.get(&id).copied()
    }
}
