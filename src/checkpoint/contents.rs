//! What is in one node: the attributes of a state, the pairs of a mapping, the parts of an `nn.Module`.

use std::collections::HashSet;

use crate::checkpoint::entry::{Aside, Entry, Part, Way};
use crate::globals::{Meaning, meaning};
use crate::names::{Step, unique_pairs};
use crate::pickle::{Graph, Node, NodeId, Object};

/// Contents that objects are made of, counted for each object that is made of them. A file in which all objects are made of one long
/// list is made to be walked forever.
const MAX_CONTENTS: usize = 50_000_000;

/// Whether objects are made of the same contents so often that no walk would end: of the arguments of mappings and sequences, of
/// states, of the dicts of modules. What is only referred to is walked once and does not count.
pub(crate) fn shares_too_much(graph: &Graph) -> bool {
    let length = |id: NodeId| match graph.node(id) {
        Node::Tuple(items) | Node::List(items) | Node::Set(items) | Node::FrozenSet(items) => items.len(),
        Node::Dict(pairs) => pairs.len(),
        _ => 0,
    };
    let mut left = MAX_CONTENTS;
    let mut count = |mut ids: &mut dyn Iterator<Item = NodeId>| {
        let less = Iterator::try_fold(&mut ids, left, |left, id| left.checked_sub(length(id)));
        left = less.unwrap_or(0);
        less.is_some()
    };
    !graph.ids().filter_map(|id| graph.object(id)).all(|object| {
        let meaning = graph.global(object.callable).and_then(|global| meaning(&global.module, &global.name));
        let is_made_of_args = matches!(meaning, Some(Meaning::Mapping | Meaning::Sequence | Meaning::EmbeddedSource));
        let given = || graph.tuple(object.args).unwrap_or_default().iter().copied().filter(|_| is_made_of_args);
        // A state, or the pair of one and the slots.
        let parts = |state: NodeId| graph.tuple(state).filter(|parts| parts.len() == 2).unwrap_or_default().iter().copied();
        let states = || object.states.iter().flat_map(|&state| std::iter::once(state).chain(parts(state)));
        count(&mut std::iter::once(object.args))
            && count(&mut given())
            && count(&mut states())
            && count(&mut states().flat_map(|state| MODULE_DICTS.iter().filter_map(move |name| graph.get(state, name))))
    })
}

/// The dicts of a module in its state.
const MODULE_DICTS: [&str; 3] = ["_parameters", "_buffers", "_modules"];

/// The entries of the root when it is a dict or a mapping.
pub(crate) fn top_values(graph: &Graph) -> impl Iterator<Item = (Step, NodeId)> + '_ {
    values_of(graph, graph.root())
}

/// The entries of a dict or a mapping; none of anything else.
pub(crate) fn values_of(graph: &Graph, node: NodeId) -> impl Iterator<Item = (Step, NodeId)> + '_ {
    let pairs = pairs_of(graph, node).unwrap_or_default();
    pairs.into_iter().map(|(key, value)| (Step::key(graph, key), value))
}

/// The attributes that states give, a later one over an earlier one: each a dict, or the pair of a dict and the slots;
/// anything else is one attribute.
///
/// Only values that `keep` wants are listed.
pub(crate) fn state_entries(graph: &Graph, states: &[NodeId], keep: &dyn Fn(NodeId) -> bool) -> Vec<Entry> {
    let mut attributes: Vec<(NodeId, NodeId)> = Vec::new();
    let mut others = Vec::new();
    for &state in states {
        match (graph.node(state), graph.tuple(state)) {
            (Node::Dict(pairs), _) => attributes.extend(pairs),
            (_, Some([dict, slots])) => match (graph.node(*dict), graph.node(*slots)) {
                (Node::Dict(dict), Node::Dict(slots)) => attributes.extend(dict.iter().chain(slots)),
                (Node::None, Node::Dict(pairs)) | (Node::Dict(pairs), Node::None) => attributes.extend(pairs),
                _ => others.push(other_state(state)),
            },
            _ => others.push(other_state(state)),
        }
    }
    let (unique, _) = unique_pairs(graph, attributes);
    let attribute = |(key, value)| Entry::new(Way::Attribute(key), value);
    unique.into_iter().filter(|(_, value)| keep(*value)).map(attribute).chain(others).collect()
}

