//! numpy: arrays, dtypes and the bytes they are made of. From `numpy/core/src/multiarray/methods.c`
//! (`array_reduce`, `array_setstate`), `descriptor.c` (`arraydescr_reduce`) and `numpy/_core/numeric.py` (`_frombuffer`).

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::Result;
use crate::globals::reader::Reader;
use crate::globals::value::{Absence, Call, Lowering, Part, Value};
use crate::globals::{Meaning, Row};
use crate::globals::array::{self, Data};
use crate::numpy::{Field, NumpyDtype};
use crate::pickle::{Graph, Node, NodeId};
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

/// The dtypes of the `ml_dtypes` package, which pickle as a class. Its other ones have no twin in safetensors.
const ML_DTYPES: &[(&str, Dtype)] = &[
    ("bfloat16", Dtype::BF16),
    ("float8_e4m3fn", Dtype::F8_E4M3FN),
    ("float8_e5m2", Dtype::F8_E5M2),
    ("float8_e4m3fnuz", Dtype::F8_E4M3FNUZ),
    ("float8_e5m2fnuz", Dtype::F8_E5M2FNUZ),
    ("float8_e8m0fnu", Dtype::F8_E8M0FNU),
];

/// `_reconstruct(class, (0,), b'b')`, then the state `(version, shape, dtype, is_fortran, data)`.
fn reconstruct(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    let graph = reader.graph();
    // A subclass may have a state of its own, from which only its code could tell the array.
    let own_state = |reader: &Reader<'_>| Value::Unsupported(reader.unsupported(call.id, "an array with a state of its own"));
    let state = call.states.first().and_then(|&state| graph.tuple(state));
    let [shape, dtype, fortran, data] = match state {
        Some(&[version, shape, dtype, fortran, data]) if graph.int(version).is_some() => [shape, dtype, fortran, data],
        Some(&[shape, dtype, fortran, data]) => [shape, dtype, fortran, data],
        _ => return Ok(own_state(reader)),
    };
    let fortran = match graph.node(fortran) {
        Node::Bool(fortran) => *fortran,
        Node::Int(fortran) => *fortran != 0,
        _ => return Err(reader.bad_call(call, "has no order flag in its state")),
    };
    let shape = reader.dims(call, shape)?;
    let strides = if fortran { column_major(&shape) } else { row_major(&shape) };
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
    let Some(&[_, shape, dtype_node, fortran, data, mask, _]) = state else { return Err(reader.bad_call(call, "has no state of a masked array")) };
    let shape = reader.dims(call, shape)?;
    let strides = if graph.node(fortran) == &Node::Bool(true) { column_major(&shape) } else { row_major(&shape) };
    let values = array(reader, call, data, dtype_node, &shape, &strides)?;
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

/// `dtype(code, align, copy)`, then the state `(version, byteorder, subarray, names, fields, itemsize, align, flags...)`.
fn dtype(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    let graph = reader.graph();
    let Some(&code) = call.args.first() else { return Err(reader.bad_call(call, "has no type code")) };
    let state = call.states.first().and_then(|&state| graph.tuple(state)).unwrap_or_default();
    let given = |index: usize| state.get(index).copied().filter(|&id| graph.node(id) != &Node::None);
    let byteorder = state.get(1).and_then(|&id| graph.str_or_ascii(id)).unwrap_or_default();
    if let (Some(names), Some(fields)) = (given(3), given(4)) {
        return record(reader, call, [names, fields], given(5)).map(Value::NumpyDtype);
    }
    if let Some(subarray) = given(2) {
        let Some(&[base, shape]) = graph.tuple(subarray) else { return Err(reader.bad_call(call, "has a subarray of another form")) };
        let Value::NumpyDtype(base) = reader.value(base)? else { return Err(reader.bad_call(call, "has a subarray of no dtype")) };
        let shape = match graph.int(shape) {
            Some(size) => vec![size],
            None => reader.dims(call, shape)?,
        };
        return Ok(Value::NumpyDtype(NumpyDtype::Subarray { base: Box::new(base), shape }));
    }
    if let Some(global) = graph.global(code) {
        let known = ML_DTYPES.iter().find(|(name, _)| global.module == "ml_dtypes" && global.name == *name);
        return Ok(Value::NumpyDtype(match known {
            Some((_, dtype)) => NumpyDtype::Plain { dtype: *dtype, big_endian: byteorder == ">" },
            None => NumpyDtype::NoTwin { what: crate::text::printable(&global.path()).into_owned(), item_bytes: item_bytes(graph, given(5)) },
        }));
    }
    let code = graph.str_or_ascii(code).ok_or_else(|| reader.bad_call(call, "has a type code that is no text"))?;
    let (order, code) = match code.split_at_checked(1) {
        Some((order @ ("<" | ">" | "|" | "="), code)) => (order, code),
        _ => (byteorder, code),
    };
    // A state overrides the order that the code may have.
    let big_endian = if byteorder.is_empty() { order == ">" } else { byteorder == ">" };
    Ok(Value::NumpyDtype(match NumpyDtype::from_code(code, big_endian) {
        NumpyDtype::Time { kind, unit, big_endian } => {
            let unit = match given(8) {
                Some(metadata) => time_unit(reader, metadata)?.ok_or_else(|| reader.bad_call(call, "has a unit of another form"))?,
                None => unit,
            };
            NumpyDtype::Time { kind, unit, big_endian }
        }
        // Of text the code says no size; the state does.
        NumpyDtype::NoTwin { what, item_bytes: 0 } => NumpyDtype::NoTwin { what, item_bytes: item_bytes(graph, given(5)) },
        dtype => dtype,
    }))
}

fn item_bytes(graph: &Graph, size: Option<NodeId>) -> u64 {
    size.and_then(|size| graph.int(size)).and_then(|size| u64::try_from(size).ok()).unwrap_or(0)
}

/// A structured dtype: the names in order, and for each `(dtype, offset[, title])`.
fn record(reader: &mut Reader<'_>, call: &Call, [names, fields]: [NodeId; 2], size: Option<NodeId>) -> Result<NumpyDtype> {
    let graph = reader.graph();
    let bad = |reader: &Reader<'_>| reader.bad_call(call, "has fields of another form");
    let Node::Dict(pairs) = graph.node(fields) else { return Err(bad(reader)) };
    let by_name: HashMap<&str, NodeId> = pairs.iter().filter_map(|(name, field)| Some((graph.str_or_ascii(*name)?, *field))).collect();
    let mut parsed = Vec::new();
    for &name in graph.sequence(names).ok_or_else(|| bad(reader))? {
        let name = graph.str_or_ascii(name).ok_or_else(|| bad(reader))?;
        let field = by_name.get(name).and_then(|&field| graph.tuple(field));
        let Some(&[dtype, offset, ..]) = field else { return Err(bad(reader)) };
        let offset = graph.int(offset).and_then(|offset| u64::try_from(offset).ok()).ok_or_else(|| bad(reader))?;
        let Value::NumpyDtype(dtype) = reader.value(dtype)? else { return Err(bad(reader)) };
        parsed.push(Field { name: name.to_owned(), offset, dtype });
    }
    let item_bytes = item_bytes(graph, size);
    let inside = |field: &Field| field.dtype.item_bytes().and_then(|n| n.checked_add(field.offset)).is_some_and(|end| end <= item_bytes);
    if !parsed.iter().all(inside) {
        return Err(reader.bad_call(call, "has a field that reaches beyond its element"));
    }
    Ok(NumpyDtype::Record { fields: parsed, item_bytes })
}

/// `(metadata, (unit, count, divisor, events))`, as `10us`.
fn time_unit(reader: &mut Reader<'_>, metadata: NodeId) -> Result<Option<String>> {
    let graph = reader.graph();
    let unit = match graph.tuple(metadata) {
        Some(&[_, unit]) => graph.tuple(unit),
        _ => None,
    };
    let Some(&[unit, count, divisor, _events]) = unit else { return Ok(None) };
    let name = match graph.str_or_ascii(unit) {
        Some(name) => name.to_owned(),
        // Below protocol 3 bytes are a call.
        None => match reader.value(unit)? {
            Value::Bytes(Content::Plain(text) | Content::Latin1(text), _) => String::from_utf8_lossy(&text.bytes()?).into_owned(),
            _ => return Ok(None),
        },
    };
    let (Some(count), Some(divisor)) = (graph.int(count), graph.int(divisor)) else { return Ok(None) };
    let count = if count == 1 { String::new() } else { count.to_string() };
    Ok(Some(if divisor == 1 { format!("{count}{name}") } else { format!("{count}{name}/{divisor}") }))
}

/// `_codecs.encode(text, 'latin1')`: bytes, as Python 3 writes them below protocol 3.
fn encode(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    let graph = reader.graph();
    let codec = call.args.get(1).and_then(|&codec| graph.str(codec));
    match (call.args.as_slice(), codec) {
        (&[text, _], Some("latin1" | "latin-1")) => latin1(reader, call, text),
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

fn latin1(reader: &Reader<'_>, call: &Call, text: NodeId) -> Result<Value> {
    let Node::Text(blob) = reader.graph().node(text) else {
        return Err(reader.bad_call(call, "encodes something that is no text"));
    };
    let len = latin1_len(reader.graph().blob(*blob));
    Ok(Value::Bytes(Content::Latin1(reader.blob_region(*blob)), len))
}
