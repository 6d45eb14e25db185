//! From the graph to the tree of tensors: what is where, under which path, and what has no data.
//!
//! Nothing here decides what is written; that is `select`'s business. Nothing is called; an object of an unknown class
//! is walked through its state, an `nn.Module` by the rules of its `state_dict()`.

mod contents;
mod remade;
mod walk;

use std::collections::HashMap;
use std::sync::Arc;

use crate::container::Document;
use crate::error::{self, Error, Result};
use crate::finding::Finding;
use crate::globals::{Absence, Lowering, Reader, TensorId, Value, paddle};
use crate::limits::ReadOptions;
use crate::names::{PathId, Paths};
use crate::pickle::{Graph, Node, NodeId};
use crate::storage::Storage;
use crate::tensor::Tensor;

pub(crate) use contents::{mapping_pairs, shares_too_much, state_entries, top_values};
use walk::Walk;

/// A checkpoint, read and not yet written.
#[derive(Debug)]
pub struct Checkpoint {
    /// The container and the graph.
    pub document: Document,
    /// Every storage that the graph refers to.
    pub storages: Vec<Storage>,
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
}

/// A place in the tree where a tensor is or would be.
#[derive(Debug, Clone)]
pub struct Leaf {
    pub path: PathId,
    /// For a part of a lowered tensor, what is added to its name: `.scale`; else empty.
    pub part: Arc<str>,
    /// The node that is the tensor.
    pub node: NodeId,
    /// What is there.
    pub content: Content,
    /// What the tensor was that this is a part of.
    pub lowering: Option<Arc<Lowering>>,
    /// Why it is no part of the model although it has data: an attribute that `state_dict()` does not give.
    pub aside: Option<&'static str>,
}

/// What is at a leaf.
#[derive(Debug, Clone)]
pub enum Content {
    Tensor(TensorId),
    Absent(Absence),
    Unsupported(Error),
    /// A tensor subclass: its tensors are the leaves below.
    Wrapper,
}

/// Why a document cannot be understood, and the nested pickles that were read until then: what they would run must not
/// be lost with the rest.
#[derive(Debug)]
pub struct NotUnderstood {
    pub error: Error,
    pub nested_pickles: Vec<Graph>,
}

impl Checkpoint {
    /// Understands a document.
    ///
    /// # Errors
    /// Whatever is wrong with a tensor in it, and the limits on tensors and depth.
    pub fn of(document: Document, options: &ReadOptions) -> Result<Checkpoint, Box<NotUnderstood>> {
        let graph = &document.graph;
        let mut reader = Reader::new(&document, options);
        let values = evaluate(&mut reader);
        let found = reader.finish();
        let mut values = match values {
            Ok(values) => values,
            Err(error) => return Err(Box::new(NotUnderstood { error, nested_pickles: found.nested_pickles })),
        };
        let holds = holding(graph, values.keys().copied());
        values.extend(remade::of(&document, &holds));
        let mut walk = Walk::new(&document, options, values, found.attributes, holds, found.nested_findings);
        if let Err(error) = walk.run() {
            return Err(Box::new(NotUnderstood { error, nested_pickles: found.nested_pickles }));
        }
        let Walk { paths, leaves, findings, .. } = walk;
        Ok(Checkpoint {
            storages: found.storages,
            tensors: found.tensors,
            nested_pickles: found.nested_pickles,
            leaves,
            paths,
            findings,
            document,
        })
    }

    /// The tensor with this id.
    pub fn tensor(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.index()]
    }

    /// The storage that a tensor is a view of.
    pub fn storage_of(&self, tensor: &Tensor) -> &Storage {
        &self.storages[tensor.storage.index()]
    }
}

/// Whether anything in a document is a tensor, with data or not; true, too, when it cannot be understood, so that whoever asks
/// for its tensors is told why.
pub(crate) fn holds_tensors(document: &Document, options: &ReadOptions) -> bool {
    let before = options.memory();
    let mut reader = Reader::new(document, options);
    let values = evaluate(&mut reader);
    options.forget_memory(before);
    match values {
        Ok(values) => values.values().any(|value| !matches!(value, Value::StandsFor(_) | Value::ObjectArray { .. })),
        Err(_) => true,
    }
}

/// The values of all nodes below the root that are more than inert.
fn evaluate(reader: &mut Reader<'_>) -> Result<HashMap<NodeId, Value>> {
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
        for child in graph.children(id) {
            if !std::mem::replace(&mut reached[child.index()], true) {
                pending.push(child);
            }
        }
    }
    let mut values = HashMap::new();
    for id in graph.ids().filter(|id| reached[id.index()]) {
        if matches!(graph.node(id), Node::Object(_) | Node::Persistent(_) | Node::Given) {
            let value = reader.value(id)?;
            if !matches!(value, Value::Inert | Value::Bytes(..) | Value::NumpyDtype(_)) {
                values.insert(id, value);
            }
        }
    }
    for (_, sliced) in reader.roots().iter().filter_map(|root| paddle::sliced(graph, *root)) {
        for sliced in sliced {
            values.insert(sliced.description, paddle::join(reader, &sliced)?);
        }
    }
    Ok(values)
}

/// For each node, whether one of `wanted` is at or below it.
fn holding(graph: &Graph, wanted: impl Iterator<Item = NodeId>) -> Vec<bool> {
    // Edges from child to parent, as one array sorted by child: `parents[first[c]..first[c + 1]]`.
    let mut first = vec![0u32; graph.len() + 2];
    for id in graph.ids() {
        for child in graph.children(id) {
            first[child.index() + 2] += 1;
        }
    }
    for i in 1..first.len() {
        first[i] += first[i - 1];
    }
    let mut parents = vec![graph.root(); first.last().map_or(0, |&n| n as usize)];
    for id in graph.ids() {
        for child in graph.children(id) {
            let slot = &mut first[child.index() + 1];
            parents[*slot as usize] = id;
            *slot += 1;
        }
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
