//! From the graph to the tree of tensors: what is where, under which path, and what has no data.
//!
//! Nothing here decides what is written; that is `select`'s business. Nothing is called; an object of an unknown class
//! is walked through its state, an `nn.Module` by the rules of its `state_dict()`.

mod contents;
mod entry;
mod remade;
mod set;
mod walk;

use std::sync::Arc;

use crate::container::{Document, Member};
use crate::describe;
use crate::error::{self, Error, Result};
use crate::finding::Finding;
use crate::globals::{Absence, Lowering, Reader, Seen, TensorId, Value, paddle};
use crate::limits::ReadOptions;
use crate::names::{PathId, Paths};
use crate::pickle::{Graph, Node, NodeId};
use crate::room;
use crate::storage::{Referred, Storage, StorageId};
use crate::tensor::Tensor;

pub(crate) use contents::{mapping_pairs, shares_too_much, state_entries, top_values, values_of};
pub use entry::Aside;
use walk::Walk;

/// A checkpoint, read and not yet written.
#[derive(Debug)]
pub struct Checkpoint {
    /// The container and the graph.
    pub document: Document,
    /// Every storage that the graph refers to.
    pub(crate) storages: Vec<Referred>,
    /// Every tensor that the graph rebuilds.
    pub tensors: Vec<Tensor>,
    /// Every place in the tree where a tensor is, in the order of the file.
    pub leaves: Vec<Leaf>,
    /// The paths of the leaves.
    pub paths: Paths,
    /// The pickles of torch files that are nested in this one.
    pub nested_pickles: Vec<Graph>,
    /// What understanding it gave reason to say.
    pub findings: Vec<Finding>,
    /// What the root is, in words.
    pub root_is: String,
}

/// A place in the tree where a tensor is or would be.
#[derive(Debug, Clone)]
pub struct Leaf {
    pub path: PathId,
    /// The node that is the tensor.
    pub node: NodeId,
    /// What is there.
    pub content: Content,
    /// What few leaves have.
    unusual: Option<Box<Unusual>>,
}

#[derive(Debug, Clone, Default)]
struct Unusual {
    /// What it is a part of, when it is one.
    lowered: Option<LoweredPart>,
    /// Why it is no part of the model although it has data.
    aside: Option<Aside>,
}

/// A part of a lowered tensor, or all of it.
#[derive(Debug, Clone)]
struct LoweredPart {
    suffix: Arc<str>,
    lowering: Arc<Lowering>,
}

impl Leaf {
    /// For a part of a lowered tensor, what is added to its name: `.scale`; else empty.
    pub fn part(&self) -> &str {
        self.lowered().map_or("", |lowered| &lowered.suffix)
    }

    /// What the tensor was that this is a part of.
    pub fn lowering(&self) -> Option<&Arc<Lowering>> {
        self.lowered().map(|lowered| &lowered.lowering)
    }

    /// Why it is no part of the model although it has data.
    pub fn aside(&self) -> Option<Aside> {
        self.unusual.as_ref().and_then(|unusual| unusual.aside)
    }

    fn lowered(&self) -> Option<&LoweredPart> {
        self.unusual.as_ref().and_then(|unusual| unusual.lowered.as_ref())
    }
}

/// What is at a leaf.
#[derive(Debug, Clone)]
pub enum Content {
    Tensor(TensorId),
    Absent(Box<Absence>),
    Unsupported(Box<Error>),
    /// A tensor subclass: its tensors are the leaves below.
    Wrapper,
}

/// Why a document cannot be understood, and the nested pickles that were read until then: what they would run must not
/// be lost with the rest.
#[derive(Debug)]
pub struct NotUnderstood {
    pub error: Error,
    pub nested_pickles: Vec<Graph>,
    /// The members of the archive that it is.
    pub members: Arc<Vec<Member>>,
}

impl Checkpoint {
    /// Understands a document.
    ///
    /// # Errors
    /// Whatever is wrong with a tensor in it, and the limits on tensors and depth.
    pub fn of(document: Document, options: &ReadOptions) -> Result<Checkpoint, Box<NotUnderstood>> {
        let graph = &document.graph;
        let mut reader = Reader::new(&document, options);
        let reached = evaluate(&mut reader);
        let mut found = reader.finish();
        match reached {
            Ok(reached) => found.values.retain(|id| reached[id.index()]),
            Err(error) => {
                return Err(Box::new(NotUnderstood { error, nested_pickles: found.nested_pickles, members: document.members }));
            }
        }
        let holds = holding(graph, found.values.nodes());
        for (id, value) in remade::of(&document, &holds) {
            found.values.insert(id, &value);
        }
        let mut walk = Walk::new(&document, options, found.values, found.attributes, holds, found.nested_findings);
        if let Err(error) = walk.run() {
            return Err(Box::new(NotUnderstood { error, nested_pickles: found.nested_pickles, members: document.members }));
        }
        let Walk { paths, leaves, findings, .. } = walk;
        Ok(Checkpoint {
            storages: found.storages,
            tensors: found.tensors,
            nested_pickles: found.nested_pickles,
            leaves,
            paths,
            findings,
            root_is: describe::value(&document.graph, document.graph.root()),
            document,
        })
    }