fn other_state(state: NodeId) -> Entry {
    Entry::new(Way::Part(Part::State), state)
}

/// The pairs that an argument of a mapping's constructor gives: a dict, or a list of pairs.
pub(super) fn given_pairs(graph: &Graph, arg: NodeId) -> Option<Vec<(NodeId, NodeId)>> {
    match graph.node(arg) {
        Node::Dict(pairs) => Some(pairs.to_vec()),
        Node::List(items) | Node::Tuple(items) => items
            .iter()
            .map(|&item| match graph.sequence(item) {
                Some(&[key, value]) => Some((key, value)),
                _ => None,
            })
            .collect(),
        _ => None,
    }
}

/// The pairs of a mapping object: those of its constructor, then those set on it.
pub(crate) fn mapping_pairs(graph: &Graph, object: Object<'_>) -> Vec<(NodeId, NodeId)> {
    let args = graph.tuple(object.args).unwrap_or_default();
    let given = args.iter().filter_map(|&arg| given_pairs(graph, arg)).flatten();
    given.chain(object.items.iter().copied()).collect()
}

/// The pairs of a dict, or of an object of a known mapping class that holds nothing but pairs.
fn pairs_of(graph: &Graph, node: NodeId) -> Option<Vec<(NodeId, NodeId)>> {
    let pairs = match graph.node(node) {
        Node::Dict(pairs) => pairs.to_vec(),
        Node::Object(object) => {
            let global = graph.global(object.callable)?;
            let known = matches!(meaning(&global.module, &global.name), Some(Meaning::Mapping));
            let args = graph.tuple(object.args)?;
            let understood = args.iter().all(|&arg| given_pairs(graph, arg).is_some() || graph.global(arg).is_some());
            if !known || !understood || !object.appended.is_empty() || object.kwargs.is_some() {
                return None;
            }
            mapping_pairs(graph, object)
        }
        _ => return None,
    };
    Some(unique_pairs(graph, pairs).0)
}

/// An object that is an `nn.Module`, whatever its class: its state has the three dicts of one.
pub(super) struct Module {
    parameters: NodeId,
    buffers: NodeId,
    modules: NodeId,
    /// The whole state, in its order.
    attributes: Vec<(NodeId, NodeId)>,
    /// Names of buffers that are not in `state_dict()`.
    transient: Vec<NodeId>,
    /// What else it was given: slots, earlier states.
    pub other_states: Vec<NodeId>,
}

impl Module {
    pub fn of(graph: &Graph, object: Object<'_>) -> Option<Module> {
        let (&state, earlier) = object.states.split_last()?;
        let mut other_states = earlier.to_vec();
        let dict = match graph.tuple(state) {
            Some([dict, slots]) => {
                other_states.push(*slots);
                *dict
            }
            _ => state,
        };
        let Node::Dict(pairs) = graph.node(dict) else { return None };
        let attributes = unique_pairs(graph, pairs.iter().copied()).0;
        let find = |name: &str| attributes.iter().find(|(key, _)| graph.is_word(*key, &[name])).map(|(_, value)| *value);
        let [parameters, buffers, modules] = MODULE_DICTS.map(find);
        let (parameters, buffers, modules) = (parameters?, buffers?, modules?);
        let transient = match find("_non_persistent_buffers_set") {
            Some(set) => set_items(graph, set)?,
            None => Vec::new(),
        };
        let all_pairs = [parameters, buffers, modules].iter().all(|&part| pairs_of(graph, part).is_some());
        all_pairs.then_some(Module { parameters, buffers, modules, attributes, transient, other_states })
    }

