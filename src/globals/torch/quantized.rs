//! Quantized tensors: the integers, and the scale and zero point that give them their values.

use std::sync::Arc;

use ::bytes::Bytes;

use crate::container::StorageClass;
use crate::error::Result;
use crate::globals::reader::Reader;
use crate::globals::torch::{strided, wrong_arity};
use crate::globals::value::{Call, Lowering, Part, TensorId, Value};
use crate::pickle::{Node, NodeId};
use crate::source::Region;
use crate::storage::Content;
use crate::tensor::layout::{Declared, row_major};
use crate::tensor::{Dtype, Transform};

/// Since 1.3 `(storage, offset, size, stride, quantizer, requires_grad, hooks)`; in 1.2 scale and zero point stood in
/// the place of the quantizer. The quantizer is `(scheme, scale, zero_point[, axis])`.
pub(super) fn rebuild(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    let (view, scale, zero_point, scheme, axis) = match *call.args.as_slice() {
        [storage, offset, size, stride, quantizer, _, _] => {
            let graph = reader.graph();
            let params = graph.tuple(quantizer).unwrap_or_default();
            let scheme = params.first().and_then(|&s| graph.global(s)).map(|global| global.name.clone()).unwrap_or_default();
            let view = [storage, offset, size, stride];
            match (scheme.as_str(), params) {
                ("per_tensor_affine", &[_, scale, zero_point]) => (view, scale, zero_point, scheme, None),
                ("per_channel_affine" | "per_channel_affine_float_qparams", &[_, scale, zero_point, axis]) => {
                    (view, scale, zero_point, scheme, Some(reader.int(call, axis, "axis")?))
                }
                _ => return Err(reader.bad_call(call, "has an unknown quantizer")),
            }
        }
        [storage, offset, size, stride, scale, zero_point, _, _] => {
            ([storage, offset, size, stride], scale, zero_point, "per_tensor_affine".to_owned(), None)
        }
        _ => return Err(wrong_arity(reader, call)),
    };
    let Value::Storage(storage) = reader.value(view[0])? else {
        return Err(reader.bad_call(call, "takes its data from something that is no storage"));
    };
    let shape = reader.dims(call, view[2])?;
    let (class, integers) = match storage.class {
        StorageClass::Quantized(class, stored) => (class, strided(reader, call, view, Some(stored), Transform::default())?),
        StorageClass::Packed(class, per_byte) => (class, packed(reader, call, view, &shape, per_byte)?),
        StorageClass::Plain(_) => return Err(reader.bad_call(call, "has a storage that is not quantized")),
    };
    let Value::Tensor(integers) = integers else { return Ok(integers) };
    let mut lowering = Lowering::new("quantized", Some(class.to_owned()), &shape).with("scheme", scheme);
    if let Some(axis) = axis {
        lowering = lowering.with("axis", axis);
    }
    let mut parts = vec![Part::tensor("", integers)];
    for (suffix, node) in [(".scale", scale), (".zero_point", zero_point)] {
        let part = match reader.value(node)? {
            Value::Tensor(id) => id,
            Value::Inert => numbers(reader, call, node)?,
            _ => return Err(reader.bad_call(call, NO_NUMBERS)),
        };
        parts.push(Part::tensor(suffix, part));
    }
    Ok(Value::Lowered(Arc::new(lowering), parts))
}

/// The bytes of a tensor of which `per_byte` elements share one, one after another without regard to rows: as many to
/// the row as there are when each fills whole bytes, else one dimension.
fn packed(reader: &mut Reader<'_>, call: &Call, view: [NodeId; 4], shape: &[i64], per_byte: i64) -> Result<Value> {
    let [storage, offset, _, stride] = view;
    let strides = reader.dims(call, stride)?;
    // Elements that are not in row-major order would have to be taken apart.
    let in_order = shape.iter().zip(&strides).zip(row_major(shape)).all(|((&size, &stride), expected)| size == 1 || stride == expected);
    if reader.int(call, offset, "storage offset")? != 0 || !in_order || strides.len() != shape.len() {
        return Ok(Value::Unsupported(reader.unsupported(call.id, "a view of a quantized tensor that packs several elements in a byte")));
    }
    let Value::Storage(storage) = reader.value(storage)? else {
        return Err(reader.bad_call(call, "takes its data from something that is no storage"));
    };
    let bytes = match shape.split_last() {
        Some((last, rest)) if last % per_byte == 0 => rest.iter().copied().chain([last / per_byte]).collect(),
        _ => {
            let n = shape.iter().try_fold(1i64, |n, &size| n.checked_mul(size)).and_then(|n| n.checked_add(per_byte - 1));
            vec![n.ok_or_else(|| reader.bad_call(call, "has more elements than 63 bits count"))? / per_byte]
        }
    };
    let declared = Declared { shape: &bytes, strides: &row_major(&bytes), offset: 0, step_bytes: 1 };
    reader.tensor(call.id, &storage, Dtype::U8, &declared, Transform::default())
}

const NO_NUMBERS: &str = "has quantization parameters that are neither numbers nor tensors";

/// A number as a 0-d tensor, a list of numbers as a 1-d one: integers as I64, floats as F64.
fn numbers(reader: &mut Reader<'_>, call: &Call, node: NodeId) -> Result<TensorId> {
    let graph = reader.graph();
    let list = graph.sequence(node);
    let items = list.unwrap_or(std::slice::from_ref(&node));
    let (mut dtypes, mut bytes) = (Vec::new(), Vec::new());
    for &item in items {
        let (dtype, value) = match graph.node(item) {
            Node::Int(value) => (Dtype::I64, value.to_le_bytes()),
            Node::Float(value) => (Dtype::F64, value.to_le_bytes()),
            _ => return Err(reader.bad_call(call, NO_NUMBERS)),
        };
        dtypes.push(dtype);
        bytes.extend(value);
    }
    let dtype = match dtypes.as_slice() {
        [first, rest @ ..] if rest.iter().all(|dtype| dtype == first) => *first,
        _ => return Err(reader.bad_call(call, NO_NUMBERS)),
    };
    let shape: Vec<i64> = list.iter().map(|list| list.len() as i64).collect();
    let len = bytes.len() as u64;
    let content = Content::Plain(Region::memory(Bytes::from(bytes)));
    let storage = match list {
        None => reader.argument_storage(call.id, node, content, len)?,
        Some(_) => reader.own_storage(node, content, len, reader.place(node))?,
    };
    let declared = Declared { shape: &shape, strides: &vec![1; shape.len()], offset: 0, step_bytes: dtype.item_bytes() };
    match reader.tensor(call.id, &storage, dtype, &declared, Transform::default())? {
        Value::Tensor(id) => Ok(id),
        _ => unreachable!("a storage in memory has data"),
    }
}
