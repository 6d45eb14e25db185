//! Graphs of several pickles: one takes over the nodes of another, and a container says what stands where.

use std::collections::HashSet;

use ::bytes::Bytes;

use crate::error::{self, Result};
use crate::pickle::graph::{Blob, GlobalId, Graph, MAX_STREAMS, Node, NodeId, Object, Stream};
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
            let value = graph.add(Node::Given);
            graph.root = value;
            return Ok((graph, vec![value]));
        };
        let mut seen = HashSet::new();
        if let Some(twice) = keys.iter().find(|key| !seen.insert(key.as_str())) {
            return Err(error::members_collide(twice));
        }
        let mut pairs = Vec::new();
        for key in keys {
            let blob = Blob::unescaped(graph.streams[0].unescaped.len() as u64, key.len() as u64);
            graph.streams[0].unescaped.extend_from_slice(key.as_bytes());
            pairs.push((graph.add(Node::Text(blob)), graph.add(Node::Given)));
        }
        let values = pairs.iter().map(|(_, value)| *value).collect();
        graph.root = graph.add(Node::Dict(pairs));
        Ok((graph, values))
    }

    fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.offsets.push(0);
        NodeId((self.nodes.len() - 1) as u32) // as many as an archive has members
    }

    /// Takes over all nodes of `other` and returns its root.
    ///
    /// # Errors
    /// The limit on memory, when there are more nodes or streams than can be counted.
    pub fn adopt(&mut self, other: Graph) -> Result<NodeId> {
        let (nodes, streams) = (self.nodes.len(), self.streams.len());
        let too_many = nodes + other.nodes.len() > u32::MAX as usize || streams + other.streams.len() > MAX_STREAMS;
        if too_many {
            return Err(error::limit("memory-bytes", "more nodes or pickles than can be counted", u32::MAX.into()));
        }
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
        for node in other.nodes {
            self.nodes.push(node.moved(moved, streams, &globals));
        }
        self.offsets.extend(other.offsets);
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

impl Node {
    /// The same node in another graph: every id, blob and global renamed.
    fn moved(self, id: impl Fn(NodeId) -> NodeId, streams: usize, globals: &[GlobalId]) -> Node {
        let ids = |items: Vec<NodeId>| items.into_iter().map(&id).collect::<Vec<_>>();
        let pairs = |items: Vec<(NodeId, NodeId)>| items.into_iter().map(|(k, v)| (id(k), id(v))).collect::<Vec<_>>();
        match self {
            Node::None | Node::Bool(_) | Node::Int(_) | Node::Float(_) | Node::Given => self,
            Node::Long(blob) => Node::Long(blob.moved(streams)),
            Node::LongText(blob) => Node::LongText(blob.moved(streams)),
            Node::Bytes(blob) => Node::Bytes(blob.moved(streams)),
            Node::ByteArray(blob) => Node::ByteArray(blob.moved(streams)),
            Node::Text(blob) => Node::Text(blob.moved(streams)),
            Node::Str(blob) => Node::Str(blob.moved(streams)),
            Node::Tuple(items) => Node::Tuple(ids(items)),
            Node::List(items) => Node::List(ids(items)),
            Node::Set(items) => Node::Set(ids(items)),
            Node::FrozenSet(items) => Node::FrozenSet(ids(items)),
            Node::Dict(items) => Node::Dict(pairs(items)),
            Node::Global(global) => Node::Global(globals[global.0 as usize]),
            Node::Persistent(pid) => Node::Persistent(id(pid)),
            Node::Dynamic(module, name) => Node::Dynamic(id(module), id(name)),
            Node::Object(object) => Node::Object(Box::new(Object {
                origin: object.origin,
                callable: id(object.callable),
                args: id(object.args),
                kwargs: object.kwargs.map(&id),
                states: ids(object.states),
                items: pairs(object.items),
                appended: ids(object.appended),
            })),
        }
    }
}
