//! Nested tensors: one buffer, and where each of the tensors in it is.

use std::sync::Arc;

use crate::error::Result;
use crate::globals::reader::Reader;
use crate::globals::torch::subclass::attribute;
use crate::globals::torch::{tensor_part, wrong_arity};
use crate::globals::value::{Call, Lowering, Value};
use crate::pickle::{Node, NodeId};

/// `(buffer, sizes, strides, storage_offsets)`
pub(super) fn rebuild(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    let &[buffer, sizes, strides, offsets] = call.args.as_slice() else { return Err(wrong_arity(reader, call)) };
    let mut parts = Vec::new();
    for (suffix, node) in [(".values", buffer), (".sizes", sizes), (".strides", strides), (".offsets", offsets)] {
        match tensor_part(reader, call, suffix, node)? {
            Ok(part) => parts.push(part),
            Err(without) => return Ok(without),
        }
    }
    let dtype = parts.first().and_then(|values| reader.dtype_of(values));
    Ok(Value::Lowered(Arc::new(Lowering { shape: None, ..Lowering::new("nested", dtype, &[]) }), parts))
}

pub(super) const JAGGED: &str = "torch.nested._internal.nested_tensor._rebuild_njt";
/// What torch 2.3 to 2.5 call in its place.
pub(super) const JAGGED_CLASS: &str = "torch.nested._internal.nested_tensor.NestedTensor";

/// Attributes in which a jagged tensor has its parts, and what it caches of them: empty tensors whose shape is a length.
pub(super) const REPEATED: &[&str] = &["_values", "_offsets", "_lengths", "_metadata_cache"];

/// `({values, offsets, lengths, _ragged_idx, _metadata_cache, ...},)`: lengths may be `None`. What is cached are empty tensors
/// whose shape is a length, which can be computed again.
pub(super) fn rebuild_jagged(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    let &[state] = call.args.as_slice() else { return Err(wrong_arity(reader, call)) };
    jagged(reader, call, state, ["values", "offsets", "lengths"])
}

/// The attributes `_values`, `_offsets` and `_lengths` of a jagged tensor; its constructor got the first two.
pub(super) fn jagged_with_state(reader: &mut Reader<'_>, call: &Call, state: NodeId) -> Result<Value> {
    jagged(reader, call, state, ["_values", "_offsets", "_lengths"])
}

fn jagged(reader: &mut Reader<'_>, call: &Call, state: NodeId, names: [&str; 3]) -> Result<Value> {
    let graph = reader.graph();
    let mut parts = Vec::new();
    for (suffix, name) in [".values", ".offsets", ".lengths"].into_iter().zip(names) {
        let node = attribute(reader, state, name).filter(|&node| graph.node(node) != Node::None);
        let Some(node) = node else {
            if suffix == ".lengths" {
                continue;
            }
            return Err(reader.bad_call(call, &format!("has no {name}")));
        };
        match tensor_part(reader, call, suffix, node)? {
            Ok(part) => parts.push(part),
            Err(without) => return Ok(without),
        }
    }
    let dtype = parts.first().and_then(|values| reader.dtype_of(values));
    let mut lowering = Lowering { shape: None, ..Lowering::new("jagged", dtype, &[]) };
    if let Some(index) = attribute(reader, state, "_ragged_idx").and_then(|index| graph.int(index)) {
        lowering = lowering.with("ragged_index", index);
    }
    Ok(Value::Lowered(Arc::new(lowering), parts))
}
