//! One value of a pickle, as whoever reads a graph sees it.

/// An index into the arena of one [`Graph`](crate::pickle::Graph).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(super) u32);

impl NodeId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }

    /// The same node after `nodes` others were put before it.
    pub(crate) fn moved(self, nodes: usize) -> Self {
        NodeId(self.0 + nodes as u32) // `Graph::adopt` counts them
    }
}

/// An index into the table of globals of one [`Graph`](crate::pickle::Graph).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GlobalId(pub(super) u32);

/// A run of bytes: of a stream itself, or of text that had to be unescaped. Nothing is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    pub(super) unescaped: bool,
    pub(super) stream: u32,
    /// Where it starts in the stream, or in its unescaped text.
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl Blob {
    /// The index of the stream that the bytes belong to.
    pub fn stream(self) -> usize {
        self.stream as usize
    }

    /// The length in bytes.
    pub fn len(self) -> u64 {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The offset in the stream, when the bytes stand there as they are.
    pub fn stream_offset(self) -> Option<u64> {
        (!self.unescaped).then_some(self.offset)
    }
}

/// One value of the pickle, not interpreted.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "most variants are the types of Python that they are named after")]
pub enum Node<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits: two's complement, little-endian.
    Long(Blob),
    /// An integer beyond 64 bits, as decimal text.
    LongText(Blob),
    Float(f64),
    Bytes(Blob),
    ByteArray(Blob),
    Text(Blob),
    /// A Python 2 `str`, whose encoding only its author knows.
    Str(Blob),
    Tuple(&'a [NodeId]),
    List(&'a [NodeId]),
    /// Pairs as they were set; a later pair with an equal key wins.
    Dict(&'a [(NodeId, NodeId)]),
    Set(&'a [NodeId]),
    FrozenSet(&'a [NodeId]),
    /// A name, never looked up.
    Global(GlobalId),
    /// A persistent id: what it stands for is the container's business.
    Persistent(NodeId),
    /// A name whose module or whose own name only running other calls would tell.
    Dynamic(NodeId, NodeId),
    /// Something that the container holds itself, without a pickle.
    Given,
    /// Something that was to be made by a call.
    Object(Object<'a>),
}

/// What a node refers to, in the order of the stream.
#[derive(Default)]
pub(super) struct Refers<'a> {
    pub few: [Option<NodeId>; 3],
    pub states: &'a [NodeId],
    pub pairs: &'a [(NodeId, NodeId)],
    pub items: &'a [NodeId],
}

impl<'a> Node<'a> {
    pub(super) fn refers(self) -> Refers<'a> {
        match self {
            Node::Tuple(items) | Node::List(items) | Node::Set(items) | Node::FrozenSet(items) => Refers { items, ..Refers::default() },
            Node::Dict(pairs) => Refers { pairs, ..Refers::default() },
            Node::Persistent(pid) => Refers { few: [Some(pid), None, None], ..Refers::default() },
            Node::Dynamic(module, name) => Refers { few: [Some(module), Some(name), None], ..Refers::default() },
            Node::Object(object) => Refers {
                few: [Some(object.callable), Some(object.args), object.kwargs],
                states: object.states,
                pairs: object.items,
                items: object.appended,
            },
            _ => Refers::default(),
        }
    }

    /// What it is, in words.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Node::None => "None",
            Node::Bool(_) => "a bool",
            Node::Int(_) | Node::Long(_) | Node::LongText(_) => "an int",
            Node::Float(_) => "a float",
            Node::Bytes(_) => "bytes",
            Node::ByteArray(_) => "a bytearray",
            Node::Text(_) | Node::Str(_) => "a str",
            Node::Tuple(_) => "a tuple",
            Node::List(_) => "a list",
            Node::Dict(_) => "a dict",
            Node::Set(_) | Node::FrozenSet(_) => "a set",
            Node::Global(_) => "a global",
            Node::Dynamic(..) => "a global whose name is computed",
            Node::Persistent(_) => "a persistent object",
            Node::Given => "a value of the container",
            Node::Object(_) => "an object",
        }
    }
}

/// How an [`Object`] was to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// `callable(*args)`
    Reduce,
    /// `callable.__new__(callable, *args, **kwargs)`
    New,
    /// `callable(*args)` of the protocol 0 and 1 opcodes `INST` and `OBJ`
    Instance,
}

/// "This was to be called with that, and then given this state."
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Object<'a> {
    /// Which opcode was to make it.
    pub origin: Origin,
    /// What was to be called: nearly always a global.
    pub callable: NodeId,
    /// A tuple, except where the stream puts another object in its place.
    pub args: NodeId,
    /// The keyword arguments of `NEWOBJ_EX`, a dict.
    pub kwargs: Option<NodeId>,
    /// The states of `BUILD`, in order.
    pub states: &'a [NodeId],
    /// `object[key] = value`, in order.
    pub items: &'a [(NodeId, NodeId)],
    /// `object.append(value)` or `.add(value)`, in order.
    pub appended: &'a [NodeId],
}
