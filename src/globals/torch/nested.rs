//! Nested tensors: one buffer, and where each of the tensors in it is.

use std::sync::Arc;

use crate::error::Result;
use crate::globals::reader::Reader;
use crate::globals::torch::{tensor_part, wrong_arity};
use crate::globals::value::{Call, Lowering, Value};
use crate::pickle::Node;

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

/// `({values, offsets, lengths, _ragged_idx, ...},)`: lengths may be `None`.
pub(super) fn rebuild_jagged(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    let graph = reader.graph();
    let &[state] = call.args.as_slice() else { return Err(wrong_arity(reader, call)) };
    let Node::Dict(pairs) = graph.node(state) else { return Err(reader.bad_call(call, "has no dict")) };
    let get = |name: &str| pairs.iter().rev().find(|(key, _)| graph.str(*key) == Some(name)).map(|(_, value)| *value);
    let mut parts = Vec::new();
    for (suffix, name) in [(".values", "values"), (".offsets", "offsets"), (".lengths", "lengths")] {
        let node = get(name).ok_or_else(|| reader.bad_call(call, &format!("has no {name}")))?;
        if name == "lengths" && graph.node(node) == &Node::None {
            continue;
        }
        match tensor_part(reader, call, suffix, node)? {
            Ok(part) => parts.push(part),
            Err(without) => return Ok(without),
        }
    }
    let dtype = parts.first().and_then(|values| reader.dtype_of(values));
    let mut lowering = Lowering { shape: None, ..Lowering::new("jagged", dtype, &[]) };
    if let Some(index) = get("_ragged_idx").and_then(|index| graph.int(index)) {
        lowering = lowering.with("ragged_index", index);
    }
    // What it caches of the lengths can be computed again; it stands beside the tensor.
    if let Some(cache) = get("_metadata_cache") {
        reader.set_attributes(call.id, cache);
    }
    Ok(Value::Lowered(Arc::new(lowering), parts))
}
