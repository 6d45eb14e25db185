//! numpy: arrays, dtypes and the bytes they are made of. From `numpy/core/src/multiarray/methods.c`
//! (`array_reduce`, `array_setstate`), `descriptor.c` (`arraydescr_reduce`) and `numpy/_core/numeric.py` (`_frombuffer`).

use crate::error::{self, Result};
use crate::globals::reader::{Absence, Call, NumpyDtype, Reader, Value};
use crate::globals::{Meaning, Row};
use crate::pickle::{Node, NodeId};
use crate::storage::{Content, latin1_len};
use crate::tensor::layout::{Declared, column_major, row_major};
use crate::tensor::{Dtype, Transform};

use Meaning::{Harmless, Rebuild, RebuildWithState, Unsupported};

pub(super) const ROWS: &[Row] = &[
    ("numpy.core.multiarray", "_reconstruct", RebuildWithState(reconstruct)),
    ("numpy.core._internal", "_reconstruct", RebuildWithState(reconstruct)),
    ("numpy.core.multiarray", "scalar", Harmless),
    ("numpy.core.numeric", "_frombuffer", Rebuild(from_buffer)),
    ("numpy.ma.core", "_mareconstruct", Unsupported("a masked array")),
    ("jax._src.array", "_reconstruct_array", Unsupported("a jax array")),
    ("jax.array", "_reconstruct_array", Unsupported("a jax array")),
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
            NumpyDtype::NoTwin(crate::text::quoted(&path, 100))
        }
        _ => return Err(reader.bad_call(call, "has a dtype that is none of numpy's")),
    };
    let (dtype, big_endian) = match dtype {
        NumpyDtype::Plain { dtype, big_endian } => (dtype, big_endian),
        NumpyDtype::Object => {
            return match reader.graph().node(data) {
                Node::List(_) => Ok(Value::ObjectArray { items: data }),
                _ => Err(reader.bad_call(call, "is an array of objects whose items are no list")),
            };
        }
        NumpyDtype::NoTwin(what) => {
            let reason = format!("safetensors has no dtype for {what}");
            return Ok(Value::Absent(Absence { reason, dtype: Some(what), shape: Some(shape.to_vec()) }));
        }
    };
    let Value::Bytes(content, len) = reader.value(data)? else {
        return Err(reader.bad_call(call, "has data that is no bytes"));
    };
    let needed = shape.iter().try_fold(i128::from(dtype.item_bytes()), |n, &size| n.checked_mul(size.into()));
    if needed != Some(len.into()) {
        let needed = needed.and_then(|n| u128::try_from(n).ok()).unwrap_or(u128::MAX);
        return Err(error::storage_size(&reader.place(data), "of an array", len, needed));
    }
    let storage = reader.own_storage(data, content, len, big_endian);
    reader.tensor(call, &storage, dtype, &Declared { shape, strides, offset: 0 }, Transform::default())
}

/// `dtype(code, align, copy)`, then the state `(version, byteorder, subarray, names, fields, itemsize, align, flags...)`.
fn dtype(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    let graph = reader.graph();
    let Some(&code) = call.args.first() else { return Err(reader.bad_call(call, "has no type code")) };
    let state = call.states.first().and_then(|&state| graph.tuple(state)).unwrap_or_default();
    let given = |index: usize| state.get(index).is_some_and(|&id| graph.node(id) != &Node::None);
    let byteorder = state.get(1).and_then(|&id| graph.str_or_ascii(id)).unwrap_or_default();
    if given(3) || given(4) {
        return Ok(Value::NumpyDtype(NumpyDtype::NoTwin("structured arrays".to_owned())));
    }
    if given(2) {
        return Ok(Value::NumpyDtype(NumpyDtype::NoTwin("subarray dtypes".to_owned())));
    }
    if let Some(global) = graph.global(code) {
        let known = ML_DTYPES.iter().find(|(name, _)| global.module == "ml_dtypes" && global.name == *name);
        return Ok(Value::NumpyDtype(match known {
            Some((_, dtype)) => NumpyDtype::Plain { dtype: *dtype, big_endian: byteorder == ">" },
            None => NumpyDtype::NoTwin(crate::text::printable(&global.path()).into_owned()),
        }));
    }
    let code = graph.str_or_ascii(code).ok_or_else(|| reader.bad_call(call, "has a type code that is no text"))?;
    let (order, code) = match code.split_at_checked(1) {
        Some((order @ ("<" | ">" | "|" | "="), code)) => (order, code),
        _ => (byteorder, code),
    };
    // A state overrides the order that the code may have.
    let big_endian = if byteorder.is_empty() { order == ">" } else { byteorder == ">" };
    Ok(Value::NumpyDtype(match (Dtype::from_numpy_code(code), code.chars().next()) {
        (Some(dtype), _) => NumpyDtype::Plain { dtype, big_endian },
        (None, Some('O')) => NumpyDtype::Object,
        (None, Some('S' | 'a')) => NumpyDtype::NoTwin("byte strings".to_owned()),
        (None, Some('U')) => NumpyDtype::NoTwin("strings".to_owned()),
        (None, Some('V')) => NumpyDtype::NoTwin("raw records".to_owned()),
        (None, Some('M')) => NumpyDtype::NoTwin("datetime64".to_owned()),
        (None, Some('m')) => NumpyDtype::NoTwin("timedelta64".to_owned()),
        (None, Some('f' | 'c' | 'g')) => NumpyDtype::NoTwin("long double".to_owned()),
        _ => NumpyDtype::NoTwin(crate::text::quoted(code, 40)),
    }))
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
