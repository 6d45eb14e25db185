//! Dicts that set a key twice: the last value counts, and a reader that takes the first sees another checkpoint.

use crate::checkpoint::{mapping_pairs, shares_too_much};
use crate::finding::Finding;
use crate::globals::{Meaning, meaning};
use crate::names::{Step, unique_pairs};
use crate::pickle::{Graph, Node, Object};
use crate::rules::Findings;

pub(super) fn judge(graph: &Graph) -> Findings<'_> {
    let shared = shares_too_much(graph);
    let duplicate = move |id| {
        let pairs = match graph.node(id) {
            Node::Dict(pairs) => pairs,
            // The first pairs of an OrderedDict may be the argument that makes it.
            // Such a file is not converted.
            Node::Object(_) if shared => return None,
            Node::Object(object) if is_mapping(graph, object) => &mapping_pairs(graph, object),
            Node::Object(object) => object.items,
            _ => return None,
        };
        if pairs.len() < 2 {
            return None;
        }
        let key = unique_pairs(graph, pairs.iter().copied()).1?;
        let message = format!("a dict sets the key {} twice; the last value counts, as in Python", Step::key(graph, key));
        Some(Finding::note("duplicate-key", graph.place(key), message))
    };
    Box::new(graph.ids().filter_map(duplicate))
}

fn is_mapping(graph: &Graph, object: Object<'_>) -> bool {
    let global = graph.global(object.callable);
    matches!(global.and_then(|global| meaning(&global.module, &global.name)), Some(Meaning::Mapping))
}
