//! torch: the functions that rebuild tensors. Argument lists from `torch/_utils.py`,
//! `torch/_tensor.py`, `torch/nn/parameter.py` and, before 1.0, `torch/tensor.py` and `torch/autograd/variable.py`.

use ::bytes::Bytes;

use crate::container::{StorageClass, storage_class};
use crate::error::{self, Result};
use crate::globals::reader::{Absence, Call, Reader, StorageView, TensorId, Value};
use crate::globals::{Meaning, Row};
use crate::pickle::{Node, NodeId};
use crate::source::Region;
use crate::storage::Content;
use crate::tensor::layout::Declared;
use crate::tensor::{Dtype, Transform};

use Meaning::{Harmless, Rebuild, RebuildWithState, Unsupported};

pub(super) const ROWS: &[Row] = &[
    ("torch._utils", "_rebuild_tensor", Rebuild(rebuild_tensor)),
    ("torch._utils", "_rebuild_tensor_v2", Rebuild(rebuild_tensor_v2)),
    ("torch._utils", "_rebuild_tensor_v3", Rebuild(rebuild_tensor_v3)),
    ("torch._utils", "_rebuild_parameter", Rebuild(rebuild_parameter)),
    ("torch._utils", "_rebuild_parameter_with_state", Rebuild(rebuild_parameter_with_state)),
    ("torch._utils", "_rebuild_qtensor", Rebuild(rebuild_qtensor)),
    ("torch._utils", "_rebuild_meta_tensor_no_storage", Rebuild(rebuild_meta)),
    ("torch._utils", "_rebuild_xla_tensor", Rebuild(rebuild_from_array)),
    ("torch._utils", "_rebuild_mlc_tensor", Rebuild(rebuild_from_array)),
    ("torch._utils", "_rebuild_device_tensor_from_numpy", Rebuild(rebuild_from_array)),
    ("torch._utils", "_rebuild_device_tensor_from_cpu_tensor", Rebuild(rebuild_from_array)),
    ("torch._utils", "_rebuild_sparse_tensor", Unsupported("a sparse tensor")),
    ("torch._utils", "_rebuild_sparse_csr_tensor", Unsupported("a sparse CSR tensor")),
    ("torch._utils", "_rebuild_nested_tensor", Unsupported("a nested tensor")),
    ("torch._utils", "_rebuild_wrapper_subclass", Unsupported("a tensor subclass that wraps other tensors")),
    ("torch.nested._internal.nested_tensor", "_rebuild_njt", Unsupported("a jagged nested tensor")),
    ("torch._tensor", "_rebuild_from_type", Rebuild(rebuild_from_type)),
    ("torch._tensor", "_rebuild_from_type_v2", Rebuild(rebuild_from_type)),
    ("torch.storage", "_load_from_bytes", Rebuild(load_from_bytes)),
    ("torch.nn.parameter", "Parameter", RebuildWithState(old_parameter)),
    ("torch.nn.parameter", "UninitializedParameter", Rebuild(uninitialized)),
    ("torch.nn.parameter", "UninitializedBuffer", Rebuild(uninitialized)),
    ("torch.autograd.variable", "Variable", RebuildWithState(old_parameter)),
    ("torch", "Tensor", RebuildWithState(old_tensor)),
    ("torch", "DoubleTensor", RebuildWithState(old_tensor)),
    ("torch", "FloatTensor", RebuildWithState(old_tensor)),
    ("torch", "HalfTensor", RebuildWithState(old_tensor)),
    ("torch", "LongTensor", RebuildWithState(old_tensor)),
    ("torch", "IntTensor", RebuildWithState(old_tensor)),
    ("torch", "ShortTensor", RebuildWithState(old_tensor)),
    ("torch", "CharTensor", RebuildWithState(old_tensor)),
    ("torch", "ByteTensor", RebuildWithState(old_tensor)),
    ("torch.cuda", "DoubleTensor", RebuildWithState(old_tensor)),
    ("torch.cuda", "FloatTensor", RebuildWithState(old_tensor)),
    ("torch.cuda", "HalfTensor", RebuildWithState(old_tensor)),
    ("torch.cuda", "LongTensor", RebuildWithState(old_tensor)),
    ("torch.cuda", "IntTensor", RebuildWithState(old_tensor)),
    ("torch.cuda", "ShortTensor", RebuildWithState(old_tensor)),
    ("torch.cuda", "CharTensor", RebuildWithState(old_tensor)),
    ("torch.cuda", "ByteTensor", RebuildWithState(old_tensor)),
    ("torch.nn.backends.thnn", "_get_thnn_function_backend", Harmless),
    ("torch", "Size", Harmless),
    ("torch", "device", Harmless),
    ("torch.serialization", "_get_layout", Harmless),
];