    /// Forgets the pickles and where in them the tensors are, when they are judged and listed: only the extras need more of them.
    pub(crate) fn forget_pickles(&mut self) {
        self.document.graph = Graph::nothing();
        self.document.side_pickles = Vec::new();
        self.nested_pickles = Vec::new();
    }

    /// The tensor with this id.
    pub fn tensor(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.index()]
    }

    /// The storage with this id.
    pub fn storage(&self, id: StorageId) -> Storage {
        self.document.referred(&self.storages[id.index()])
    }

    /// The key of a storage.
    pub(crate) fn storage_key(&self, id: StorageId) -> String {
        self.document.key_of(&self.storages[id.index()])
    }

    /// Bytes at the start of a storage that are no data.
    pub(crate) fn storage_head(&self, id: StorageId) -> u64 {
        match &self.storages[id.index()] {
            Referred::Stored(..) => 0,
            Referred::Own(storage) => storage.head,
        }
    }

    /// Every storage that the graph refers to, in the order in which it does.
    pub fn storage_ids(&self) -> impl Iterator<Item = StorageId> + use<> {
        (0..self.storages.len() as u32).map(StorageId)
    }

    /// Bytes of a storage once decoded.
    pub fn storage_len(&self, id: StorageId) -> u64 {
        match &self.storages[id.index()] {
            Referred::Stored(space, number) => self.document.spaces[*space as usize].len_of(*number, &self.document.members),
            Referred::Own(storage) => storage.len,
        }
    }
}

/// Whether anything in a document is a tensor, with data or not; true, too, when it cannot be understood, so that whoever asks
/// for its tensors is told why.
pub(crate) fn holds_tensors(document: &Document, options: &ReadOptions) -> bool {
    let before = options.memory();
    let mut reader = Reader::new(document, options);
    let reached = evaluate(&mut reader);
    options.forget_memory(before);
    match reached {
        Ok(reached) => {
            let mut values = reader.finish().values;
            values.retain(|id| reached[id.index()]);
            values.iter().any(Seen::is_tensor)
        }
        Err(_) => true,
    }
}

/// Asks for the values of all nodes below the root, and says which those nodes are.
fn evaluate(reader: &mut Reader<'_>) -> Result<Vec<bool>> {
    let graph = reader.graph();
    if shares_too_much(graph) {
        let message = "more objects are made of the same contents than can be walked";
        return Err(error::opaque(&graph.place(graph.root()), message));
    }
    reader.load_all_nested()?;
    let mut reached = vec![false; graph.len()];
    let mut pending = vec![graph.root()];
    reached[graph.root().index()] = true;
    while let Some(id) = pending.pop() {
        graph.each_child(id, |child| {
            if !std::mem::replace(&mut reached[child.index()], true) {
                pending.push(child);
            }
        });
    }
    let (mut objects, mut persistent) = (0, 0);
    for id in graph.ids() {
        match graph.node(id) {
            Node::Object(_) => objects += 1,
            Node::Persistent(_) | Node::Given => persistent += 1,
            _ => {}
        }
    }
    reader.reserve(objects, persistent);
    for id in graph.ids().filter(|id| reached[id.index()]) {
        if matches!(graph.node(id), Node::Object(_) | Node::Persistent(_) | Node::Given) {
            let value = reader.value(id)?;
            if !matches!(value, Value::Inert | Value::Bytes(..) | Value::NumpyDtype(_)) {
                reader.keep(id, &value)?; // also that of a node which is only the place of another one
            }
        }
    }
    for (_, sliced) in reader.roots().iter().filter_map(|root| paddle::sliced(graph, *root)) {
        for sliced in sliced {
            let value = paddle::join(reader, &sliced)?;
            reader.keep(sliced.description, &value)?;
        }
    }
    Ok(reached)
}

/// For each node, whether one of `wanted` is at or below it.
fn holding(graph: &Graph, wanted: impl Iterator<Item = NodeId>) -> Vec<bool> {
    // Edges from child to parent, as one array sorted by child: `parents[first[c]..first[c + 1]]`.
    let mut first = room::filled(0u32, graph.len() + 2);
    for id in graph.ids() {
        graph.each_child(id, |child| first[child.index() + 2] += 1);
    }
    for i in 1..first.len() {
        first[i] += first[i - 1];
    }
    let mut parents = room::filled(graph.root(), first.last().map_or(0, |&n| n as usize));
    for id in graph.ids() {
        graph.each_child(id, |child| {
            let slot = &mut first[child.index() + 1];
            parents[*slot as usize] = id;
            *slot += 1;
        });
    }
    let mut holds = vec![false; graph.len()];
    let mut pending: Vec<NodeId> = wanted.collect();
    while let Some(id) = pending.pop() {
        if !std::mem::replace(&mut holds[id.index()], true) {
            pending.extend(&parents[first[id.index()] as usize..first[id.index() + 1] as usize]);
        }
    }
    holds
}
