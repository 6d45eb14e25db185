//! Tensors that are handed to a call of unknown code: what it would make of them only running it would tell.

use crate::finding::Finding;
use crate::globals::{Meaning, meaning};
use crate::pickle::{Graph, Node, NodeId, Object};
use crate::rules::Findings;

/// Values that are looked at for each call, and for all of them together; honest calls have a handful.
const MAX_VALUES: usize = 1_000;
const MAX_VALUES_IN_ALL: usize = 50_000_000;

pub(super) fn judge(graph: &Graph) -> Findings<'_> {
    let mut values_left = MAX_VALUES_IN_ALL;
    Box::new(graph.ids().filter_map(move |id| judge_call(graph, id, graph.object(id)?, &mut values_left)))
}

fn judge_call(graph: &Graph, id: NodeId, object: Object<'_>, values_left: &mut usize) -> Option<Finding> {
    let global = graph.global(object.callable);
    if let Some(global) = global
        && !matches!(
            meaning(&global.module, &global.name),
            None | Some(Meaning::Attribute | Meaning::Dangerous(_) | Meaning::DangerousCall(_))
        )
    {
        return None;
    }
    let mut pending = vec![object.args];
    pending.extend(object.kwargs);
    for _ in 0..MAX_VALUES {
        let value = pending.pop()?;
        *values_left = values_left.checked_sub(1)?;
        match graph.node(value) {
            Node::Object(inner) if makes_a_tensor(graph, inner) => {
                let name = global.map_or_else(|| "a call".to_owned(), |global| crate::text::printable(&global.path()).into_owned());
                let message = format!("a tensor is an argument of {name}, which is not run; the tensor is written as it was given");
                let finding = Finding::note("tensor-escapes", graph.place(id), message);
                return Some(Finding { global: global.map(|global| global.path()), ..finding });
            }
            Node::Tuple(_) | Node::List(_) | Node::Set(_) | Node::FrozenSet(_) | Node::Dict(_) => {
                let room = MAX_VALUES - pending.len().min(MAX_VALUES);
                pending.extend(graph.children(value).take(room));
            }
            _ => {}
        }
    }
    None
}

fn makes_a_tensor(graph: &Graph, object: Object<'_>) -> bool {
    let global = graph.global(object.callable);
    let known = global.and_then(|global| meaning(&global.module, &global.name));
    matches!(known, Some(Meaning::Rebuild(_) | Meaning::RebuildWithState(_)))
}