/// `(storage, storage_offset, size, stride)`
fn rebuild_tensor(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    let &[storage, offset, size, stride] = call.args.as_slice() else { return Err(wrong_arity(reader, call)) };
    strided(reader, call, [storage, offset, size, stride], None, Transform::default())
}

/// `(storage, storage_offset, size, stride, requires_grad, backward_hooks[, metadata])`
fn rebuild_tensor_v2(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    let &[storage, offset, size, stride, _grad, hooks, ref metadata @ ..] = call.args.as_slice() else {
        return Err(wrong_arity(reader, call));
    };
    reader.set_attributes(call.id, hooks);
    let transform = lazy_bits(reader, call, metadata)?;
    strided(reader, call, [storage, offset, size, stride], None, transform)
}

/// `(untyped_storage, storage_offset, size, stride, requires_grad, backward_hooks, dtype[, metadata])`
fn rebuild_tensor_v3(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    let &[storage, offset, size, stride, _grad, hooks, dtype, ref metadata @ ..] = call.args.as_slice() else {
        return Err(wrong_arity(reader, call));
    };
    reader.set_attributes(call.id, hooks);
    let transform = lazy_bits(reader, call, metadata)?;
    match torch_dtype(reader, dtype) {
        Some(dtype) => strided(reader, call, [storage, offset, size, stride], Some(dtype), transform),
        None => {
            let name = reader.graph().global(dtype).map_or_else(|| "no dtype".to_owned(), |global| global.path());
            let what = format!("a tensor of dtype {}", crate::text::quoted(&name, 100));
            Ok(Value::Unsupported(reader.unsupported(call.id, &what)))
        }
    }
}

/// `(data, requires_grad, backward_hooks)`
fn rebuild_parameter(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    let &[data, _, hooks] = call.args.as_slice() else { return Err(wrong_arity(reader, call)) };
    reader.set_attributes(call.id, hooks);
    tensor_like(reader, call, data)
}

/// `(data, requires_grad, backward_hooks, state)`
fn rebuild_parameter_with_state(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    let &[data, _, hooks, state] = call.args.as_slice() else { return Err(wrong_arity(reader, call)) };
    reader.set_attributes(call.id, hooks);
    match with_state(reader, call, state) {
        Some(unsupported) => Ok(unsupported),
        None => tensor_like(reader, call, data),
    }
}

/// `(func, type, args, state)`: the result of `func(*args)` as another class.
fn rebuild_from_type(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    let &[function, _class, args, state] = call.args.as_slice() else { return Err(wrong_arity(reader, call)) };
    match with_state(reader, call, state) {
        Some(unsupported) => Ok(unsupported),
        None => reader.apply(call, function, args),
    }
}

/// `(data_or_array, dtype, device, requires_grad)`
fn rebuild_from_array(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    let &[data, dtype, _device, _grad] = call.args.as_slice() else { return Err(wrong_arity(reader, call)) };
    let value = tensor_like(reader, call, data)?;
    if let Value::Tensor(id) = value {
        let stored = reader.tensor_ref(id).dtype;
        match torch_dtype(reader, dtype) {
            Some(wanted) if wanted == stored => {}
            _ => {
                let what = format!("a device tensor that torch would convert from {} to another dtype", stored.name());
                return Ok(Value::Unsupported(reader.unsupported(call.id, &what)));
            }
        }
    }
    Ok(value)
}

/// `(dtype, size, stride, requires_grad)`: a tensor on the meta device.
fn rebuild_meta(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    let &[dtype, size, _, _] = call.args.as_slice() else { return Err(wrong_arity(reader, call)) };
    let shape = reader.dims(call, size)?;
    Ok(Value::Absent(Absence::meta(torch_dtype(reader, dtype), &shape)))
}

/// A lazy module's parameter that was never given a shape.
fn uninitialized(_: &mut Reader<'_>, _: &Call) -> Result<Value> {
    Ok(Value::Absent(Absence { reason: "it is a parameter that was never initialized".to_owned(), dtype: None, shape: None }))
}

