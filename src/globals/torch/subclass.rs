//! Tensor subclasses: tensors that are made of other tensors, which are attributes of theirs.
//!
//! `_rebuild_from_type_v2(func, class, args, state)` in `torch/_tensor.py`; a wrapper has no data of its own and `func` is
//! `_rebuild_wrapper_subclass`.

use std::sync::Arc;

use crate::error::Result;
use crate::globals::reader::Reader;
use crate::globals::torch::{torch_dtype, wrong_arity};
use crate::globals::value::{Call, Lowering, Part, Value};
use crate::pickle::{Node, NodeId};

pub(super) const WRAPPER: &str = "torch._utils._rebuild_wrapper_subclass";

/// Classes whose instances have no tensors that belong to them.
const PLAIN_CLASSES: &[&str] =
    &["torch.Tensor", "torch._tensor.Tensor", "torch.tensor.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"];

/// Attributes by which a parameter of bitsandbytes is known, which pickles without its class.
const BITSANDBYTES: &[&str] = &["quant_state", "CB", "SCB"];

/// Attributes whose assignment gives a tensor other data.
const DATA_ATTRIBUTES: &[&str] = &["real", "imag"];

/// `(class, dtype, size, stride, storage_offset, layout, device, requires_grad)` of a wrapper, and its state.
pub(super) fn rebuild(reader: &mut Reader<'_>, call: &Call, args: NodeId, state: NodeId) -> Result<Value> {
    let graph = reader.graph();
    let Some(&[class, dtype, size, ..]) = graph.tuple(args) else { return Err(wrong_arity(reader, call)) };
    let shape = reader.dims(call, size)?;
    let class = graph.global(class).map(|global| global.path()).unwrap_or_default();
    let dtype = torch_dtype(reader, dtype).map(|dtype| dtype.name().to_owned());
    let lowering = Lowering::new("subclass", dtype, &shape).with("class", class.as_str());
    let of_torch = class.strip_prefix("torch.distributed.").and_then(|rest| rest.rsplit('.').next());
    match of_torch {
        Some("DTensor") if attribute(reader, state, "_local_tensor").is_some() => distributed(reader, lowering, state, &shape),
        Some("ShardedTensor") => sharded(reader, call, lowering, state, &shape),
        _ => Ok(Value::Wrapper(Arc::new(lowering), state, None)),
    }
}

/// A wrapper that is given no state has nothing in it.
pub(super) fn without_state(reader: &mut Reader<'_>, call: &Call) -> Result<Value> {
    Ok(Value::Unsupported(reader.unsupported(call.id, "a tensor subclass without a state")))
}

/// A `DTensor` that is whole on this rank is its local tensor.
fn distributed(reader: &mut Reader<'_>, mut lowering: Lowering, state: NodeId, shape: &[i64]) -> Result<Value> {
    let graph = reader.graph();
    let spec = attribute(reader, state, "_spec").and_then(|spec| get_state(reader, spec));
    let in_spec = |name: &str| spec.and_then(|spec| attribute(reader, spec, name));
    let placements = in_spec("placements").and_then(|placements| graph.sequence(placements)).unwrap_or_default();
    let placements: Vec<String> = placements.iter().map(|&placement| placement_name(reader, placement)).collect();
    let mesh = in_spec("mesh").and_then(|mesh| get_state(reader, mesh));
    let ranks = mesh.and_then(|mesh| attribute(reader, mesh, "_rank_map").or_else(|| attribute(reader, mesh, "mesh")));
    // One summand of several has the whole shape too.
    let partial = placements.iter().any(|placement| placement.contains("Partial"));
    lowering = lowering.with("placements", placements);
    if let Some(local) = attribute(reader, state, "_local_tensor")
        && let Value::Tensor(id) = reader.value(local)?
        && same_shape(reader.tensor_ref(id).view.shape(), shape)
        && (!partial || is_alone(reader, ranks)?)
    {
        return Ok(Value::Lowered(Arc::new(lowering), vec![Part::tensor("", id)]));
    }
    // What else its state holds says where the other parts are.
    Ok(Value::Wrapper(Arc::new(lowering), state, Some("_local_tensor")))
}

/// Whether a tensor of ranks has only one.
fn is_alone(reader: &mut Reader<'_>, ranks: Option<NodeId>) -> Result<bool> {
    Ok(match ranks.map(|ranks| reader.value(ranks)).transpose()? {
        Some(Value::Tensor(id)) => reader.tensor_ref(id).view.n_elements() == 1,
        _ => false,
    })
}

