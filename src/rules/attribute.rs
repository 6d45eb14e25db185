//! `getattr` in a pickle: honest ones name a method or a member of a class, hostile ones walk from any object to any other. What is
//! reached is judged like a dotted name.

use std::borrow::Cow;

use crate::finding::Severity;
use crate::globals::{Meaning, attribute_meaning, meaning};
use crate::pickle::{Graph, Node, NodeId, Object};

/// What a call of `getattr` reaches, when that is worth a word: how much it matters, and the rest of the sentence.
pub(super) fn judge(graph: &Graph, object: Object<'_>) -> Option<(Severity, String)> {
    let args = graph.tuple(object.args).unwrap_or_default();
    let (&[target, name] | &[target, name, _]) = args else {
        return Some((Severity::Dangerous, "to reach what is not to be seen here".to_owned()));
    };
    let Some(attribute) = word(graph, name) else {
        return Some((Severity::Dangerous, "to reach an attribute whose name is computed".to_owned()));
    };
    let reached = match path(graph, target) {
        Some((module, name)) => (attribute_meaning(module, &name, &attribute), format!("{module}.{name}.{attribute}")),
        // A method of a list, a text ...
        None if is_plain(graph, target) => {
            (attribute_meaning("builtins", "object", &attribute), format!("an attribute {attribute} of a value"))
        }
        None => {
            (attribute_meaning("", "", &attribute).filter(is_dangerous), format!("an attribute {attribute} of what another call gives"))
        }
    };
    match reached {
        (Some(Meaning::Dangerous(how) | Meaning::DangerousCall(how)), path) => {
            Some((Severity::Dangerous, format!("to reach {path}, which {how}")))
        }
        (Some(_), _) => None,
        (None, path) => Some((Severity::Unrecognized, format!("to reach {path}, which is not known here"))),
    }
}

fn is_dangerous(meaning: &Meaning) -> bool {
    matches!(meaning, Meaning::Dangerous(_) | Meaning::DangerousCall(_))
}

/// Attributes of attributes that are followed; honest files have one.
const MAX_CHAIN: usize = 32;
/// Bytes of a name that are read; a longer one is judged by its length alone.
const MAX_NAME: usize = 1001;

/// The name of an attribute, as far as it matters.
fn word(graph: &Graph, name: NodeId) -> Option<Cow<'_, str>> {
    match graph.text_bytes(name) > MAX_NAME as u64 {
        true => Some(graph.beginning(name, MAX_NAME)),
        false => graph.str(name).map(Cow::Borrowed),
    }
}

/// The module and dotted name of a global, of what `getattr` reaches from it, or of the class of an object.
fn path(graph: &Graph, mut id: NodeId) -> Option<(&str, String)> {
    let mut attributes: Vec<Cow<'_, str>> = Vec::new();
    let joined = |mut attributes: Vec<Cow<'_, str>>| {
        attributes.reverse();
        attributes.join(".")
    };
    for _ in 0..MAX_CHAIN {
        if let Some(global) = graph.global(id) {
            attributes.push(Cow::Borrowed(&global.name));
            return Some((&global.module, joined(attributes)));
        }
        if attributes.iter().map(|name| name.len()).sum::<usize>() >= MAX_NAME {
            return Some(("", joined(attributes)));
        }
        let object = graph.object(id)?;
        let callable = graph.global(object.callable)?;
        match (meaning(&callable.module, &callable.name), graph.tuple(object.args)) {
            (Some(Meaning::Attribute), Some(&[target, name, ..])) => {
                attributes.push(word(graph, name)?);
                id = target;
            }
            _ => id = object.callable,
        }
    }
    None
}

fn is_plain(graph: &Graph, id: NodeId) -> bool {
    !matches!(graph.node(id), Node::Object(_) | Node::Persistent(_) | Node::Dynamic(..) | Node::Global(_) | Node::Given)
}
