//! What a pickle says, as an arena of inert nodes. Objects keep their identity; cycles are allowed; nothing is cloned.

use std::borrow::Cow;

use ::bytes::Bytes;
use foldhash::HashMap;

use crate::pickle::arena::Arena;
use crate::pickle::node::{Blob, Node, NodeId, Object, Refers};
use crate::pickle::oddity::{Mention, Oddity, OddityKind};
use crate::place::Place;

/// A global that the pickle mentions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalUse {
    /// The module as the stream spells it.
    pub module: String,
    /// The name in the module; since protocol 4 it may have dots.
    pub name: String,
    /// Where it is mentioned first.
    pub first: Place,
    /// How often it is mentioned.
    pub mentions: u64,
}

impl GlobalUse {
    /// `module.name`
    pub fn path(&self) -> String {
        [&self.module, ".", &self.name].concat()
    }
}

/// A text value: nearly always UTF-8, but Python text may hold lone surrogates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text<'a> {
    /// Plain UTF-8.
    Utf8(&'a str),
    /// UTF-8 in which lone surrogates stand as three bytes each.
    Surrogates(&'a [u8]),
}

impl<'a> Text<'a> {
    /// The text, with lone surrogates replaced, for showing.
    pub fn lossy(&self) -> Cow<'a, str> {
        match self {
            Text::Utf8(text) => Cow::Borrowed(text),
            Text::Surrogates(bytes) => String::from_utf8_lossy(bytes),
        }
    }
}

/// One pickle stream of a graph.
#[derive(Debug, Clone)]
pub struct Stream {
    pub(super) bytes: Bytes,
    pub(super) unescaped: Vec<u8>,
    pub(super) start: Place,
    pub(super) end: u64,
    pub(super) leftover: usize,
    /// The nodes of a stream follow one another.
    pub(super) first_node: u32,
}

impl Stream {
    pub(super) fn new(bytes: Bytes, start: Place) -> Self {
        Stream { bytes, unescaped: Vec::new(), start, end: 0, leftover: 0, first_node: 0 }
    }

    /// The first byte of the stream.
    pub fn start(&self) -> &Place {
        &self.start
    }

    /// The number of bytes up to and including `STOP`.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Values that were still on the stack, below the root, when `STOP` came.
    pub fn leftover(&self) -> usize {
        self.leftover
    }
}

/// Everything that one pickle builds, and its root; or what several of them build, under a root that their container
/// gives them.
#[derive(Debug, Clone)]
pub struct Graph {
    pub(super) nodes: Arena,
    /// For containers and objects that were changed after they were made, the offset of the last change.
    pub(super) changes: HashMap<NodeId, u64>,
    pub(super) globals: Vec<GlobalUse>,
    pub(super) streams: Vec<Stream>,
    /// The globals by their names, once another graph was taken over.
    pub(super) global_ids: std::collections::HashMap<(String, String), u32>,
    /// Nodes that are only the place of another one.
    pub(super) links: HashMap<NodeId, NodeId>,
    /// What a container gives a value besides.
    pub(super) attached: HashMap<NodeId, Vec<(String, NodeId)>>,
    pub(super) root: NodeId,
    pub(super) oddities: Vec<Oddity>,
    pub(super) mentions: Vec<Mention>,
    /// Bytes of memory that were debited for it.
    pub(super) memory: u64,
    /// Opcodes of the pickle that it was read from.
    pub(super) opcodes: u64,
}

impl Graph {
    pub(super) fn of(stream: Stream) -> Self {
        Graph {
            nodes: Arena::default(),
            changes: HashMap::default(),
            globals: Vec::new(),
            streams: vec![stream],
            global_ids: Default::default(),
            links: HashMap::default(),
            attached: HashMap::default(),
            root: NodeId(0),
            oddities: Vec::new(),
            mentions: Vec::new(),
            memory: 0,
            opcodes: 0,
        }
    }

    /// The pickle streams that it was read from.
    pub fn streams(&self) -> &[Stream] {
        &self.streams
    }

    /// The index of the stream that made a node.
    pub fn stream_of(&self, id: NodeId) -> usize {
        match self.streams.len() {
            1 => 0,
            _ => self.streams.partition_point(|stream| stream.first_node <= id.0).saturating_sub(1),
        }
    }

    /// Bytes of memory that were debited for it.
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// Opcodes that it was made by.
    pub fn opcodes(&self) -> u64 {
        self.opcodes
    }

    /// The value that the pickle returns, or what the container puts in its place.
    pub fn root(&self) -> NodeId {
        self.root
    }