/// `(bytes)`: a whole torch file whose root is one storage.
fn load_from_bytes(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    let &[bytes] = call.args.as_slice() else { return Err(wrong_arity(reader, call)) };
    reader.nested_storage(call, bytes)
}

/// Before 0.4: `Parameter(data)` or `Variable(data)` and then perhaps the state `(requires_grad, volatile, hooks)`; or
/// without arguments and then the state `(data, creator, hooks, requires_grad, volatile)`.
fn old_parameter(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    let state = call.states.first().map(|&state| reader.graph().tuple(state).unwrap_or_default());
    let data = match (call.args.as_slice(), state) {
        ([data, ..], None | Some([_, _, _])) => *data,
        ([], Some(&[data, _, _, _, _])) => data,
        _ => return Err(reader.bad_call(call, "is made in another way than by torch before 0.4")),
    };
    tensor_like(reader, call, data)
}

/// Before 0.4: `torch.FloatTensor()` and then the state `(storage, storage_offset, size, stride)`.
fn old_tensor(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    let state = call.states.first().and_then(|&state| reader.graph().tuple(state));
    let ([], Some(&[storage, offset, size, stride])) = (call.args.as_slice(), state) else {
        return Err(reader.bad_call(call, "is made in another way than by torch before 0.4"));
    };
    let class = call.name.strip_suffix("Tensor").and_then(|path| path.rsplit_once('.'));
    let class = class.and_then(|(module, element)| storage_class(module, &format!("{element}Storage")));
    match (class, reader.value(storage)?) {
        (Some(class), Value::Storage(view)) if view.class != class => Err(reader.bad_call(call, "has a storage of another type")),
        _ => strided(reader, call, [storage, offset, size, stride], None, Transform::default()),
    }
}

/// Since 1.3 `(storage, offset, size, stride, quantizer, requires_grad, hooks)`; in 1.2 scale and zero point stood in
/// the place of the quantizer. Lowered to the integers, the scale and the zero point.
fn rebuild_qtensor(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    let (view, scale, zero_point, scheme) = match *call.args.as_slice() {
        [storage, offset, size, stride, quantizer, _, _] => {
            let graph = reader.graph();
            let params = graph.tuple(quantizer).unwrap_or_default();
            let scheme = params.first().and_then(|&s| graph.global(s)).map(|global| global.name.clone()).unwrap_or_default();
            match (scheme.as_str(), params) {
                ("per_tensor_affine", &[_, scale, zero_point])
                | ("per_channel_affine" | "per_channel_affine_float_qparams", &[_, scale, zero_point, _]) => {
                    ([storage, offset, size, stride], scale, zero_point, scheme)
                }
                _ => return Err(reader.bad_call(call, "has an unknown quantizer")),
            }
        }
        [storage, offset, size, stride, scale, zero_point, _, _] => {
            ([storage, offset, size, stride], scale, zero_point, "per_tensor_affine".to_owned())
        }
        _ => return Err(wrong_arity(reader, call)),
    };
    let Value::Storage(storage) = reader.value(view[0])? else {
        return Err(reader.bad_call(call, "takes its data from something that is no storage"));
    };
    let (class, stored) = match storage.class {
        StorageClass::Quantized(class, stored) => (class, stored),
        StorageClass::Packed(class) => {
            let what = format!("a quantized tensor of {class}, which packs several elements in a byte,");
            return Ok(Value::Unsupported(reader.unsupported(call.id, &what)));
        }
        StorageClass::Plain(_) => return Err(reader.bad_call(call, "has a storage that is not quantized")),
    };
    let integers = match strided(reader, call, view, Some(stored), Transform::default())? {
        Value::Tensor(integers) => integers,
        other => return Ok(other),
    };
    reader.tensor_mut(integers).lowered_from = Some(format!("quantized {class} {scheme}"));
    let mut parts = vec![("", integers)];
    for (suffix, node) in [(".scale", scale), (".zero_point", zero_point)] {
        let part = match reader.value(node)? {
            Value::Tensor(id) => id,
            Value::Inert => numbers(reader, call, node)?,
            _ => return Err(reader.bad_call(call, NO_NUMBERS)),
        };
        parts.push((suffix, part));
    }
    Ok(Value::Parts(parts))
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
    let storage = reader.own_storage(node, Content::Plain(Region::memory(Bytes::from(bytes))), len, false);
    let declared = Declared { shape: &shape, strides: &vec![1; shape.len()], offset: 0 };
    match reader.tensor(call, &storage, dtype, &declared, Transform::default())? {
        Value::Tensor(id) => Ok(id),
        _ => unreachable!("a storage in memory has data"),
    }
}

