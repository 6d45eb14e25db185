//! What an array in numpy's form becomes: one tensor, a tensor for each field of a record, counts for times, or the reason
//! why it is left out.

use std::sync::Arc;

use crate::error::{self, Result};
use crate::globals::reader::Reader;
use crate::globals::value::{Absence, Lowering, Part, PartContent, StorageView, Value};
use crate::numpy::{NumpyDtype, RawArray};
use crate::pickle::NodeId;
use crate::place::Place;
use crate::storage::Content;
use crate::tensor::layout::{Declared, column_major, row_major};
use crate::tensor::{Dtype, Transform};

/// Where an array's elements are, all in bytes.
struct Elements<'a> {
    /// The node that the array is.
    id: NodeId,
    storage: StorageView,
    shape: &'a [i64],
    strides: &'a [i64],
    offset: i64,
}

/// The bytes of an array.
pub(super) struct Data {
    /// The node that they belong to: arrays that share them share a storage.
    pub node: NodeId,
    pub content: Content,
    /// Bytes of the content, of those before the array, and of the array.
    pub content_bytes: u64,
    pub offset: u64,
    pub len: u64,
    /// Where the content starts in the input.
    pub place: Place,
}

/// The array that a container holds for the node `id`.
pub(super) fn given(reader: &mut Reader<'_>, id: NodeId, array: &RawArray) -> Result<Value> {
    let strides = if array.fortran { column_major(&array.shape) } else { row_major(&array.shape) };
    let RawArray { content, content_bytes, offset, len, place, .. } = array.clone();
    strided(reader, id, &array.dtype, (&array.shape, &strides), Data { node: id, content, content_bytes, offset, len, place })
}

/// An array with strides, in elements, of its own: any order of the dimensions of a packed array.
pub(super) fn strided(
    reader: &mut Reader<'_>,
    id: NodeId,
    dtype: &NumpyDtype,
    (shape, strides): (&[i64], &[i64]),
    data: Data,
) -> Result<Value> {
    if let NumpyDtype::NoTwin { what, .. } = dtype {
        return Ok(Value::Absent(no_twin(what, shape)));
    }
    if dtype.has_objects() {
        let what = "its elements hold Python objects";
        return Ok(Value::Absent(Absence { reason: what.to_owned(), dtype: Some(dtype.describe()), shape: Some(shape.to_vec()) }));
    }
    let item = dtype.item_bytes().and_then(|item| i64::try_from(item).ok());
    let item = item.ok_or_else(|| error::tensor_invalid(&reader.place(id), "an array has elements of more bytes than 63 bits count"))?;
    let needed = shape.iter().try_fold(i128::from(item), |n, &size| n.checked_mul(size.into()));
    if needed != Some(data.len.into()) {
        let needed = needed.and_then(|n| u128::try_from(n).ok()).unwrap_or(u128::MAX);
        return Err(error::storage_size(&data.place, "of an array", data.len, needed));
    }
    let (base, len) = (data.offset, data.len);
    let storage = StorageView { base, len, ..reader.own_storage(data.node, data.content, data.content_bytes, data.place)? };
    reader.set_head(storage.id, base);
    // The product of all sizes fits, and with it every stride of a packed array; a size of 0 makes strides irrelevant.
    let strides: Vec<i64> = strides.iter().map(|stride| stride.saturating_mul(item)).collect();
    let elements = Elements { id, storage, shape, strides: &strides, offset: 0 };
    match dtype {
        NumpyDtype::Plain { dtype, big_endian } => tensor(reader, &elements, *dtype, *big_endian),
        NumpyDtype::Time { kind, unit, big_endian } => {
            let lowering = Lowering::new(kind, None, shape).with("unit", unit.as_str());
            let counts = tensor(reader, &elements, Dtype::I64, *big_endian)?;
            Ok(lowered(lowering, vec![(String::new(), counts)]))
        }
        _ => {
            let mut parts = Vec::new();
            fields(reader, &elements, dtype, "", &mut parts)?;
            let mut units = serde_json::Map::new();
            time_units(dtype, "", &mut units);
            let lowering = Lowering::new("structured", None, shape);
            Ok(lowered(if units.is_empty() { lowering } else { lowering.with("units", units) }, parts))
        }
    }
}

