//! numpy's dtypes as pickles hold them: `dtype(code, align, copy)`, then the state `(version, byteorder, subarray, names,
//! fields, itemsize, alignment, flags[, metadata])`. From `numpy/core/src/multiarray/descriptor.c` (`arraydescr_reduce`).

use std::collections::HashMap;

use crate::numpy::{Field, NumpyDtype};
use crate::pickle::{Graph, Node, NodeId};
use crate::tensor::Dtype;

/// The dtypes of the `ml_dtypes` package, which pickle as a class. Its other ones have no twin in safetensors.
const ML_DTYPES: &[(&str, Dtype)] = &[
    ("bfloat16", Dtype::BF16),
    ("float8_e4m3fn", Dtype::F8_E4M3FN),
    ("float8_e5m2", Dtype::F8_E5M2),
    ("float8_e4m3fnuz", Dtype::F8_E4M3FNUZ),
    ("float8_e5m2fnuz", Dtype::F8_E5M2FNUZ),
    ("float8_e8m0fnu", Dtype::F8_E8M0FNU),
];

/// Dtypes nested deeper are given up.
const MAX_DEPTH: u32 = 16;
/// So are those of more fields; a dtype may be shared by many fields, and be large without a large file.
const MAX_FIELDS: u32 = 10_000;

impl NumpyDtype {
    /// The dtype that the object `id` is, or what is wrong with it.
    pub(crate) fn from_pickle(graph: &Graph, id: NodeId) -> Result<NumpyDtype, &'static str> {
        let dtype = dtype(graph, id, MAX_DEPTH, &mut MAX_FIELDS.clone())?;
        with_flags(graph, id, dtype)
    }
}

/// The order flag in the state of an array: a bool, or an integer as numpy reads it too.
pub(crate) fn is_fortran(graph: &Graph, flag: NodeId) -> Option<bool> {
    match graph.node(flag) {
        Node::Bool(fortran) => Some(fortran),
        Node::Int(fortran) => Some(fortran != 0),
        _ => None,
    }
}

/// The flag by which numpy knows that elements hold objects, and by which it decides how an array is pickled.
const HAS_OBJECTS: i64 = 1;

/// The dtype, if its flags say the same of objects as its fields. They may say more: a selection of fields keeps the flags of
/// the whole record.
fn with_flags(graph: &Graph, id: NodeId, dtype: NumpyDtype) -> Result<NumpyDtype, &'static str> {
    let state = graph.object(id).and_then(|object| graph.tuple(*object.states.first()?));
    let Some(flags) = state.and_then(|state| graph.int(*state.get(7)?)) else { return Ok(dtype) };
    match (flags & HAS_OBJECTS != 0, dtype.has_objects(), dtype) {
        (true, false, NumpyDtype::Record { mut fields, item_bytes }) => {
            fields.push(Field { name: String::new(), offset: 0, dtype: NumpyDtype::Object });
            Ok(NumpyDtype::Record { fields, item_bytes })
        }
        (true, false, _) => Err("has the flag of objects and holds none"),
        (false, true, _) => Err("holds objects and lacks their flag"),
        (_, _, dtype) => Ok(dtype),
    }
}

