//! Python source that a pickle carries. torch before 1.6 notes the source of classes, and only compares it; StyleGAN's
//! persistence makes its classes of it, so that loading runs it.

use crate::finding::{Finding, Severity};
use crate::globals::{Meaning, meaning};
use crate::pickle::{Graph, Node, NodeId};
use crate::rules::python_source;

pub(super) fn judge(graph: &Graph) -> Vec<Finding> {
    graph.ids().filter_map(|id| judge_node(graph, id)).collect()
}

fn judge_node(graph: &Graph, id: NodeId) -> Option<Finding> {
    match graph.node(id) {
        Node::Object(object) => {
            let global = graph.global(object.callable)?;
            let Some(Meaning::EmbeddedSource) = meaning(&global.module, &global.name) else { return None };
            let source = graph.tuple(object.args).and_then(|args| graph.get(*args.first()?, "module_src"));
            let bytes = source.map_or(0, |source| text_bytes(graph, source));
            let uses = source.and_then(|source| graph.str(source)).and_then(python_source::dangerous_use);
            let (severity, uses) = match uses {
                Some((name, how)) => (Severity::Dangerous, format!("; it names {}, which {how}", crate::text::printable(name))),
                None => (Severity::Unrecognized, String::new()),
            };
            let bytes = crate::text::count(bytes, "byte");
            let message = format!("loading would run {bytes} of Python source in the file, to make a class{uses}");
            let finding = Finding::note("embedded-source", graph.place(id), message);
            Some(Finding { severity, global: Some(global.path()), ..finding })
        }
        Node::Persistent(pid) => {
            let &[tag, class, _file, source] = graph.tuple(*pid)? else { return None };
            let bytes = text_bytes(graph, source);
            if graph.str_or_ascii(tag) != Some("module") || bytes == 0 {
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
