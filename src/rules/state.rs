//! States that give an object what Python calls of itself: the next opcode, or whoever uses the object, runs it in the place of the
//! method of the class. And states with source that a class runs.

use std::collections::HashSet;

use crate::finding::{Finding, Severity};
use crate::pickle::{Graph, Node, NodeId, Object};
use crate::rules::{Findings, scipy_template};

/// Methods that Python or a pickle calls by these names, whatever they are.
const METHODS: &[&str] = &[
    "__setstate__",
    "__new__",
    "__init__",
    "__reduce__",
    "__reduce_ex__",
    "__getattr__",
    "__getattribute__",
    "__setattr__",
    "__call__",
    "__class__",
    "__del__",
    "__setitem__",
    "__getitem__",
    "__iter__",
    "__next__",
    "__len__",
    "__hash__",
    "__eq__",
    "__enter__",
    "__exit__",
    "__init_subclass__",
    "__set_name__",
    "__prepare__",
    "__instancecheck__",
    "__getnewargs__",
    "__getstate__",
    "__array__",
    "__array_finalize__",
];
/// The same where it is a function or an object that could be called: a list of that name is only a list.
const CALLED: &[&str] =
    &["append", "extend", "add", "keys", "items", "update", "read", "readline", "readinto", "read_array", "detach", "numpy"];

pub(super) fn judge(graph: &Graph) -> Findings<'_> {
    // One dict may be the state of many objects; it is looked at once.
    let mut plain = HashSet::new();
    Box::new(graph.ids().filter_map(move |id| judge_object(graph, id, graph.object(id)?, &mut plain)))
}

fn judge_object(graph: &Graph, id: NodeId, object: Object<'_>, plain: &mut HashSet<NodeId>) -> Option<Finding> {
    // With slots the state is a pair of dicts.
    let dicts = object.states.iter().flat_map(|&state| match graph.node(state) {
        Node::Tuple(parts) => parts.iter().take(2).copied().collect(),
        _ => vec![state],
    });
    let method = dicts.into_iter().find_map(|dict| {
        let method = if plain.contains(&dict) { None } else { method_in(graph, dict) };
        if method.is_none() {
            plain.insert(dict);
        }
        method
    })?;
    let of = graph.global(object.callable).map(|class| format!(" of {}", class.path())).unwrap_or_default();
    let how = if method == scipy_template::KEY { scipy_template::HOW } else { "which Python calls in the place of that of the class" };
    let message = format!("loading would give an object{of} its own {method}, {how}");
    let finding = Finding::note("callable", graph.place(id), crate::text::printable(&message));
    Some(Finding { severity: Severity::Dangerous, global: graph.global(object.callable).map(|class| class.path()), ..finding })
}

fn method_in(graph: &Graph, dict: NodeId) -> Option<&str> {
    let Node::Dict(pairs) = graph.node(dict) else { return None };
    pairs.iter().find_map(|&(key, value)| {
        if graph.text_bytes(key) > MAX_METHOD_BYTES {
            return None;
        }
        let key = graph.str_or_ascii(key)?;
        let is_function = || matches!(graph.node(value), Node::Global(_) | Node::Object(_) | Node::Dynamic(..));
        let is_source = || key == scipy_template::KEY && !graph.str_or_ascii(value).is_some_and(scipy_template::is_scipys_own);
        (METHODS.contains(&key) || (CALLED.contains(&key) && is_function()) || is_source()).then_some(key)
    })
}

/// No name in the lists is longer.
const MAX_METHOD_BYTES: u64 = 32;