    /// In the order of `state_dict()`: parameters, persistent buffers, submodules; then, aside, everything else.
    pub fn entries(&self, graph: &Graph, keep: &dyn Fn(NodeId) -> bool) -> Vec<Entry> {
        let part = |node: NodeId| pairs_of(graph, node).unwrap_or_default().into_iter().filter(|(_, value)| keep(*value));
        let entry = |(key, node): (NodeId, NodeId)| Entry::new(Way::Module(key), node);
        let transient: HashSet<&str> = self.transient.iter().filter_map(|&item| word(graph, item)).collect();
        let buffers = part(self.buffers).map(|(key, node)| {
            let aside = word(graph, key).filter(|name| transient.contains(name)).map(|_| Aside::NonPersistent);
            Entry { aside, ..entry((key, node)) }
        });
        let others =
            self.attributes.iter().filter(|(_, node)| keep(*node) && ![self.parameters, self.buffers, self.modules].contains(node));
        let others = others.map(|&(key, node)| {
            let way = Way::Attribute(key);
            match packed_weights(graph, node) {
                Some(weights) => Entry { way, node: weights, aside: None },
                None => Entry { way, node, aside: Some(Aside::Attribute) },
            }
        });
        let parameters = part(self.parameters).map(entry);
        parameters.chain(buffers).chain(part(self.modules).map(entry)).chain(others).collect()
    }
}

/// The name of a buffer; no tensor has one as long as what is left out.
fn word(graph: &Graph, id: NodeId) -> Option<&str> {
    if graph.text_bytes(id) < 64 << 10 { graph.str(id) } else { None }
}

/// The weights in an object of a C++ class: quantized layers keep them in such attributes, and their code puts them into
/// `state_dict()`. Its state is `(weights, name of the class)`.
fn packed_weights(graph: &Graph, node: NodeId) -> Option<NodeId> {
    let object = graph.object(node)?;
    let class = graph.global(object.callable)?;
    let known = class.name == "ScriptObject" && matches!(class.module.as_str(), "torch" | "torch._C");
    match graph.tuple(*object.states.last()?) {
        Some(&[weights, _]) if known => Some(weights),
        _ => None,
    }
}

/// An object whose class is made of source that the pickle carries: `_reconstruct_persistent_obj({type, version, module_src,
/// class_name, state})` of StyleGAN's `torch_utils/persistence.py`.
pub(super) struct EmbeddedSource {
    state: NodeId,
    /// What the description says besides.
    pub rest: Vec<(NodeId, NodeId)>,
}

impl EmbeddedSource {
    pub fn of(graph: &Graph, object: Object<'_>) -> Option<Self> {
        let global = graph.global(object.callable)?;
        let Some(Meaning::EmbeddedSource) = meaning(&global.module, &global.name) else { return None };
        let &[description] = graph.tuple(object.args)? else { return None };
        let (state, rest): (Vec<_>, Vec<_>) =
            pairs_of(graph, description)?.into_iter().partition(|(key, _)| graph.is_word(*key, &["state"]));
        let &[(_, state)] = state.as_slice() else { return None };
        Some(EmbeddedSource { state, rest })
    }

    /// The states that the object is given when its description has been understood.
    pub fn states(&self, object: Object<'_>) -> Vec<NodeId> {
        std::iter::once(self.state).chain(object.states.iter().copied()).collect()
    }
}

/// The members of a set, or of whatever else answers Python's `in` by its members.
fn set_items(graph: &Graph, set: NodeId) -> Option<Vec<NodeId>> {
    match graph.node(set) {
        Node::Set(items) | Node::FrozenSet(items) | Node::List(items) | Node::Tuple(items) => Some(items.to_vec()),
        Node::Dict(pairs) => Some(pairs.iter().map(|(key, _)| *key).collect()),
        Node::Object(object) => {
            let global = graph.global(object.callable)?;
            let Some(Meaning::Sequence) = meaning(&global.module, &global.name) else { return None };
            let given = match graph.tuple(object.args)? {
                [] => &[],
                [items, ..] => graph.sequence(*items)?,
            };
            Some(given.iter().chain(object.appended).copied().collect())
        }
        _ => None,
    }
}
