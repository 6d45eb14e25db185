//! numpy: arrays, dtypes and the bytes they are made of. From `numpy/core/src/multiarray/methods.c`
//! (`array_reduce`, `array_setstate`), `descriptor.c` (`arraydescr_reduce`) and `numpy/_core/numeric.py` (`_frombuffer`).

use std::sync::Arc;

use crate::error::Result;
use crate::globals::array::{self, Data};
use crate::globals::reader::Reader;
use crate::globals::value::{Absence, Call, Lowering, Part, Value};
use crate::globals::{Meaning, Row};
use crate::numpy::{Field, NumpyDtype, is_fortran};
use crate::pickle::{Node, NodeId};
use crate::storage::{Content, latin1_len};
use crate::tensor::Dtype;
use crate::tensor::layout::{column_major, row_major};

use Meaning::{Harmless, Rebuild, RebuildWithState};

pub(super) const ROWS: &[Row] = &[
    ("numpy.core.multiarray", "_reconstruct", RebuildWithState(reconstruct)),
    ("numpy.core._internal", "_reconstruct", RebuildWithState(reconstruct)),
    ("numpy.core.multiarray", "scalar", Harmless),
    ("numpy.core.numeric", "_frombuffer", Rebuild(from_buffer)),
    ("numpy.ma.core", "_mareconstruct", RebuildWithState(masked)),
    ("jax._src.array", "_reconstruct_array", Rebuild(jax_array)),
    ("jax.array", "_reconstruct_array", Rebuild(jax_array)),
    ("numpy", "dtype", RebuildWithState(dtype)),
    ("numpy", "ndarray", Harmless),
    ("_codecs", "encode", Rebuild(encode)),
    ("builtins", "bytes", Rebuild(bytes)),
    ("builtins", "bytearray", Rebuild(bytes)),
];

/// `_reconstruct(class, (0,), b'b')`, then the state `(version, shape, dtype, is_fortran, data)`.
fn reconstruct(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    let graph = reader.graph();
    // A subclass may have a state of its own, from which only its code could tell the array.
    let own_state = |reader: &Reader<'_>| Value::Unsupported(reader.unsupported(call.id, "an array with a state of its own"));
    let state = call.states.first().and_then(|&state| graph.tuple(state));
    let [shape, dtype, fortran, data] = match state {
        Some(&[version, shape, dtype, fortran, data]) if graph.int(version) == Some(1) => [shape, dtype, fortran, data],
        Some(&[shape, dtype, fortran, data]) => [shape, dtype, fortran, data],
        _ => return Ok(own_state(reader)),
    };
    let fortran = is_fortran(graph, fortran).ok_or_else(|| reader.bad_call(call, "has no order flag in its state"))?;
    let shape = reader.dims(call, shape)?;
    let strides = if fortran { column_major(&shape) } else { row_major(&shape) };
    if matches!(graph.node(data), Node::ByteArray(_)) {
        return Err(reader.bad_call(call, "has a bytearray as its data, which numpy does not take"));
    }
    array(reader, call, data, dtype, &shape, &strides)
}

/// `_frombuffer(buffer, dtype, shape, order[, axis_order])`: `K` is row-major and then transposed.
fn from_buffer(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    let (buffer, dtype, shape, order, axes) = match *call.args.as_slice() {
        [buffer, dtype, shape, order] => (buffer, dtype, shape, order, None),
        [buffer, dtype, shape, order, axes] => (buffer, dtype, shape, order, Some(axes)),
        _ => return Err(reader.bad_call(call, "has neither 4 nor 5 arguments")),
    };
    let shape = reader.dims(call, shape)?;
    match (reader.graph().str(order), axes) {
        (Some("C"), _) => array(reader, call, buffer, dtype, &shape, &row_major(&shape)),
        (Some("F"), _) => array(reader, call, buffer, dtype, &shape, &column_major(&shape)),
        (Some("K"), Some(axes)) => {
            let axes = reader.dims(call, axes)?;
            let mut sorted = axes.clone();
            sorted.sort_unstable();
            if sorted.len() != shape.len() || !sorted.iter().zip(0..).all(|(axis, expected)| *axis == expected) {
                return Err(reader.bad_call(call, "has an axis order that is no permutation of its dimensions"));
            }
            let strides = row_major(&shape);
            // A permutation of 0..n, so every index is inside.
            let permuted = |values: &[i64]| axes.iter().map(|&axis| values[axis as usize]).collect::<Vec<_>>();
            array(reader, call, buffer, dtype, &permuted(&shape), &permuted(&strides))
        }
        _ => Err(reader.bad_call(call, "has an order other than C, F, or K with its axes")),
    }
}

/// An array of `data`, which must hold exactly as many bytes as shape and dtype need.
fn array(reader: &mut Reader<'_>, call: &Call, data: NodeId, dtype: NodeId, shape: &[i64], strides: &[i64]) -> Result<Value> {
    let dtype = match (reader.value(dtype)?, reader.graph().object(dtype)) {
        (Value::NumpyDtype(dtype), _) => dtype,
        (Value::Inert, Some(object)) => {
            let path = reader.graph().global(object.callable).map(|global| global.path()).unwrap_or_default();
            NumpyDtype::NoTwin { what: crate::text::quoted(&path, 100), item_bytes: 0 }
        }
        _ => return Err(reader.bad_call(call, "has a dtype that is none of numpy's")),
    };
    if dtype.has_objects() {
        return match (&dtype, reader.graph().node(data)) {
            (NumpyDtype::Object, Node::List(_)) => Ok(Value::ObjectArray { items: data, scalar: shape.is_empty() }),
            (NumpyDtype::Object, _) => Err(reader.bad_call(call, "is an array of objects whose items are no list")),
            _ => Ok(Value::Absent(Absence { dtype: Some(dtype.describe()), ..objects(shape) })),
        };
    }
    if let NumpyDtype::NoTwin { what, .. } = &dtype {
        return Ok(Value::Absent(array::no_twin(what, shape)));
    }
    let Value::Bytes(content, len) = reader.value(data)? else {
        return Err(reader.bad_call(call, "has data that is no bytes"));
    };
    let data = Data { node: data, content, content_bytes: len, offset: 0, len, place: reader.place(data) };
    array::strided(reader, call.id, &dtype, (shape, strides), data)
}

