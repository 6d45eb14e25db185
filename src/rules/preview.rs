//! The arguments of a call as a person would write them, cut short and inert.

use crate::pickle::{Graph, Node, NodeId, Object};

const PREVIEW_CHARS: usize = 120;
/// Characters of a text in a preview.
const TEXT_CHARS: usize = 80;

/// The arguments as a person would write them, cut short.
pub(super) fn preview(graph: &Graph, object: Object<'_>) -> String {
    let mut shown = String::new();
    let mut parts_left = 32;
    for (i, &arg) in graph.tuple(object.args).unwrap_or_default().iter().enumerate() {
        if i > 0 {
            shown.push_str(", ");
        }
        preview_value(graph, arg, 3, &mut parts_left, &mut shown);
    }
    match shown.char_indices().nth(PREVIEW_CHARS) {
        Some((cut, _)) => format!("{}...", &shown[..cut]),
        None => shown,
    }
}

fn preview_value(graph: &Graph, id: NodeId, depth_left: u32, parts_left: &mut u32, shown: &mut String) {
    *parts_left = parts_left.saturating_sub(1);
    if *parts_left == 0 {
        return shown.push_str("...");
    }
    match graph.node(id) {
        Node::None => shown.push_str("None"),
        Node::Bool(true) => shown.push_str("True"),
        Node::Bool(false) => shown.push_str("False"),
        Node::Int(value) => shown.push_str(&value.to_string()),
        Node::Float(value) => shown.push_str(&value.to_string()),
        Node::Text(_) | Node::Str(_) => {
            shown.push_str(&crate::text::quoted(&graph.beginning(id, 4 * TEXT_CHARS), TEXT_CHARS));
        }
        Node::Bytes(blob) | Node::ByteArray(blob) => {
            let bytes = graph.blob(blob);
            let text = bytes[..bytes.len().min(40)].escape_ascii().to_string();
            shown.push_str(&format!("b\"{text}\"{}", if bytes.len() > 40 { "..." } else { "" }));
        }
        Node::Global(_) => shown.push_str(&crate::text::printable(&graph.global(id).map(|global| global.path()).unwrap_or_default())),
        Node::Tuple(items) | Node::List(items) if depth_left > 0 => {
            shown.push('(');
            for (i, &item) in items.iter().take(8).enumerate() {
                if i > 0 {
                    shown.push_str(", ");
                }
                preview_value(graph, item, depth_left - 1, parts_left, shown);
            }
            shown.push_str(if items.len() > 8 { ", ...)" } else { ")" });
        }
        _ => shown.push_str("..."),
    }
}
