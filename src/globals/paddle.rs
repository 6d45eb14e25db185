//! Paddle: how `paddle.save` pickles tensors. From `python/paddle/framework/io.py` (`_pickle_save`, `_unpack_saved_dict`).
//!
//! A dict of tensors is a dict of numpy arrays, with a key of its own beside them. In anything else a tensor is the call
//! `tuple((name, array))`, and one without a name is `eval('data', {'data': array})`: the only eval that is no danger, when it has
//! exactly this form. Arrays of `uint16` are bfloat16, which numpy lacks. Large arrays are cut below pickle protocol 4.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::container::Document;
use crate::error::{self, Result};
use crate::globals::reader::Reader;
use crate::globals::value::{Lowering, Part, PartContent, TensorId, Value};
use crate::names::unique_pairs;
use crate::pickle::{Graph, Node, NodeId, Object, Origin};
use crate::tensor::Dtype;

const NAMES: &str = "StructuredToParameterName@@";
const SLICES: &str = "UnpackBigParamInfor@@";

/// The array of `eval('data', {'data': array})`.
pub(crate) fn evaluated(graph: &Graph, id: NodeId, object: Object<'_>) -> Option<NodeId> {
    if !is_builtin(graph, object, "eval") {
        return None;
    }
    let &[code, names] = graph.tuple(object.args)? else { return None };
    let Node::Dict(pairs) = graph.node(names) else { return None };
    let &[(key, array)] = pairs else { return None };
    let exact = is_plain_call(object)
        && matches!(graph.node(code), Node::Text(_))
        && graph.is_word(code, &["data"])
        && graph.is_word(key, &["data"])
        && !graph.changed_since(names, id);
    exact.then_some(array)
}

/// The array of `tuple((name, array))`.
pub(super) fn named(graph: &Graph, object: Object<'_>) -> Option<NodeId> {
    if !is_builtin(graph, object, "tuple") {
        return None;
    }
    let &[pair] = graph.tuple(object.args)? else { return None };
    let &[name, array] = graph.tuple(pair)? else { return None };
    (is_plain_call(object) && matches!(graph.node(name), Node::Text(_) | Node::Str(_)) && graph.object(array).is_some()).then_some(array)
}

fn is_builtin(graph: &Graph, object: Object<'_>, name: &str) -> bool {
    graph.global(object.callable).is_some_and(|global| global.name == name && matches!(global.module.as_str(), "builtins" | "__builtin__"))
}

fn is_plain_call(object: Object<'_>) -> bool {
    object.origin == Origin::Reduce
        && object.states.is_empty()
        && object.items.is_empty()
        && object.appended.is_empty()
        && object.kwargs.is_none()
}

/// The spaces of a document that Paddle wrote: a bundle may hold files of others, too.
pub(super) fn spaces(document: &Document) -> HashSet<usize> {
    let graph = &document.graph;
    let has_key = |root: &NodeId| match graph.node(*root) {
        Node::Dict(pairs) => pairs.iter().any(|(key, _)| graph.is_word(*key, &[NAMES, SLICES])),
        _ => false,
    };
    let by_key = document.roots.iter().copied().filter(has_key);
    let is_call =
        |id: &NodeId| graph.object(*id).is_some_and(|object| named(graph, object).is_some() || evaluated(graph, *id, object).is_some());
    by_key.chain(graph.ids().filter(is_call)).map(|id| document.space_of(id)).collect()
}

/// An array of `uint16` as the bfloat16 that it is.
pub(super) fn as_bfloat16(reader: &mut Reader<'_>, value: Value) -> Value {
    let Value::Tensor(id) = value else { return value };
    let tensor = reader.tensor_mut(id);
    if tensor.dtype != Dtype::U16 {
        return value;
    }
    tensor.dtype = Dtype::BF16;
    Value::Lowered(
        Arc::new(Lowering::new("paddle_bfloat16", Some("bfloat16".to_owned()), &tensor.view.signed_shape())),
        vec![Part::tensor("", id)],
    )
}

/// A parameter that was cut: its key, the node that describes it, and the entries of its pieces.
pub(crate) struct Sliced {
    pub key: NodeId,
    pub description: NodeId,
    pub pieces: Vec<(NodeId, NodeId)>,
    shape: NodeId,
}

/// The entries of a dict, as Python would hold them.
fn pairs(graph: &Graph, dict: NodeId) -> Option<Vec<(NodeId, NodeId)>> {
    match graph.node(dict) {
        Node::Dict(pairs) => Some(unique_pairs(graph, pairs.iter().copied()).0),
        _ => None,
    }
}

/// The parameters of a root that were cut, and the entry that describes them.
pub(crate) fn sliced(graph: &Graph, root: NodeId) -> Option<(NodeId, Vec<Sliced>)> {
    let Node::Dict(entries) = graph.node(root) else { return None };
    if !entries.iter().any(|(key, _)| graph.is_word(*key, &[SLICES])) {
        return None;
    }
    let root = pairs(graph, root)?;
    let (info, described) = root.iter().find(|(key, _)| graph.is_word(*key, &[SLICES]))?;
    let described = pairs(graph, *described)?;
    let by_name: HashMap<&str, (NodeId, NodeId)> = root.iter().filter_map(|&(key, value)| Some((graph.str(key)?, (key, value)))).collect();
    let of = |(key, description): &(NodeId, NodeId)| {
        let fields = pairs(graph, *description)?;
        let field = |name: &str| fields.iter().find(|(key, _)| graph.is_word(*key, &[name])).map(|(_, value)| *value);
        let names = graph.sequence(field("slices")?)?;
        let pieces = names.iter().map(|name| by_name.get(graph.str(*name)?).copied()).collect::<Option<Vec<_>>>()?;
        Some(Sliced { key: *key, description: *description, pieces, shape: field("OriginShape")? })
    };
    Some((*info, described.iter().map(of).collect::<Option<Vec<_>>>()?))
}

/// The tensor that the pieces of a parameter make.
pub(crate) fn join(reader: &mut Reader<'_>, sliced: &Sliced) -> Result<Value> {
    let graph = reader.graph();
    let place = reader.place(sliced.description);
    let bad = |what: &str| error::tensor_invalid(&place, format!("a parameter that Paddle cut {what}"));
    let shape: Option<Vec<i64>> = graph.sequence(sliced.shape).and_then(|shape| shape.iter().map(|&size| graph.int(size)).collect());
    let shape = shape.ok_or_else(|| bad("has no shape"))?;
    let mut pieces: Vec<TensorId> = Vec::new();
    for &(_, value) in &sliced.pieces {
        match reader.value(value)? {
            Value::Tensor(id) => pieces.push(id),
            Value::Lowered(_, parts) => match parts.as_slice() {
                [Part { content: PartContent::Tensor(id), .. }] => pieces.push(*id),
                _ => return Err(bad("has a piece that is no array")),
            },
            _ => return Err(bad("has a piece that is no array")),
        }
    }
    reader.joined(sliced.description, &pieces, &shape).map_err(|e| e.at(&place))
}