/// `_mareconstruct(subtype, base, (0,), 'b')`, then the state of the array with the bytes of the mask and the fill value:
/// `(version, shape, dtype, is_fortran, data, mask, fill_value)`. From `MaskedArray.__getstate__`.
fn masked(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    let graph = reader.graph();
    let state = call.states.first().and_then(|&state| graph.tuple(state));
    let Some(&[_, shape, dtype_node, fortran, data, mask, _]) = state else {
        return Err(reader.bad_call(call, "has no state of a masked array"));
    };
    let shape = reader.dims(call, shape)?;
    let fortran = is_fortran(graph, fortran).ok_or_else(|| reader.bad_call(call, "has no order flag in its state"))?;
    let strides = if fortran { column_major(&shape) } else { row_major(&shape) };
    let values = array(reader, call, data, dtype_node, &shape, &strides)?;
    if let Value::ObjectArray { .. } = values {
        return Ok(Value::Unsupported(reader.unsupported(call.id, "a masked array of objects")));
    }
    let Value::NumpyDtype(dtype) = reader.value(dtype_node)? else { return Ok(values) };
    let Value::Bytes(content, len) = reader.value(mask)? else { return Err(reader.bad_call(call, "has a mask that is no bytes")) };
    let data = Data { node: mask, content, content_bytes: len, offset: 0, len, place: reader.place(mask) };
    let mask = array::strided(reader, call.id, &mask_dtype(&dtype), (&shape, &strides), data)?;
    let mut parts = match values {
        Value::Tensor(id) => vec![Part::tensor("", id)],
        Value::Lowered(_, parts) => parts,
        other => return Ok(other),
    };
    match mask {
        Value::Tensor(id) => parts.push(Part::tensor(".mask", id)),
        Value::Lowered(_, masks) => {
            parts.extend(masks.into_iter().map(|part| Part { suffix: format!(".mask{}", part.suffix).into(), ..part }));
        }
        _ => unreachable!("masks are bools"),
    }
    let dtype = matches!(dtype, NumpyDtype::Plain { .. }).then(|| dtype.describe());
    Ok(Value::Lowered(Arc::new(Lowering::new("masked", dtype, &shape)), parts))
}

/// A bool for each number of a dtype.
fn mask_dtype(dtype: &NumpyDtype) -> NumpyDtype {
    match dtype {
        NumpyDtype::Record { fields, .. } => {
            let mut at = 0;
            let fields = fields.iter().map(|field| {
                let dtype = mask_dtype(&field.dtype);
                let offset = at;
                at += dtype.item_bytes().unwrap_or(u64::MAX / 2);
                Field { name: field.name.clone(), offset, dtype }
            });
            let fields = fields.collect();
            NumpyDtype::Record { fields, item_bytes: at }
        }
        NumpyDtype::Subarray { base, shape } => NumpyDtype::Subarray { base: Box::new(mask_dtype(base)), shape: shape.clone() },
        _ => NumpyDtype::Plain { dtype: Dtype::BOOL, big_endian: false },
    }
}

/// `(function, args, state, abstract_value_state)`: a numpy array, from which jax makes its own.
fn jax_array(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    match *call.args.as_slice() {
        [function, args, state, _] => reader.apply(call, function, args, &[state]),
        [function, args, state] => reader.apply(call, function, args, &[state]),
        _ => Err(reader.bad_call(call, "has neither 3 nor 4 arguments")),
    }
}

fn objects(shape: &[i64]) -> Absence {
    Absence { reason: "its elements hold Python objects".to_owned(), dtype: None, shape: Some(shape.to_vec()) }
}

/// `dtype(code, align, copy)` and its state.
fn dtype(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    let dtype = NumpyDtype::from_pickle(reader.graph(), call.id);
    dtype.map(Value::NumpyDtype).map_err(|what| reader.bad_call(call, what))
}

/// `_codecs.encode(text, 'latin1')`: bytes, as Python 3 writes them below protocol 3.
fn encode(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    let graph = reader.graph();
    match *call.args.as_slice() {
        [text, codec] if graph.is_word(codec, &["latin1", "latin-1"]) => latin1(reader, call, text),
        // Another codec would have to be run to know the bytes; what depends on them is refused.
        _ => Ok(Value::Inert),
    }
}

/// `bytes()`, `bytes(other)`, `bytearray(text, 'latin-1')`
fn bytes(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    match *call.args.as_slice() {
        [] => Ok(Value::Bytes(Content::Plain(crate::source::Region::memory(Default::default())), 0)),
        [other] => match reader.value(other)? {
            value @ Value::Bytes(..) => Ok(value),
            _ => Ok(Value::Inert),
        },
        _ => encode(reader, call),
    }
}

fn latin1(reader: &mut Reader<'_>, call: &Call, text: NodeId) -> Result<Value> {
    let Node::Text(blob) = reader.graph().node(text) else {
        return Err(reader.bad_call(call, "encodes something that is no text"));
    };
    let len = reader.once_for(text, |graph| latin1_len(graph.blob(blob)));
    Ok(Value::Bytes(Content::Latin1(reader.blob_region(blob)), len))
}
