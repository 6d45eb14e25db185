//! Calls that loading the file would make and that this program does not interpret: one finding for each call, at the
//! opcode that makes it, whether or not anything uses the result. A dangerous function that is only handed on, to
//! `functools.partial` for example, could be called by whoever gets it; that is as dangerous.

use std::collections::{HashMap, HashSet};

use crate::container::storage_class;
use crate::finding::{Finding, Severity};
use crate::globals::{Meaning, NESTED_LOADER, meaning, paddle};
use crate::pickle::{GlobalUse, Graph, Node, NodeId, Object, Origin};
use crate::rules::attribute;
use crate::rules::preview::preview;

/// After this many findings, and this many about one global, only their number goes on.
const MAX_FINDINGS: usize = 10_000;
const MAX_OF_A_GLOBAL: usize = 100;
/// Dangerous calls of a global that was not called before are kept beyond that, up to this many.
const MAX_DANGEROUS: usize = 20_000;
/// Characters of the name of a global in a message.
const MAX_NAME_CHARS: usize = 300;

pub(super) fn judge(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut more = 0u64;
    let as_values = used_as_values(graph);
    let mut handed_on = HashSet::new();
    let mut of_globals = HashMap::new();
    for id in graph.ids() {
        let finding = match graph.node(id) {
            Node::Object(object) => judge_call(graph, id, object),
            Node::Global(global) if as_values[id.index()] && handed_on.insert(global) => judge_mention(graph, id),
            Node::Dynamic(..) => Some(judge_dynamic(graph, id)),
            _ => None,
        };
        let Some(finding) = finding else { continue };
        let of_this = match of_globals.get_mut(&finding.global) {
            Some(of_this) => of_this,
            None => of_globals.entry(finding.global.clone()).or_insert(0usize),
        };
        *of_this += 1;
        // The first dangerous call of a global is never lost in a flood of others.
        let room = findings.len() < MAX_FINDINGS && *of_this <= MAX_OF_A_GLOBAL;
        if room || (finding.severity == Severity::Dangerous && *of_this == 1 && findings.len() < MAX_DANGEROUS) {
            let arguments = graph.object(id).map(|object| preview(graph, object));
            findings.push(Finding { arguments, ..finding });
        } else {
            more += 1;
        }
    }
    if more > 0 {
        let message = format!("and {} like these", crate::text::count(more, "more finding"));
        findings.push(Finding { severity: Severity::Unrecognized, ..Finding::note("callable", graph.start().clone(), message) });
    }
    findings
}

/// For each node whether anything but a call of it refers to it: what is called once can be handed on as well.
fn used_as_values(graph: &Graph) -> Vec<bool> {
    let mut called = vec![0u32; graph.len()];
    let mut referred = vec![0u32; graph.len()];
    for id in graph.ids() {
        if let Some(object) = graph.object(id) {
            let callable = &mut called[object.callable.index()];
            *callable = callable.saturating_add(1);
            // The class that a function of copyreg makes an object of is judged with that call.
            if let Some(class) = made(graph, object) {
                let class = &mut called[class.index()];
                *class = class.saturating_add(1);
            }
        }
        graph.each_child(id, |child| {
            let child = &mut referred[child.index()];
            *child = child.saturating_add(1);
        });
    }
    // What nothing refers to stays on the stack, or is the root, or is dropped: it is imported all the same.
    referred.iter().zip(called).map(|(&referred, called)| referred > called || referred == 0).collect()
}

fn judge_call(graph: &Graph, id: NodeId, object: Object<'_>) -> Option<Finding> {
    if let Some(class) = class_with_source(graph, object.callable) {
        return judge_use(graph, id, object, class, Use::Class);
    }
    let Some(global) = graph.global(object.callable) else {
        let message = "loading would call something that is only known by running other calls";
        return Some(Finding { severity: Severity::Unrecognized, ..Finding::note("dynamic-global", graph.place(id), message) });
    };
    if paddle::evaluated(graph, id, object).is_some() {
        return None;
    }
    if let Some(finding) = judge_codec(graph, id, object, global) {
        return Some(finding);
    }
    if is_maker(global) {
        return match made(graph, object).and_then(|class| graph.global(class)) {
            Some(class) => judge_use(graph, id, object, class, Use::Class),
            None => Some(judge_dynamic(graph, id)),
        };
    }
    // INST and OBJ run the constructor when they give it arguments.
    let calls = match object.origin {
        Origin::Reduce => true,
        Origin::New => false,
        Origin::Instance => graph.tuple(object.args).is_none_or(|args| !args.is_empty()),
    };
    let used = if calls { Use::Call } else { Use::Class };
    judge_use(graph, id, object, global, used)
}

/// How a global is used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Call,
    /// An object of it is made.
    Class,
}