pub(super) fn no_twin(what: &str, shape: &[i64]) -> Absence {
    Absence { reason: format!("safetensors has no dtype for {what}"), dtype: Some(what.to_owned()), shape: Some(shape.to_vec()) }
}

fn lowered(lowering: Lowering, parts: Vec<(String, Value)>) -> Value {
    let part = |(suffix, value): (String, Value)| {
        let content = match value {
            Value::Tensor(id) => PartContent::Tensor(id),
            Value::Absent(absence) => PartContent::Absent(absence),
            _ => unreachable!("the fields of an array are tensors or absent"),
        };
        Part { suffix: suffix.into(), content }
    };
    Value::Lowered(Arc::new(lowering), parts.into_iter().map(part).collect())
}

/// Every field at or below `dtype`, with the suffix of its name.
fn fields(reader: &mut Reader<'_>, at: &Elements<'_>, dtype: &NumpyDtype, suffix: &str, parts: &mut Vec<(String, Value)>) -> Result<()> {
    let value = match dtype {
        NumpyDtype::Plain { dtype, big_endian } => tensor(reader, at, *dtype, *big_endian)?,
        NumpyDtype::Time { big_endian, .. } => tensor(reader, at, Dtype::I64, *big_endian)?,
        NumpyDtype::NoTwin { what, .. } => Value::Absent(no_twin(what, at.shape)),
        NumpyDtype::Object => return Ok(()), // arrays with objects were left out as a whole
        NumpyDtype::Subarray { base, shape } => {
            let item = base.item_bytes().and_then(|item| i64::try_from(item).ok()).unwrap_or(i64::MAX);
            let inner = row_major(shape).into_iter().map(|stride| stride.saturating_mul(item));
            let strides: Vec<i64> = at.strides.iter().copied().chain(inner).collect();
            let shape: Vec<i64> = at.shape.iter().chain(shape).copied().collect();
            return fields(reader, &Elements { shape: &shape, strides: &strides, ..*at }, base, suffix, parts);
        }
        NumpyDtype::Record { fields: inner, .. } => {
            for field in inner {
                let offset = at.offset.saturating_add(i64::try_from(field.offset).unwrap_or(i64::MAX));
                fields(reader, &Elements { offset, ..*at }, &field.dtype, &format!("{suffix}.{}", field.name), parts)?;
            }
            return Ok(());
        }
    };
    parts.push((suffix.to_owned(), value));
    Ok(())
}

/// What the counts in the fields of dates are: the name of each field, and the dtype that numpy calls it.
fn time_units(dtype: &NumpyDtype, name: &str, units: &mut serde_json::Map<String, serde_json::Value>) {
    match dtype {
        NumpyDtype::Time { .. } => {
            units.insert(name.to_owned(), dtype.describe().into());
        }
        NumpyDtype::Subarray { base, .. } => time_units(base, name, units),
        NumpyDtype::Record { fields, .. } => {
            for field in fields {
                let below = if name.is_empty() { field.name.clone() } else { format!("{name}.{}", field.name) };
                time_units(&field.dtype, &below, units);
            }
        }
        _ => {}
    }
}

fn tensor(reader: &mut Reader<'_>, at: &Elements<'_>, dtype: Dtype, big_endian: bool) -> Result<Value> {
    let declared = Declared { shape: at.shape, strides: at.strides, offset: at.offset, step_bytes: 1 };
    reader.tensor(at.id, &StorageView { big_endian, ..at.storage }, dtype, &declared, Transform::default())
}
