//! The nodes of a graph, 16 bytes each: a checkpoint of 200,000 tensors has two million of them. What a tuple holds stands in one
//! array; a list, a dict or an object that grows has a vector of its own from its first item on.

use foldhash::HashMap;

use crate::error::{self, Result};
use crate::pickle::node::{Blob, GlobalId, Node, NodeId, Object, Origin};
use crate::room::reserve;

/// One node without the offset of its opcode. Numbers stand in halves, so that it is not aligned to 8 bytes.
#[derive(Debug, Clone, Copy)]
enum Packed {
    None,
    Bool(bool),
    Int([u32; 2]),
    Float([u32; 2]),
    Long(Run),
    LongText(Run),
    Bytes(Run),
    ByteArray(Run),
    Text(Run),
    Str(Run),
    Tuple { first: u32, len: u32 },
    FrozenSet { first: u32, len: u32 },
    List(Slot),
    Set(Slot),
    Dict(Slot),
    Global(GlobalId),
    Persistent(NodeId),
    Dynamic(NodeId, NodeId),
    Given,
    Object { origin: Origin, callable: NodeId, args: NodeId },
}

const _: () = assert!(size_of::<Packed>() == 12);

/// Where the items of something that grows are: an index, or [`EMPTY`].
type Slot = u32;
const EMPTY: Slot = u32::MAX;

/// From so many rows on room is set aside for the rest of them; most pickles have fewer, and a file may have a million of those.
pub(super) const MANY: usize = 1 << 16;
/// Room is set aside for a stream of at most this size: behind the pickle of an old checkpoint follow gigabytes of data.
pub(super) const MAX_RESERVED_BYTES: usize = 64 << 20;

/// A blob without its stream, little-endian: 43 bits of length, one that is set for unescaped text, 44 of offset.
#[derive(Debug, Clone, Copy)]
struct Run([u8; 11]);

const LEN_BITS: u32 = 43;
const OFFSET_BITS: u32 = 44;
/// No stream is longer.
pub(super) const MAX_STREAM_BYTES: u64 = (1 << LEN_BITS) - 1;

impl Run {
    fn of(blob: Blob) -> Run {
        let bits = u128::from(blob.len) | u128::from(blob.unescaped) << LEN_BITS | u128::from(blob.offset) << (LEN_BITS + 1);
        let mut bytes = [0; 11];
        bytes.copy_from_slice(&bits.to_le_bytes()[..11]);
        Run(bytes)
    }

    fn blob(self, stream: u32) -> Blob {
        let mut bytes = [0; 16];
        bytes[..11].copy_from_slice(&self.0);
        let bits = u128::from_le_bytes(bytes);
        let field = |from: u32, n: u32| ((bits >> from) & ((1 << n) - 1)) as u64;
        Blob { len: field(0, LEN_BITS), unescaped: field(LEN_BITS, 1) == 1, offset: field(LEN_BITS + 1, OFFSET_BITS), stream }
    }
}

/// What an object is given after the call that makes it, and its keyword arguments.
#[derive(Debug, Clone, Default)]
pub(super) struct Gifts {
    pub kwargs: Option<NodeId>,
    pub states: Vec<NodeId>,
    pub items: Vec<(NodeId, NodeId)>,
    pub appended: Vec<NodeId>,
}

