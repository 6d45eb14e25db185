//! Sparse tensors: the indices and values that they are made of, as they are stored.

use std::sync::Arc;

use crate::error::Result;
use crate::globals::reader::Reader;
use crate::globals::torch::{tensor_part, wrong_arity};
use crate::globals::value::{Call, Lowering, Value};

/// Layouts, what the parts of each are called, and the kind in the manifest.
const LAYOUTS: &[(&str, &str, &[&str])] = &[
    ("torch.sparse_coo", "sparse_coo", &[".indices", ".values"]),
    ("torch.sparse_csr", "sparse_csr", &[".crow_indices", ".col_indices", ".values"]),
    ("torch.sparse_csc", "sparse_csc", &[".ccol_indices", ".row_indices", ".values"]),
    ("torch.sparse_bsr", "sparse_bsr", &[".crow_indices", ".col_indices", ".values"]),
    ("torch.sparse_bsc", "sparse_bsc", &[".ccol_indices", ".row_indices", ".values"]),
];

/// `(layout, data)`: for COO the data is `(indices, values, size[, is_coalesced])`, else
/// `(compressed_indices, plain_indices, values, size)`.
pub(super) fn rebuild(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    let graph = reader.graph();
    let &[layout, data] = call.args.as_slice() else { return Err(wrong_arity(reader, call)) };
    // `torch.serialization._get_layout('torch.sparse_coo')`
    let name = graph.object(layout).and_then(|call| graph.tuple(call.args)).and_then(|args| graph.str(*args.first()?));
    let Some((_, kind, suffixes)) = name.and_then(|name| LAYOUTS.iter().find(|(layout, ..)| *layout == name)) else {
        let what = format!("a sparse tensor of layout {}", crate::text::quoted(name.unwrap_or("?"), 60));
        return Ok(Value::Unsupported(reader.unsupported(call.id, &what)));
    };
    let items = graph.tuple(data).unwrap_or_default();
    let coalesced = match (*kind, items.len()) {
        ("sparse_coo", 3) => None,
        ("sparse_coo", 4) => Some(graph.node(items[3]) == crate::pickle::Node::Bool(true)),
        (_, 4) if *kind != "sparse_coo" => None,
        _ => return Err(reader.bad_call(call, "has parts of another form than its layout")),
    };
    let shape = reader.dims(call, items[suffixes.len()])?;
    let mut parts = Vec::new();
    for (suffix, &item) in suffixes.iter().zip(items) {
        match tensor_part(reader, call, suffix, item)? {
            Ok(part) => parts.push(part),
            Err(without) => return Ok(without),
        }
    }
    let dtype = parts.last().and_then(|values| reader.dtype_of(values));
    let mut lowering = Lowering::new(kind, dtype, &shape);
    if let Some(coalesced) = coalesced {
        lowering = lowering.with("coalesced", coalesced);
    }
    Ok(Value::Lowered(Arc::new(lowering), parts))
}