    /// The node with this id.
    pub fn node(&self, id: NodeId) -> Node<'_> {
        self.nodes.get(id, || self.stream_of(id))
    }

    /// All nodes in the order in which they were made.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never true: a pickle has at least its root.
    pub fn is_empty(&self) -> bool {
        self.nodes.len() == 0
    }

    /// Whether loading it does more than make plain values.
    pub fn does_anything(&self) -> bool {
        !self.oddities.is_empty() || self.ids().any(|id| matches!(self.node(id), Node::Object(_) | Node::Global(_) | Node::Dynamic(..)))
    }

    /// Whether it holds more than numbers and text.
    pub fn holds_data(&self) -> bool {
        self.does_anything()
            || self.ids().any(|id| match self.node(id) {
                Node::Persistent(_) => true,
                Node::Bytes(blob) | Node::ByteArray(blob) => !blob.is_empty(),
                Node::List(items) | Node::Set(items) => !items.is_empty(),
                Node::Dict(pairs) => !pairs.is_empty(),
                _ => false,
            })
    }

    /// Names behind the place where the stream broke; none for a whole one.
    pub fn mentions(&self) -> &[Mention] {
        &self.mentions
    }

    /// Notes that the stream was not read to its end, because of `reason`.
    pub(crate) fn note_unread(&mut self, reason: &str) {
        let place = self.start().clone();
        self.oddities.push(Oddity { place, what: OddityKind::Unread(reason.to_owned()) });
    }

    /// What is no value and yet has an effect.
    pub fn oddities(&self) -> &[Oddity] {
        &self.oddities
    }

    /// Where the opcode is that made this node.
    pub fn place(&self, id: NodeId) -> Place {
        self.streams[self.stream_of(id)].start.advanced(self.offset(id))
    }

    /// The offset in the stream of the opcode that made this node.
    pub fn offset(&self, id: NodeId) -> u64 {
        self.nodes.offset(id, NodeId(self.streams[self.stream_of(id)].first_node))
    }

    /// Whether a list, dict or set was changed by an opcode after the one that made `later`: a call that got it as an
    /// argument did not see that change. Objects keep their identity in what a call makes, and are never said to change.
    pub fn changed_since(&self, id: NodeId, later: NodeId) -> bool {
        self.changed_after(id, later, self.offset(later))
    }

    /// Whether a list, dict or set was changed after the last state or item was given to the object `later`.
    pub fn changed_since_built(&self, id: NodeId, later: NodeId) -> bool {
        self.changed_after(id, later, self.changes.get(&later).copied().unwrap_or_else(|| self.offset(later)))
    }

    fn changed_after(&self, id: NodeId, later: NodeId, offset: u64) -> bool {
        let container = matches!(self.node(id), Node::List(_) | Node::Dict(_) | Node::Set(_));
        container && self.changes.get(&id).is_some_and(|&change| change > offset) && self.stream_of(id) == self.stream_of(later)
    }

    /// The first byte of the first stream.
    pub fn start(&self) -> &Place {
        &self.streams[0].start
    }

    /// The number of bytes of the first stream up to and including `STOP`.
    pub fn end(&self) -> u64 {
        self.streams[0].end
    }

    /// Every global that is mentioned, in order of first mention.
    pub fn globals(&self) -> &[GlobalUse] {
        &self.globals
    }

    /// The global that a node names.
    pub fn global(&self, id: NodeId) -> Option<&GlobalUse> {
        self.globals.get(self.nodes.global(id)?.0 as usize)
    }

    /// The bytes of a blob.
    pub fn blob(&self, blob: Blob) -> &[u8] {
        let from = blob.offset as usize;
        let to = from + blob.len as usize;
        let stream = &self.streams[blob.stream()];
        match blob.stream_offset() {
            Some(_) => &stream.bytes[from..to],
            None => &stream.unescaped[from..to],
        }
    }

    /// The bytes of a blob as a counted slice, without copying where they stand in the stream.
    pub fn blob_shared(&self, blob: Blob) -> Bytes {
        match blob.stream_offset() {
            Some(start) => self.streams[blob.stream()].bytes.slice(start as usize..(start + blob.len) as usize),
            None => Bytes::copy_from_slice(self.blob(blob)),
        }
    }

    /// The text of a text node, or of a Python 2 string that is UTF-8.
    pub fn text(&self, id: NodeId) -> Option<Text<'_>> {
        let (blob, strict) = match self.node(id) {
            Node::Text(blob) => (blob, false),
            Node::Str(blob) => (blob, true),
            _ => return None,
        };
        let bytes = self.blob(blob);
        match std::str::from_utf8(bytes) {
            Ok(text) => Some(Text::Utf8(text)),
            Err(_) if strict => None,
            Err(_) => Some(Text::Surrogates(bytes)),
        }
    }

    /// The text of a node that holds plain UTF-8.
    pub fn str(&self, id: NodeId) -> Option<&str> {
        match self.text(id)? {
            Text::Utf8(text) => Some(text),
            Text::Surrogates(_) => None,
        }
    }

    /// The same as a counted slice, without copying where it stands in the stream.
    pub fn str_shared(&self, id: NodeId) -> Option<Bytes> {
        self.str(id)?;
        match self.node(id) {
            Node::Text(blob) | Node::Str(blob) => Some(self.blob_shared(blob)),
            _ => None,
        }
    }

    /// Plain UTF-8 text, or bytes that are ASCII: what Python 2 wrote as `str` comes as either.
    pub fn str_or_ascii(&self, id: NodeId) -> Option<&str> {
        match self.node(id) {
            Node::Bytes(blob) => std::str::from_utf8(self.blob(blob)).ok().filter(|text| text.is_ascii()),
            _ => self.str(id),
        }
    }

    /// The length of a text, in bytes; 0 for everything else.
    pub fn text_bytes(&self, id: NodeId) -> u64 {
        match self.node(id) {
            Node::Text(blob) | Node::Str(blob) => blob.len(),
            _ => 0,
        }
    }

    /// Whether a node is one of these words. However long a text is, that takes no time.
    pub fn is_word(&self, id: NodeId, words: &[&str]) -> bool {
        match self.node(id) {
            Node::Text(blob) | Node::Str(blob) => words.iter().any(|word| word.as_bytes() == self.blob(blob)),
            _ => false,
        }
    }

    /// The same for a word that Python 2 may have written as bytes.
    pub fn is_word_or_bytes(&self, id: NodeId, word: &str) -> bool {
        match self.node(id) {
            Node::Text(blob) | Node::Str(blob) | Node::Bytes(blob) => word.as_bytes() == self.blob(blob),
            _ => false,
        }
    }

    /// The first bytes of a text, with a sign for what is not Unicode.
    pub fn beginning(&self, id: NodeId, n_bytes: usize) -> Cow<'_, str> {
        match self.node(id) {
            Node::Text(blob) | Node::Str(blob) => {
                let bytes = self.blob(blob);
                let mut end = bytes.len().min(n_bytes);
                // Not in the middle of a character.
                while end < bytes.len() && end > 0 && bytes[end] & 0xc0 == 0x80 {
                    end -= 1;
                }
                Text::Surrogates(&bytes[..end]).lossy()
            }
            _ => Cow::Borrowed(""),
        }
    }

    /// The items of a tuple.
    pub fn tuple(&self, id: NodeId) -> Option<&[NodeId]> {
        self.nodes.tuple(id)
    }

    /// The items of a tuple or list.
    pub fn sequence(&self, id: NodeId) -> Option<&[NodeId]> {
        match self.node(id) {
            Node::Tuple(items) | Node::List(items) => Some(items),
            _ => None,
        }
    }

    /// The value of a key of a dict: of equal ones the last, as in Python.
    pub fn get(&self, dict: NodeId, key: &str) -> Option<NodeId> {
        match self.node(dict) {
            Node::Dict(pairs) => pairs.iter().rev().find(|(k, _)| self.is_word_or_bytes(*k, key)).map(|&(_, value)| value),
            _ => None,
        }
    }

    /// The object that a node is.
    pub fn object(&self, id: NodeId) -> Option<Object<'_>> {
        self.nodes.object(id)
    }

    /// The integer that a node is; a bool is not one.
    pub fn int(&self, id: NodeId) -> Option<i64> {
        match self.node(id) {
            Node::Int(value) => Some(value),
            _ => None,
        }
    }

    /// Every node that this one refers to, in the order of the stream. Nothing is copied: a million objects may refer to one long list.
    pub fn children(&self, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let linked = self.linked(id);
        let Refers { few, states, pairs, items } = match linked {
            Some(value) => Refers { few: [Some(value), None, None], ..Refers::default() },
            None => self.node(id).refers(),
        };
        let attached = if linked.is_some() { &[] } else { self.attached(id) };
        few.into_iter()
            .flatten()
            .chain(states.iter().copied())
            .chain(pairs.iter().flat_map(|&(key, value)| [key, value]))
            .chain(items.iter().copied())
            .chain(attached.iter().map(|(_, value)| *value))
    }

    /// Does something with each of them: faster for who asks this of every node.
    pub(crate) fn each_child(&self, id: NodeId, mut visit: impl FnMut(NodeId)) {
        if self.nodes.is_leaf(id) && self.links.is_empty() && self.attached.is_empty() {
            return;
        }
        match self.tuple(id) {
            Some(items) if self.links.is_empty() && self.attached.is_empty() => items.iter().for_each(|&item| visit(item)),
            _ => self.children(id).for_each(visit),
        }
    }
}