/// Something that can grow.
pub(super) enum Growing<'a> {
    List(&'a mut Vec<NodeId>),
    Set(&'a mut Vec<NodeId>),
    Dict(&'a mut Vec<(NodeId, NodeId)>),
    Object(NodeId),
}

/// All nodes, in the order in which they were made.
#[derive(Debug, Clone, Default)]
pub(super) struct Arena {
    nodes: Vec<Packed>,
    stream_bytes: usize,
    /// For each node the low half of the offset of the opcode that made it.
    offsets: Vec<u32>,
    /// The nodes from which on the high half is one more. A stream starts with zero.
    carries: Vec<NodeId>,
    /// What tuples and frozen sets hold.
    ids: Vec<NodeId>,
    lists: Vec<Vec<NodeId>>,
    dicts: Vec<Vec<(NodeId, NodeId)>>,
    /// The only state of an object, which most that have one are given.
    only_states: HashMap<NodeId, NodeId>,
    /// What other objects are given.
    gifts: HashMap<NodeId, Box<Gifts>>,
}

impl Arena {
    /// An arena for the nodes of a stream.
    pub fn for_stream(bytes: usize) -> Self {
        Arena { stream_bytes: bytes.min(MAX_RESERVED_BYTES), ..Arena::default() }
    }

    /// Sets room aside for as many nodes as streams of tensors of this size have.
    fn reserve(&mut self) {
        reserve(&mut self.nodes, self.stream_bytes / 8);
        reserve(&mut self.offsets, self.stream_bytes / 8);
        reserve(&mut self.ids, self.stream_bytes / 4);
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Adds a node that the opcode at `offset` makes, of which `high` is the high half of the offset of the one before.
    ///
    /// # Errors
    /// The limit on memory, when there are more than can be counted.
    pub fn push(&mut self, node: Node<'_>, offset: u64, high: &mut u32) -> Result<NodeId> {
        let id = NodeId(countable(self.nodes.len())?);
        if self.nodes.len() == MANY {
            self.reserve();
        }
        let packed = match node {
            Node::None => Packed::None,
            Node::Bool(value) => Packed::Bool(value),
            Node::Int(value) => Packed::Int(halves(value as u64)),
            Node::Float(value) => Packed::Float(halves(value.to_bits())),
            Node::Long(blob) => Packed::Long(Run::of(blob)),
            Node::LongText(blob) => Packed::LongText(Run::of(blob)),
            Node::Bytes(blob) => Packed::Bytes(Run::of(blob)),
            Node::ByteArray(blob) => Packed::ByteArray(Run::of(blob)),
            Node::Text(blob) => Packed::Text(Run::of(blob)),
            Node::Str(blob) => Packed::Str(Run::of(blob)),
            Node::Tuple(items) => {
                let (first, len) = self.keep(items)?;
                Packed::Tuple { first, len }
            }
            Node::FrozenSet(items) => {
                let (first, len) = self.keep(items)?;
                Packed::FrozenSet { first, len }
            }
            Node::List(items) => Packed::List(slot(&mut self.lists, items)),
            Node::Set(items) => Packed::Set(slot(&mut self.lists, items)),
            Node::Dict(pairs) => Packed::Dict(slot(&mut self.dicts, pairs)),
            Node::Global(global) => Packed::Global(global),
            Node::Persistent(pid) => Packed::Persistent(pid),
            Node::Dynamic(module, name) => Packed::Dynamic(module, name),
            Node::Given => Packed::Given,
            Node::Object(Object { origin, callable, args, kwargs, .. }) => {
                if kwargs.is_some() {
                    self.gifts.insert(id, Box::new(Gifts { kwargs, ..Gifts::default() }));
                }
                Packed::Object { origin, callable, args }
            }
        };
        self.nodes.push(packed);
        self.offsets.push(offset as u32); // the low half
        while u64::from(*high) < offset >> 32 {
            *high += 1;
            self.carries.push(id);
        }
        Ok(id)
    }

    fn keep(&mut self, items: &[NodeId]) -> Result<(u32, u32)> {
        let first = countable(self.ids.len())?;
        self.ids.extend_from_slice(items);
        Ok((first, countable(items.len())?))
    }

    /// The node with this id, which is in `stream`.
    pub fn get(&self, id: NodeId, stream: impl FnOnce() -> usize) -> Node<'_> {
        let blob = |run: Run| run.blob(stream() as u32);
        let ids = |first: u32, len: u32| &self.ids[first as usize..first as usize + len as usize];
        match self.nodes[id.index()] {
            Packed::None => Node::None,
            Packed::Bool(value) => Node::Bool(value),
            Packed::Int(value) => Node::Int(whole(value) as i64),
            Packed::Float(value) => Node::Float(f64::from_bits(whole(value))),
            Packed::Long(run) => Node::Long(blob(run)),
            Packed::LongText(run) => Node::LongText(blob(run)),
            Packed::Bytes(run) => Node::Bytes(blob(run)),
            Packed::ByteArray(run) => Node::ByteArray(blob(run)),
            Packed::Text(run) => Node::Text(blob(run)),
            Packed::Str(run) => Node::Str(blob(run)),
            Packed::Tuple { first, len } => Node::Tuple(ids(first, len)),
            Packed::FrozenSet { first, len } => Node::FrozenSet(ids(first, len)),
            Packed::List(slot) => Node::List(in_slot(&self.lists, slot)),
            Packed::Set(slot) => Node::Set(in_slot(&self.lists, slot)),
            Packed::Dict(slot) => Node::Dict(in_slot(&self.dicts, slot)),
            Packed::Global(global) => Node::Global(global),
            Packed::Persistent(pid) => Node::Persistent(pid),
            Packed::Dynamic(module, name) => Node::Dynamic(module, name),
            Packed::Given => Node::Given,
            Packed::Object { origin, callable, args } => Node::Object(self.given(id, origin, callable, args)),
        }
    }

    /// Whether a node is a number, a text or a name, which refer to nothing. Most are.
    #[inline]
    pub fn is_leaf(&self, id: NodeId) -> bool {
        !matches!(
            self.nodes[id.index()],
            Packed::Tuple { .. }
                | Packed::FrozenSet { .. }
                | Packed::List(_)
                | Packed::Set(_)
                | Packed::Dict(_)
                | Packed::Persistent(_)
                | Packed::Dynamic(..)
                | Packed::Object { .. }
        )
    }

    /// The object that a node is. Many ask this of every node.
    #[inline]
    pub fn object(&self, id: NodeId) -> Option<Object<'_>> {
        match self.nodes[id.index()] {
            Packed::Object { origin, callable, args } => Some(self.given(id, origin, callable, args)),
            _ => None,
        }
    }

    /// The global that a node names.
    #[inline]
    pub fn global(&self, id: NodeId) -> Option<GlobalId> {
        match self.nodes[id.index()] {
            Packed::Global(global) => Some(global),
            _ => None,
        }
    }

    /// The items of a tuple.
    #[inline]
    pub fn tuple(&self, id: NodeId) -> Option<&[NodeId]> {
        match self.nodes[id.index()] {
            Packed::Tuple { first, len } => Some(&self.ids[first as usize..first as usize + len as usize]),
            _ => None,
        }
    }

    fn given(&self, id: NodeId, origin: Origin, callable: NodeId, args: NodeId) -> Object<'_> {
        let plain = Object { origin, callable, args, kwargs: None, states: &[], items: &[], appended: &[] };
        match (self.gifts.get(&id), self.only_states.get(&id)) {
            (Some(gifts), _) => {
                Object { kwargs: gifts.kwargs, states: &gifts.states, items: &gifts.items, appended: &gifts.appended, ..plain }
            }
            (None, Some(state)) => Object { states: std::slice::from_ref(state), ..plain },
            (None, None) => plain,
        }
    }

    /// The offset in its stream, whose first node is `first`, of the opcode that made a node.
    pub fn offset(&self, id: NodeId, first: NodeId) -> u64 {
        let low = self.offsets[id.index()].into();
        if self.carries.is_empty() {
            return low;
        }
        let before = |end: NodeId| self.carries.partition_point(|carry| *carry < end);
        let carries = self.carries.partition_point(|carry| *carry <= id) - before(first);
        low | (carries as u64) << 32
    }

    /// What can grow, when a node can.
    pub fn growing(&mut self, id: NodeId) -> Option<Growing<'_>> {
        match &mut self.nodes[id.index()] {
            Packed::List(slot) => Some(Growing::List(growing_slot(&mut self.lists, slot))),
            Packed::Set(slot) => Some(Growing::Set(growing_slot(&mut self.lists, slot))),
            Packed::Dict(slot) => Some(Growing::Dict(growing_slot(&mut self.dicts, slot))),
            Packed::Object { .. } => Some(Growing::Object(id)),
            _ => None,
        }
    }

    /// Gives an object one more state.
    pub fn add_state(&mut self, object: NodeId, state: NodeId) {
        if !self.gifts.contains_key(&object) && !self.only_states.contains_key(&object) {
            self.only_states.insert(object, state);
        } else {
            self.gifts(object).states.push(state);
        }
    }

    /// What an object is given, to add to it.
    pub fn gifts(&mut self, object: NodeId) -> &mut Gifts {
        let only = self.only_states.remove(&object);
        self.gifts.entry(object).or_insert_with(|| Box::new(Gifts { states: only.into_iter().collect(), ..Gifts::default() }))
    }

    /// Takes over all nodes of `other`, behind its own.
    ///
    /// # Errors
    /// The limit on memory, when there are more than can be counted.
    pub fn adopt(&mut self, other: Arena, globals: &[GlobalId]) -> Result<()> {
        let nodes = self.nodes.len();
        let (first_id, first_list, first_dict) =
            (countable(self.ids.len() + other.ids.len())?, countable(self.lists.len())?, countable(self.dicts.len())?);
        let first_id = first_id - other.ids.len() as u32;
        countable(nodes + other.nodes.len())?;
        let moved = |id: NodeId| id.moved(nodes);
        let slot = |slot: Slot, first: u32| if slot == EMPTY { EMPTY } else { slot + first };
        self.nodes.extend(other.nodes.into_iter().map(|node| match node {
            Packed::Tuple { first, len } => Packed::Tuple { first: first + first_id, len },
            Packed::FrozenSet { first, len } => Packed::FrozenSet { first: first + first_id, len },
            Packed::List(items) => Packed::List(slot(items, first_list)),
            Packed::Set(items) => Packed::Set(slot(items, first_list)),
            Packed::Dict(items) => Packed::Dict(slot(items, first_dict)),
            Packed::Global(global) => Packed::Global(globals[global.0 as usize]),
            Packed::Persistent(pid) => Packed::Persistent(moved(pid)),
            Packed::Dynamic(module, name) => Packed::Dynamic(moved(module), moved(name)),
            Packed::Object { origin, callable, args } => Packed::Object { origin, callable: moved(callable), args: moved(args) },
            same => same,
        }));
        let ids = |items: Vec<NodeId>| items.into_iter().map(moved).collect::<Vec<_>>();
        let pairs = |items: Vec<(NodeId, NodeId)>| items.into_iter().map(|(k, v)| (moved(k), moved(v))).collect::<Vec<_>>();
        self.offsets.extend(other.offsets);
        self.carries.extend(other.carries.into_iter().map(moved));
        self.ids.extend(other.ids.into_iter().map(moved));
        self.lists.extend(other.lists.into_iter().map(ids));
        self.dicts.extend(other.dicts.into_iter().map(pairs));
        self.only_states.extend(other.only_states.into_iter().map(|(object, state)| (moved(object), moved(state))));
        self.gifts.extend(other.gifts.into_iter().map(|(object, gifts)| {
            let Gifts { kwargs, states, items, appended } = *gifts;
            let gifts = Gifts { kwargs: kwargs.map(moved), states: ids(states), items: pairs(items), appended: ids(appended) };
            (moved(object), Box::new(gifts))
        }));
        Ok(())
    }
}

