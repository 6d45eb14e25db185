//! Values that are no tensors, in a few words for people.

use crate::pickle::{Graph, Node, NodeId};
use crate::text::{count, printable, quoted};

/// Bytes of a text that are looked at to show its beginning.
const BEGINNING: usize = 400;

/// The beginning of a key.
fn name(graph: &Graph, key: NodeId) -> String {
    let quoted = quoted(&graph.beginning(key, BEGINNING), 80);
    if quoted.ends_with("...") { quoted } else { quoted.trim_matches('"').to_owned() }
}

/// What a value is, such as `a dict with 3 entries (epoch, args, lr)`.
pub(crate) fn value(graph: &Graph, id: NodeId) -> String {
    match graph.node(id) {
        Node::None => "None".to_owned(),
        Node::Bool(value) => if value { "True" } else { "False" }.to_owned(),
        Node::Int(value) => value.to_string(),
        Node::Long(_) | Node::LongText(_) => "an integer beyond 64 bits".to_owned(),
        Node::Float(value) => value.to_string(),
        Node::Bytes(blob) | Node::ByteArray(blob) => count(blob.len(), "byte"),
        Node::Text(_) | Node::Str(_) => format!("the text {}", quoted(&graph.beginning(id, BEGINNING), 60)),
        Node::Tuple(items) => format!("a tuple of {}", count(items.len() as u64, "item")),
        Node::List(items) => format!("a list of {}", count(items.len() as u64, "item")),
        Node::Set(items) | Node::FrozenSet(items) => format!("a set of {}", count(items.len() as u64, "item")),
        Node::Dict(pairs) => {
            let keys: Vec<String> = pairs
                .iter()
                .take(4)
                .filter(|(key, _)| matches!(graph.node(*key), Node::Text(_) | Node::Str(_)))
                .map(|(key, _)| name(graph, *key))
                .collect();
            let shown = if keys.is_empty() {
                String::new()
            } else {
                format!(" ({}{})", keys.join(", "), if pairs.len() > keys.len() { ", ..." } else { "" })
            };
            let entries =
                if pairs.len() == 1 { "1 entry".to_owned() } else { format!("{} entries", crate::text::thousands(pairs.len() as u64)) };
            format!("a dict with {entries}{shown}")
        }
        Node::Dynamic(..) => "a name that only calls would tell".to_owned(),
        Node::Global(_) => {
            graph.global(id).map_or_else(|| "a class".to_owned(), |global| format!("the class or function {}", printable(&global.path())))
        }
        Node::Persistent(_) => "a storage".to_owned(),
        Node::Given => "an array".to_owned(),
        Node::Object(object) => match graph.global(object.callable) {
            Some(global) => format!("an object of {}", printable(&global.path())),
            None => "an object".to_owned(),
        },
    }
}