fn judge_use(graph: &Graph, id: NodeId, object: Object<'_>, global: &GlobalUse, used: Use) -> Option<Finding> {
    // Of a million calls nearly all give nothing to say.
    let path = || shown(global);
    let has_arguments = graph.tuple(object.args).is_none_or(|args| !args.is_empty());
    let (kind, severity, message) = match (meaning(&global.module, &global.name), used) {
        (Some(Meaning::Attribute), _) => {
            let (severity, what) = attribute::judge(graph, object)?;
            ("callable", severity, format!("loading would call {} {what}", path()))
        }
        (Some(Meaning::Type), Use::Call) if graph.tuple(object.args).is_some_and(|args| args.len() == 1) => return None,
        (Some(Meaning::Type), _) => ("callable", Severity::Dangerous, format!("loading would make a new class with {}", path())),
        (Some(Meaning::PlainClass), Use::Call) if has_arguments && !is_member_of_an_enum(graph, object) => {
            ("callable", Severity::Unrecognized, format!("loading would call {}, a class whose constructor is not known here", path()))
        }
        (Some(Meaning::Dangerous(how) | Meaning::DangerousCall(how)), _) => {
            ("callable", Severity::Dangerous, format!("loading would call {}, which {how}", path()))
        }
        (
            Some(
                Meaning::Rebuild(_)
                | Meaning::RebuildWithState(_)
                | Meaning::Same
                | Meaning::EmbeddedSource
                | Meaning::Mapping
                | Meaning::Sequence
                | Meaning::PlainClass
                | Meaning::Harmless,
            ),
            _,
        ) => return None,
        (_, Use::Call) => ("callable", Severity::Unrecognized, format!("loading would call {}, which is not known here", path())),
        (_, Use::Class) => {
            ("unknown-class", Severity::Unrecognized, format!("loading would make an object of {}, a class not known here", path()))
        }
    };
    let message = crate::text::printable(&message).into_owned();
    Some(Finding { kind, severity, global: Some(global.path()), place: graph.place(id), message, arguments: None })
}

/// The name of a global in a message; its finding has it whole.
fn shown(global: &GlobalUse) -> String {
    let path = global.path();
    match path.char_indices().nth(MAX_NAME_CHARS) {
        Some((cut, _)) => format!("{}...", &path[..cut]),
        None => path,
    }
}

/// Whether the arguments are those of a member of an enum: one number, or one word that is no path. A state would change the member for
/// the whole process; pickles give it none.
fn is_member_of_an_enum(graph: &Graph, object: Object<'_>) -> bool {
    if !object.states.is_empty() || !object.items.is_empty() || !object.appended.is_empty() {
        return false;
    }
    let Some(&[value]) = graph.tuple(object.args) else { return false };
    let is_word = |text: &str| text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | ' '));
    graph.int(value).is_some() || (graph.text_bytes(value) <= 64 && graph.str(value).is_some_and(is_word))
}

/// Bytes are written as text in Latin-1 below protocol 3; another codec makes other bytes, or other text, of them.
fn judge_codec(graph: &Graph, id: NodeId, object: Object<'_>, global: &GlobalUse) -> Option<Finding> {
    let is_codec = global.module == "_codecs" && global.name == "encode";
    if !is_codec || matches!(graph.tuple(object.args), Some(&[_, codec]) if graph.is_word(codec, &["latin1", "latin-1"])) {
        return None;
    }
    let message = "loading would call _codecs.encode with another codec than Latin-1, which no pickler writes";
    let finding = Finding::note("callable", graph.place(id), message);
    Some(Finding { severity: Severity::Unrecognized, global: Some(global.path()), ..finding })
}

/// Functions of `copyreg` that make an object of the class that is their first argument.
const MAKERS: &[&str] = &["_reconstructor", "__newobj__", "__newobj_ex__"];

fn is_maker(global: &GlobalUse) -> bool {
    matches!(global.module.as_str(), "copyreg" | "copy_reg") && MAKERS.contains(&global.name.as_str())
}

/// The class whose object a function of `copyreg` makes.
fn made(graph: &Graph, object: Object<'_>) -> Option<NodeId> {
    let is_made = graph.global(object.callable).is_some_and(is_maker);
    graph.tuple(object.args).filter(|_| is_made)?.first().copied()
}

/// The class that a persistent id `('module', class, file, source)` stands for: torch before 1.6 notes the source of classes so.
fn class_with_source(graph: &Graph, callable: NodeId) -> Option<&GlobalUse> {
    let Node::Persistent(pid) = graph.node(callable) else { return None };
    match graph.tuple(pid)? {
        &[tag, class, ..] if graph.is_word_or_bytes(tag, "module") => graph.global(class),
        _ => None,
    }
}

fn judge_dynamic(graph: &Graph, id: NodeId) -> Finding {
    let message = "loading would use a class or function that is only known by running other calls, which no pickler writes";
    Finding { severity: Severity::Dangerous, ..Finding::note("dynamic-global", graph.place(id), message) }
}

fn judge_mention(graph: &Graph, id: NodeId) -> Option<Finding> {
    let global = graph.global(id)?;
    let how = match meaning(&global.module, &global.name) {
        None | Some(Meaning::UnknownRebuild) if storage_class(&global.module, &global.name).is_none() => {
            let message = format!("loading would import {}, which is not known here, and hand it to other code", shown(global));
            let finding = Finding::note("callable", graph.place(id), crate::text::printable(&message));
            return Some(Finding { severity: Severity::Unrecognized, global: Some(global.path()), ..finding });
        }
        Some(Meaning::Dangerous(how)) => how,
        Some(Meaning::Type) if global.name == "type" => "makes classes",
        Some(Meaning::Attribute) => "reaches any attribute of what it is given",
        // Read where it is called; handed on, the file in its argument would go unread.
        Some(Meaning::Rebuild(_)) if global.path() == NESTED_LOADER => "loads another file from bytes",
        _ => return None,
    };
    let message = format!("loading would hand {}, which {how}, to other code", shown(global));
    let finding = Finding::note("callable", graph.place(id), crate::text::printable(&message));
    Some(Finding { severity: Severity::Dangerous, global: Some(global.path()), ..finding })
}