fn dtype(graph: &Graph, id: NodeId, depth_left: u32, fields_left: &mut u32) -> Result<NumpyDtype, &'static str> {
    *fields_left = fields_left.checked_sub(1).ok_or("has too many fields")?;
    let depth_left = depth_left.checked_sub(1).ok_or("is nested too deep")?;
    let object = graph.object(id).filter(|object| graph.global(object.callable).is_some_and(|global| global.path() == "numpy.dtype"));
    let object = object.ok_or("is no dtype of numpy's")?;
    if object.states.len() > 1 || !object.items.is_empty() || !object.appended.is_empty() || object.kwargs.is_some() {
        return Err("is changed after it was made");
    }
    let code = graph.tuple(object.args).and_then(|args| args.first().copied()).ok_or("has no type code")?;
    // Without a copy it is numpy's own dtype of that code, which no state changes.
    let copy = graph.tuple(object.args).and_then(|args| args.get(2).copied());
    if !object.states.is_empty() && copy.is_none_or(|copy| is_fortran(graph, copy) != Some(true)) {
        return Err("is no copy, and is given a state all the same");
    }
    let state = object.states.first().and_then(|&state| graph.tuple(state)).unwrap_or_default();
    let given = |index: usize| state.get(index).copied().filter(|&id| graph.node(id) != Node::None);
    let byteorder = state.get(1).and_then(|&id| graph.str_or_ascii(id)).unwrap_or_default();
    if let (Some(names), Some(fields)) = (given(3), given(4)) {
        return record(graph, names, fields, item_bytes(graph, given(5)), depth_left, fields_left);
    }
    if let Some(subarray) = given(2) {
        let Some(&[base, shape]) = graph.tuple(subarray) else { return Err("has a subarray of another form") };
        let shape = match graph.int(shape) {
            Some(size) => vec![size],
            None => dims(graph, shape).ok_or("has a subarray without a shape")?,
        };
        return Ok(NumpyDtype::Subarray { base: Box::new(dtype(graph, base, depth_left, fields_left)?), shape });
    }
    if let Some(global) = graph.global(code) {
        let known = ML_DTYPES.iter().find(|(name, _)| global.module == "ml_dtypes" && global.name == *name);
        return Ok(match known {
            Some((_, dtype)) => NumpyDtype::Plain { dtype: *dtype, big_endian: byteorder == ">" },
            None => {
                NumpyDtype::NoTwin { what: crate::text::printable(&global.path()).into_owned(), item_bytes: item_bytes(graph, given(5)) }
            }
        });
    }
    let code = graph.str_or_ascii(code).ok_or("has a type code that is no text")?;
    let (order, code) = match code.split_at_checked(1) {
        Some((order @ ("<" | ">" | "|" | "="), code)) => (order, code),
        _ => (byteorder, code),
    };
    // A state overrides the order that the code may have.
    let big_endian = if byteorder.is_empty() { order == ">" } else { byteorder == ">" };
    Ok(match NumpyDtype::from_code(code, big_endian) {
        NumpyDtype::Time { kind, unit, big_endian } => {
            let unit = match given(8) {
                Some(metadata) => time_unit(graph, metadata).ok_or("has a unit of another form")?,
                None => unit,
            };
            NumpyDtype::Time { kind, unit, big_endian }
        }
        // Of text the code says no size; the state does.
        NumpyDtype::NoTwin { what, item_bytes: 0 } => NumpyDtype::NoTwin { what, item_bytes: item_bytes(graph, given(5)) },
        dtype => dtype,
    })
}

fn item_bytes(graph: &Graph, size: Option<NodeId>) -> u64 {
    size.and_then(|size| graph.int(size)).and_then(|size| u64::try_from(size).ok()).unwrap_or(0)
}

fn dims(graph: &Graph, shape: NodeId) -> Option<Vec<i64>> {
    graph.tuple(shape)?.iter().map(|&size| graph.int(size)).collect()
}

/// A structured dtype: the names in order, and for each `(dtype, offset[, title])`.
fn record(
    graph: &Graph,
    names: NodeId,
    fields: NodeId,
    item_bytes: u64,
    depth_left: u32,
    fields_left: &mut u32,
) -> Result<NumpyDtype, &'static str> {
    const BAD: &str = "has fields of another form";
    let Node::Dict(pairs) = graph.node(fields) else { return Err(BAD) };
    let by_name: HashMap<&str, NodeId> = pairs.iter().filter_map(|(name, field)| Some((graph.str_or_ascii(*name)?, *field))).collect();
    let mut parsed = Vec::new();
    for &name in graph.sequence(names).ok_or(BAD)? {
        let name = graph.str_or_ascii(name).ok_or(BAD)?;
        let Some(&[of, offset, ..]) = by_name.get(name).and_then(|&field| graph.tuple(field)) else { return Err(BAD) };
        let offset = graph.int(offset).and_then(|offset| u64::try_from(offset).ok()).ok_or(BAD)?;
        parsed.push(Field { name: name.to_owned(), offset, dtype: dtype(graph, of, depth_left, fields_left)? });
    }
    let inside = |field: &Field| field.dtype.item_bytes().and_then(|n| n.checked_add(field.offset)).is_some_and(|end| end <= item_bytes);
    if !parsed.iter().all(inside) {
        return Err("has a field that reaches beyond its element");
    }
    Ok(NumpyDtype::Record { fields: parsed, item_bytes })
}

/// `(metadata, (unit, count, divisor, events))`, as `10us`.
fn time_unit(graph: &Graph, metadata: NodeId) -> Option<String> {
    let &[_, unit] = graph.tuple(metadata)? else { return None };
    let &[unit, count, divisor, _events] = graph.tuple(unit)? else { return None };
    // Below protocol 3 bytes are a call: `_codecs.encode('ns', 'latin1')`.
    let encoded = || graph.object(unit).and_then(|call| graph.tuple(call.args)).and_then(|args| graph.str(*args.first()?));
    let name = graph.str_or_ascii(unit).or_else(encoded)?;
    let (count, divisor) = (graph.int(count)?, graph.int(divisor)?);
    let count = if count == 1 { String::new() } else { count.to_string() };
    Some(if divisor == 1 { format!("{count}{name}") } else { format!("{count}{name}/{divisor}") })
}