fn countable(n: usize) -> Result<u32> {
    // The highest number stands for nothing.
    u32::try_from(n)
        .ok()
        .filter(|&n| n < u32::MAX)
        .ok_or_else(|| error::limit("memory-bytes", "more than 4294967294 nodes", u32::MAX.into()))
}

fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

fn whole([low, high]: [u32; 2]) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn slot<T: Copy>(slots: &mut Vec<Vec<T>>, items: &[T]) -> Slot {
    if items.is_empty() {
        return EMPTY;
    }
    slots.push(items.to_vec());
    (slots.len() - 1) as Slot // no more than nodes
}

fn in_slot<T>(slots: &[Vec<T>], slot: Slot) -> &[T] {
    slots.get(slot as usize).map(Vec::as_slice).unwrap_or_default()
}

fn growing_slot<'a, T>(slots: &'a mut Vec<Vec<T>>, slot: &mut Slot) -> &'a mut Vec<T> {
    if *slot == EMPTY {
        slots.push(Vec::new());
        *slot = (slots.len() - 1) as Slot; // no more than nodes
    }
    &mut slots[*slot as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_of_any_place_and_length_is_packed_whole() {
        for (unescaped, offset, len) in
            [(false, 0, 0), (true, (1 << OFFSET_BITS) - 1, MAX_STREAM_BYTES), (false, 1 << 43, 1), (true, 77, 1 << 42)]
        {
            let blob = Blob { unescaped, stream: 3, offset, len };
            assert_eq!(Run::of(blob).blob(3), blob);
        }
    }

    #[test]
    fn offsets_beyond_four_gigabytes_are_kept() {
        let mut arena = Arena::default();
        let mut high = 0;
        let offsets = [0, 5, u64::from(u32::MAX), 1 << 32, (3 << 32) + 9, (3 << 32) + 10];
        let ids: Vec<NodeId> = offsets.iter().map(|&offset| arena.push(Node::None, offset, &mut high).unwrap()).collect();
        let mut two = arena.clone();
        two.adopt(arena.clone(), &[]).unwrap();
        for (&id, offset) in ids.iter().zip(offsets) {
            assert_eq!(arena.offset(id, ids[0]), offset);
            assert_eq!(two.offset(id.moved(ids.len()), ids[0].moved(ids.len())), offset);
        }
    }

    #[test]
    fn what_objects_are_given_is_kept_in_order() {
        let mut arena = Arena::default();
        let object =
            Object { origin: Origin::Reduce, callable: NodeId(0), args: NodeId(0), kwargs: None, states: &[], items: &[], appended: &[] };
        let id = arena.push(Node::Object(object), 0, &mut 0).unwrap();
        arena.add_state(id, NodeId(7));
        arena.gifts(id).items.push((NodeId(1), NodeId(2)));
        arena.add_state(id, NodeId(8));
        let Node::Object(object) = arena.get(id, || 0) else { panic!("it is an object") };
        assert_eq!((object.states, object.items), (&[NodeId(7), NodeId(8)][..], &[(NodeId(1), NodeId(2))][..]));
    }
}
