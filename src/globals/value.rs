//! What a node of the graph is to us once the table of meanings has been asked.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::container::StorageClass;
use crate::error::Error;
use crate::numpy::NumpyDtype;
use crate::pickle::NodeId;
use crate::storage::{Content, StorageId};
use crate::tensor::Dtype;

/// An index into the tensors of one [`Reader`](crate::globals::Reader).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorId(pub(crate) u32);

impl TensorId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a node is to us.
#[derive(Debug, Clone)]
pub enum Value {
    /// One tensor.
    Tensor(TensorId),
    /// A tensor that is written as others: what it is, and its parts.
    Lowered(Arc<Lowering>, Vec<Part>),
    /// A tensor subclass, whose tensors are in the state that it is given: all of it, or one attribute.
    Wrapper(Arc<Lowering>, NodeId, Option<&'static str>),
    /// Something that would be a tensor and has no data that could be written.
    Absent(Absence),
    /// A tensor that is understood and not supported: an error if it is asked for.
    Unsupported(Error),
    /// A numpy array of Python objects, whose items may hold tensors. One without dimensions is its only item.
    ObjectArray { items: NodeId, scalar: bool },
    /// Nothing of its own, only the place of another node.
    StandsFor(NodeId),
    /// A part of a storage.
    Storage(StorageView),
    /// A numpy dtype.
    NumpyDtype(NumpyDtype),
    /// Bytes: where they are, and how many.
    Bytes(Content, u64),
    /// Anything else.
    Inert,
}

/// What a tensor that is written as others was. `docs/lowering.md` has the policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Lowering {
    /// The kind of tensor: `quantized`, `sparse_coo`, `subclass` ...
    pub kind: &'static str,
    /// The dtype that its library gives it.
    pub dtype: Option<String>,
    /// The shape that its library gives it.
    pub shape: Option<Vec<i64>>,
    /// What else is needed to make it again: the axis, the scheme, the unit.
    pub details: Map<String, Json>,
}

impl Lowering {
    pub(crate) fn new(kind: &'static str, dtype: Option<String>, shape: &[i64]) -> Self {
        Lowering { kind, dtype, shape: Some(shape.to_vec()), details: Map::new() }
    }

    /// Whether its parts are named as the entries of a dict are: they have names of their own where it has none.
    pub(crate) fn is_like_a_dict(&self) -> bool {
        self.kind == "structured"
    }

    /// The same with one more detail.
    #[must_use]
    pub(crate) fn with(mut self, detail: &str, value: impl Into<Json>) -> Self {
        self.details.insert(detail.to_owned(), value.into());
        self
    }
}

/// A part of a lowered tensor.
#[derive(Debug, Clone)]
pub struct Part {
    /// What is added to the name of the tensor: `.scale`, or nothing.
    pub suffix: Arc<str>,
    pub content: PartContent,
}

/// What a part is.
#[derive(Debug, Clone)]
pub enum PartContent {
    Tensor(TensorId),
    Absent(Absence),
}

impl Part {
    pub(crate) fn tensor(suffix: &str, id: TensorId) -> Self {
        Part { suffix: suffix.into(), content: PartContent::Tensor(id) }
    }
}

/// Why something that looks like a tensor has no data, with what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Absence {
    pub reason: String,
    pub dtype: Option<String>,
    pub shape: Option<Vec<i64>>,
}

impl Absence {
    /// A tensor on torch's `meta` device.
    pub(crate) fn meta(dtype: Option<Dtype>, shape: &[i64]) -> Self {
        Absence {
            reason: "it is a meta tensor: the file holds no data for it".to_owned(),
            dtype: dtype.map(|dtype| dtype.name().to_owned()),
            shape: Some(shape.to_vec()),
        }
    }
}

/// Part of a storage, with the element type that the reference to it gives.
#[derive(Debug, Clone, Copy)]
pub struct StorageView {
    pub id: StorageId,
    /// Bytes from the start of the storage.
    pub base: u64,
    pub len: u64,
    pub class: StorageClass,
    /// Whether multi-byte values are stored most significant byte first.
    pub big_endian: bool,
}

/// A call: which node, what is called, with what.
pub(crate) struct Call {
    pub id: NodeId,
    /// The path of the callable, for messages.
    pub name: String,
    pub args: Vec<NodeId>,
    /// The states given to the result by `BUILD`.
    pub states: Vec<NodeId>,
}
