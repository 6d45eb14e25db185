//! Python source that a pickle carries. torch before 1.6 notes the source of classes, and only compares it; StyleGAN's
//! persistence makes its classes of it, so that loading runs it.

use std::collections::HashMap;

use crate::finding::{Finding, Severity};
use crate::globals::{Meaning, meaning};
use crate::pickle::{Graph, Node, NodeId};
use crate::rules::{Findings, python_source};

pub(super) fn judge(graph: &Graph) -> Findings<'_> {
    let mut sources = HashMap::new();
    Box::new(graph.ids().filter_map(move |id| judge_node(graph, id, &mut sources)))
}

/// What is in a description of a class with its source: how much that matters, and the words for it.
fn look(graph: &Graph, description: NodeId) -> (Severity, String) {
    let source = graph.get(description, "module_src");
    let bytes = crate::text::count(source.map_or(0, |source| text_bytes(graph, source)), "byte");
    match source.and_then(|source| graph.str(source)).and_then(python_source::dangerous_use) {
        Some((name, how)) => {
            let name = crate::text::quoted(name, 200);
            (
                Severity::Dangerous,
                format!("{bytes} of Python source in the file, to make a class; it names {}, which {how}", name.trim_matches('"')),
            )
        }
        None => (Severity::Unrecognized, format!("{bytes} of Python source in the file, to make a class")),
    }
}

fn judge_node(graph: &Graph, id: NodeId, sources: &mut HashMap<NodeId, (Severity, String)>) -> Option<Finding> {
    match graph.node(id) {
        Node::Object(object) => {
            let global = graph.global(object.callable)?;
            let Some(Meaning::EmbeddedSource) = meaning(&global.module, &global.name) else { return None };
            // One description may be given to any number of calls; its source is read once.
            let (severity, what) = match graph.tuple(object.args).and_then(|args| args.first()) {
                Some(&description) => sources.entry(description).or_insert_with(|| look(graph, description)).clone(),
                None => (Severity::Unrecognized, "Python source that is not in the file".to_owned()),
            };
            let message = format!("loading would run {what}");
            let finding = Finding::note("embedded-source", graph.place(id), message);
            Some(Finding { severity, global: Some(global.path()), ..finding })
        }
        Node::Persistent(pid) => {
            let &[tag, class, _file, source] = graph.tuple(pid)? else { return None };
            let bytes = text_bytes(graph, source);
            if !graph.is_word_or_bytes(tag, "module") || bytes == 0 {
                return None;
            }
            let class = graph.global(class).map(|global| global.path()).unwrap_or_default();
            let message = format!(
                "the file carries {} of source of {}, which torch compares and does not run",
                crate::text::count(bytes, "byte"),
                crate::text::printable(&class)
            );
            Some(Finding::note("embedded-source", graph.place(id), message))
        }
        _ => None,
    }
}

fn text_bytes(graph: &Graph, id: NodeId) -> u64 {
    match graph.node(id) {
        Node::Text(blob) | Node::Str(blob) | Node::Bytes(blob) => blob.len(),
        _ => 0,
    }
}