/// `([Shard{tensor, metadata}], metadata, ...)`: a tensor that is whole in one shard is that shard.
fn sharded(reader: &mut Reader<'_>, call: &Call, lowering: Lowering, state: NodeId, shape: &[i64]) -> Result<Value> {
    let graph = reader.graph();
    let shards = graph.tuple(state).and_then(|state| graph.sequence(*state.first()?)).unwrap_or_default();
    let mut parts = Vec::new();
    for (i, &shard) in shards.iter().enumerate() {
        let tensor = get_state(reader, shard).and_then(|state| attribute(reader, state, "tensor"));
        let tensor = tensor.ok_or_else(|| reader.bad_call(call, "has a shard without a tensor"))?;
        match reader.value(tensor)? {
            Value::Tensor(id) => parts.push(Part::tensor(&format!("._local_shards.{i}"), id)),
            _ => return Ok(Value::Unsupported(reader.unsupported(call.id, "a ShardedTensor whose shards are no plain tensors"))),
        }
    }
    match parts.as_slice() {
        [] => Ok(Value::Unsupported(reader.unsupported(call.id, "a ShardedTensor without shards"))),
        [Part { content: super::PartContent::Tensor(id), .. }] if same_shape(reader.tensor_ref(*id).view.shape(), shape) => {
            let whole = Part::tensor("", *id);
            Ok(Value::Lowered(Arc::new(lowering), vec![whole]))
        }
        _ => Ok(Value::Lowered(Arc::new(lowering), parts)),
    }
}

/// What a tensor of `class` becomes that is given `state`: one that has tensors among its attributes is those too.
pub(super) fn of_class(reader: &mut Reader<'_>, call: &Call, class: NodeId, state: NodeId, value: Value) -> Value {
    let class = reader.graph().global(class).map(|global| global.path()).unwrap_or_default();
    if PLAIN_CLASSES.contains(&class.as_str()) { value } else { with_attributes(reader, call, &class, state, value) }
}

/// The same for a parameter, which pickles without its class.
pub(super) fn of_parameter(reader: &mut Reader<'_>, call: &Call, state: NodeId, value: Value) -> Value {
    let known = BITSANDBYTES.iter().any(|name| attribute(reader, state, name).is_some());
    if known { with_attributes(reader, call, "bitsandbytes", state, value) } else { value }
}

fn with_attributes(reader: &mut Reader<'_>, call: &Call, class: &str, state: NodeId, value: Value) -> Value {
    let Value::Tensor(id) = value else { return value };
    if !reader.may_hold_tensors(state) {
        return value;
    }
    reader.own_attributes(call.id);
    let tensor = reader.tensor_ref(id);
    let lowering = Lowering::new("subclass", Some(tensor.dtype.name().to_owned()), &tensor.view.signed_shape()).with("class", class);
    Value::Lowered(Arc::new(lowering), vec![Part::tensor("", id)])
}

/// Notes the state of a tensor's attributes: a dict, or the pair of a dict and the slots. A state of another form, or one
/// that assigns other data than `data`, makes a tensor that only the code of its class knows.
pub(super) fn with_state(reader: &mut Reader<'_>, call: &Call, state: NodeId, data: Option<NodeId>) -> Result<Option<Value>> {
    let graph = reader.graph();
    let parts = match graph.tuple(state) {
        Some([dict, slots]) => vec![*dict, *slots],
        _ => vec![state],
    };
    let mut understood = true;
    for part in parts {
        match graph.node(part) {
            Node::None => {}
            Node::Dict(pairs) => {
                for &(key, value) in pairs {
                    understood &= match graph.str(key) {
                        Some("data") => same_tensor(reader, value, data)?,
                        Some(key) => !DATA_ATTRIBUTES.contains(&key),
                        None => false,
                    };
                }
            }
            _ => understood = false,
        }
    }
    reader.set_attributes(call.id, state);
    Ok((!understood).then(|| Value::Unsupported(reader.unsupported(call.id, "a tensor whose class has a state of its own"))))
}

/// Whether two nodes are the same view of the same bytes.
fn same_tensor(reader: &mut Reader<'_>, a: NodeId, b: Option<NodeId>) -> Result<bool> {
    let Some(b) = b else { return Ok(false) };
    Ok(match (reader.value(a)?, reader.value(b)?) {
        (Value::Tensor(a), Value::Tensor(b)) => reader.tensor_ref(a).identity() == reader.tensor_ref(b).identity(),
        _ => false,
    })
}

/// An attribute in a state: a dict, or the pair of a dict and the slots.
pub(super) fn attribute(reader: &Reader<'_>, state: NodeId, name: &str) -> Option<NodeId> {
    let graph = reader.graph();
    let parts = match graph.tuple(state) {
        Some([dict, slots]) => vec![*dict, *slots],
        _ => vec![state],
    };
    parts.into_iter().rev().find_map(|part| graph.get(part, name))
}

fn get_state(reader: &Reader<'_>, object: NodeId) -> Option<NodeId> {
    reader.graph().object(object).and_then(|object| object.states.last().copied())
}

/// `Shard(dim=0)`, `Replicate()` ...: the class, and the dimension where there is one.
fn placement_name(reader: &Reader<'_>, placement: NodeId) -> String {
    let graph = reader.graph();
    let class = graph.object(placement).and_then(|object| graph.global(object.callable)).map_or("?", |global| global.name.as_str());
    let dim = get_state(reader, placement).and_then(|state| attribute(reader, state, "dim")).and_then(|dim| graph.int(dim));
    dim.map_or_else(|| format!("{class}()"), |dim| format!("{class}(dim={dim})"))
}

fn same_shape(a: &[u64], b: &[i64]) -> bool {
    a.iter().map(|&size| i64::try_from(size)).eq(b.iter().map(|&size| Ok(size)))
}