// ---- shared by the rebuilds ----

/// `[storage, offset, size, stride]`, with the dtype of the storage unless another is given.
fn strided(reader: &mut Reader<'_>, call: &Call, args: [NodeId; 4], dtype: Option<Dtype>, transform: Transform) -> Result<Value> {
    let [storage, offset, size, stride] = args;
    let storage: StorageView = match reader.value(storage)? {
        Value::Storage(view) => view,
        _ => return Err(error::opaque(&reader.place(call.id), format!("{} takes its data from something that is no storage", call.name))),
    };
    let Some(dtype) = dtype.or(storage.class.dtype()) else {
        return Ok(Value::Unsupported(reader.unsupported(call.id, "a plain tensor over a quantized storage")));
    };
    if transform.neg && !dtype.negates_by_sign_bit() {
        let what = format!("a lazily negated tensor of {}", dtype.name());
        return Ok(Value::Unsupported(reader.unsupported(call.id, &what)));
    }
    let (shape, strides) = (reader.dims(call, size)?, reader.dims(call, stride)?);
    let offset = reader.int(call, offset, "storage offset")?;
    reader.tensor(call, &storage, dtype, &Declared { shape: &shape, strides: &strides, offset }, transform)
}

/// The value of an argument that must be a tensor of some kind.
fn tensor_like(reader: &mut Reader<'_>, call: &Call, data: NodeId) -> Result<Value> {
    let value = reader.value(data)?;
    reader.inherit_attributes(call.id, data);
    match value {
        value @ (Value::Tensor(_) | Value::Parts(_) | Value::Absent(_) | Value::Unsupported(_)) => Ok(value),
        _ => Err(error::opaque(&reader.place(call.id), format!("{} takes its data from something that is no tensor", call.name))),
    }
}

/// Attributes whose assignment gives a tensor other data.
const DATA_ATTRIBUTES: &[&str] = &["data", "real", "imag"];

/// Notes the state of a tensor's attributes: a dict, or the pair of a dict and the slots. A state of another form, or one
/// that assigns data, makes a tensor that only the code of its class knows.
fn with_state(reader: &mut Reader<'_>, call: &Call, state: NodeId) -> Option<Value> {
    let graph = reader.graph();
    let parts = match graph.tuple(state) {
        Some([dict, slots]) => vec![*dict, *slots],
        _ => vec![state],
    };
    let harmless = |part: &NodeId| match graph.node(*part) {
        Node::None => true,
        Node::Dict(pairs) => pairs.iter().all(|(key, _)| graph.str(*key).is_some_and(|key| !DATA_ATTRIBUTES.contains(&key))),
        _ => false,
    };
    reader.set_attributes(call.id, state);
    (!parts.iter().all(harmless)).then(|| Value::Unsupported(reader.unsupported(call.id, "a tensor whose class has a state of its own")))
}

/// The lazy conjugation and negation bits: `{'conj': True, 'neg': True}`.
fn lazy_bits(reader: &Reader<'_>, call: &Call, metadata: &[NodeId]) -> Result<Transform> {
    let graph = reader.graph();
    let mut transform = Transform::default();
    let pairs = match metadata {
        [] => return Ok(transform),
        [only] => match graph.node(*only) {
            Node::None => return Ok(transform),
            Node::Dict(pairs) => pairs,
            _ => return Err(reader.bad_call(call, "has metadata that is no dict")),
        },
        _ => return Err(wrong_arity(reader, call)),
    };
    for (key, value) in pairs {
        match (graph.str(*key), graph.node(*value)) {
            (Some("conj"), Node::Bool(set)) => transform.conj = *set,
            (Some("neg"), Node::Bool(set)) => transform.neg = *set,
            (key, _) => {
                let shown = crate::text::quoted(key.unwrap_or("?"), 40);
                return Err(reader.bad_call(call, &format!("has metadata {shown}, whose effect on the values is not known")));
            }
        }
    }
    Ok(transform)
}

fn torch_dtype(reader: &Reader<'_>, id: NodeId) -> Option<Dtype> {
    let global = reader.graph().global(id)?;
    if global.module == "torch" { Dtype::from_torch_name(&global.name) } else { None }
}

fn wrong_arity(reader: &Reader<'_>, call: &Call) -> error::Error {
    reader.bad_call(call, &format!("has {} arguments, which no torch version writes", call.args.len()))
}
