//! torch: the functions that rebuild tensors. Argument lists from `torch/_utils.py`,
//! `torch/_tensor.py`, `torch/nn/parameter.py` and, before 1.0, `torch/tensor.py` and `torch/autograd/variable.py`.

mod nested;
mod quantized;
mod sparse;
mod subclass;

use crate::container::storage_class;
use crate::error::{self, Result};
use crate::globals::reader::Reader;
use crate::globals::value::{Absence, Call, Part, PartContent, StorageView, Value};
use crate::globals::{Meaning, Row};
use crate::pickle::{Node, NodeId};
use crate::tensor::layout::Declared;
use crate::tensor::{Dtype, Transform};

use Meaning::{EmbeddedSource, Harmless, Rebuild, RebuildWithState, Same};

pub(super) const ROWS: &[Row] = &[
    ("torch._utils", "_rebuild_tensor", Rebuild(rebuild_tensor)),
    ("torch._utils", "_rebuild_tensor_v2", Rebuild(rebuild_tensor_v2)),
    ("torch._utils", "_rebuild_tensor_v3", Rebuild(rebuild_tensor_v3)),
    ("torch._utils", "_rebuild_parameter", Rebuild(rebuild_parameter)),
    ("torch._utils", "_rebuild_parameter_with_state", Rebuild(rebuild_parameter_with_state)),
    ("torch._utils", "_rebuild_qtensor", Rebuild(quantized::rebuild)),
    ("torch._utils", "_rebuild_meta_tensor_no_storage", Rebuild(rebuild_meta)),
    ("torch._utils", "_rebuild_xla_tensor", Rebuild(rebuild_from_array)),
    ("torch._utils", "_rebuild_mlc_tensor", Rebuild(rebuild_from_array)),
    ("torch._utils", "_rebuild_device_tensor_from_numpy", Rebuild(rebuild_from_array)),
    ("torch._utils", "_rebuild_device_tensor_from_cpu_tensor", Rebuild(rebuild_from_array)),
    ("torch._utils", "_rebuild_sparse_tensor", Rebuild(sparse::rebuild)),
    ("torch._utils", "_rebuild_sparse_csr_tensor", Rebuild(sparse::rebuild)),
    ("torch._utils", "_rebuild_nested_tensor", Rebuild(nested::rebuild)),
    ("torch._utils", "_rebuild_wrapper_subclass", Rebuild(subclass::without_state)),
    ("torch.nested._internal.nested_tensor", "_rebuild_njt", Rebuild(nested::rebuild_jagged)),
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
    ("torch", "ScriptObject", Harmless),
    ("torch._C", "ScriptObject", Harmless),
    ("torch.jit._script", "unpackage_script_module", Harmless),
    ("torch_utils.persistence", "_reconstruct_persistent_obj", EmbeddedSource),
    ("torch.jit._pickle", "build_intlist", Same),
    ("torch.jit._pickle", "build_doublelist", Same),
    ("torch.jit._pickle", "build_boollist", Same),
    ("torch.jit._pickle", "build_tensorlist", Same),
    ("torch.jit._pickle", "restore_type_tag", Same),
    ("torch.jit._pickle", "build_tensor_from_id", Harmless),
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
    match subclass::with_state(reader, call, state, Some(data))? {
        Some(unsupported) => Ok(unsupported),
        None => {
            let value = tensor_like(reader, call, data)?;
            Ok(subclass::of_parameter(reader, call, state, value))
        }
    }
}

/// `(func, type, args, state)`: the result of `func(*args)` as another class.
fn rebuild_from_type(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    let &[function, class, args, state] = call.args.as_slice() else { return Err(wrong_arity(reader, call)) };
    match reader.graph().global(function).map(|global| global.path()).as_deref() {
        Some(subclass::WRAPPER) => return subclass::rebuild(reader, call, args, state),
        // Its state repeats its arguments.
        Some(path @ (nested::JAGGED | nested::JAGGED_CLASS)) => {
            reader.set_attributes(call.id, state);
            reader.repeated_attributes(call.id, nested::REPEATED);
            return match path {
                nested::JAGGED => reader.apply(call, function, args, &[]),
                _ => nested::jagged_with_state(reader, call, state),
            };
        }
        _ => {}
    }
    match subclass::with_state(reader, call, state, None)? {
        Some(unsupported) => Ok(unsupported),
        None => {
            let value = reader.apply(call, function, args, &[])?;
            Ok(subclass::of_class(reader, call, class, state, value))
        }
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
    let declared = Declared { shape: &shape, strides: &strides, offset, step_bytes: dtype.item_bytes() };
    reader.tensor(call.id, &storage, dtype, &declared, transform)
}

/// The part of a lowered tensor that `node` is; or, when it has no data, what the whole tensor is then.
fn tensor_part(reader: &mut Reader<'_>, call: &Call, suffix: &str, node: NodeId) -> Result<Result<Part, Value>> {
    match reader.value(node)? {
        Value::Tensor(id) => Ok(Ok(Part::tensor(suffix, id))),
        value @ (Value::Absent(_) | Value::Unsupported(_)) => Ok(Err(value)),
        Value::Lowered(..) | Value::Wrapper(..) => {
            let what = "a tensor whose parts are more than one buffer themselves";
            Ok(Err(Value::Unsupported(reader.unsupported(call.id, what))))
        }
        _ => Err(reader.bad_call(call, &format!("has no tensor as its {}", suffix.trim_start_matches('.')))),
    }
}

/// The value of an argument that must be a tensor of some kind.
fn tensor_like(reader: &mut Reader<'_>, call: &Call, data: NodeId) -> Result<Value> {
    let value = reader.value(data)?;
    reader.inherit_attributes(call.id, data);
    match value {
        value @ (Value::Tensor(_) | Value::Lowered(..) | Value::Wrapper(..) | Value::Absent(_) | Value::Unsupported(_)) => Ok(value),
        _ => Err(error::opaque(&reader.place(call.id), format!("{} takes its data from something that is no tensor", call.name))),
    }
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
            (Some("conj"), Node::Bool(set)) => transform.conj = set,
            (Some("neg"), Node::Bool(set)) => transform.neg = set,
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
