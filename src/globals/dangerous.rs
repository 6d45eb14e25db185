//! The list of functions that run code, touch files or reach the network, from `dangerous.tsv`.
//!
//! It labels calls and nothing more: what makes a file safe to read is that nothing is called.

use foldhash::HashSet;
use std::sync::OnceLock;

use crate::globals::Meaning;
use crate::globals::list::{Entry, List};

struct Table {
    list: List,
    /// The first parts of the modules in the list.
    firsts: HashSet<&'static str>,
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let list = List::read(include_str!("dangerous.tsv"));
        let firsts = list.modules().map(|module| module.split('.').next().unwrap_or(module)).collect();
        Table { list, firsts }
    })
}

fn dangerous(entry: Entry) -> Meaning {
    if entry.call { Meaning::DangerousCall(entry.text) } else { Meaning::Dangerous(entry.text) }
}

/// Whether the list has exactly this name.
pub(super) fn named(module: &str, name: &str) -> Option<Meaning> {
    table().list.named(module, name).map(dangerous)
}

/// Whether it has the module as a whole, or what a name leads to. A dotted name, or a name that is itself a module, leads
/// through attributes to other modules: `torch` / `os.system` is `os.system`, and whoever gets `torch` / `os` can call it.
pub(super) fn reached(module: &str, name: &str) -> Option<Meaning> {
    let last = name.rsplit('.').next().unwrap_or(name);
    into_the_interpreter(name)
        .or_else(|| table().list.whole(module).map(dangerous))
        .or_else(|| along(module, name))
        .or_else(|| named("*", last))
}

/// More parts than any real name has.
const MAX_PARTS: usize = 32;

/// More parts than a module in the list has.
const MAX_MODULE_PARTS: usize = 8;

/// Modules whose name is also one of a submodule that has nothing to do with them: they count in a name, not in the name
/// of a module.
const ALSO_SUBMODULES: &[&str] =
    &["builtins", "pickle", "multiprocessing", "asyncio", "threading", "urllib", "requests", "yaml", "unittest", "inspect", "doctest"];

/// The first dangerous thing that the path goes through.
fn along(module: &str, name: &str) -> Option<Meaning> {
    let Table { list, firsts } = table();
    let path = format!("{module}.{name}");
    let ends: Vec<usize> = path.match_indices('.').map(|(dot, _)| dot).chain([path.len()]).collect();
    if ends.len() > MAX_PARTS {
        return Some(Meaning::Dangerous("is a longer chain of attributes than any real name"));
    }
    for (first, &end) in ends.iter().enumerate() {
        let start = if first == 0 { 0 } else { ends[first - 1] + 1 };
        let part = &path[start..end];
        if !firsts.contains(part) {
            continue;
        }
        // The module that is asked for says itself where its own path leads. Further on in its name, only what is no common word counts.
        let own = first == 0;
        let in_name = start > module.len();
        let reached = if own { None } else { list.named(part, ".") };
        match reached {
            Some(entry) if in_name || !ALSO_SUBMODULES.contains(&part) => return Some(dangerous(entry)),
            None if !own && !in_name => continue,
            _ => {}
        }
        for (i, &end) in ends.iter().enumerate().skip(first).take(MAX_MODULE_PARTS) {
            if own && end < module.len() {
                continue;
            }
            let chain = &path[start..end];
            let next = ends.get(i + 1).map(|&next| &path[end + 1..next]);
            let named = next.and_then(|next| list.named(chain, next).or_else(|| list.named(chain, &path[end + 1..])));
            let whole = || if own && end > module.len() { list.whole(chain) } else { None };
            if let Some(entry) = named.or_else(whole) {
                return Some(dangerous(entry));
            }
        }
    }
    None
}

/// Names with two underscores on both sides that are met in honest files. The others are ways into the interpreter:
/// `__globals__`, `__subclasses__`, `__getattribute__` ...
const PLAIN_DUNDERS: &[&str] =
    &["__new__", "__init__", "__main__", "__version__", "__newobj__", "__newobj_ex__", "__name__", "__qualname__", "__doc__"];

fn into_the_interpreter(name: &str) -> Option<Meaning> {
    let dunder = |part: &str| part.len() > 4 && part.starts_with("__") && part.ends_with("__") && !PLAIN_DUNDERS.contains(&part);
    name.split('.').any(dunder).then_some(Meaning::Dangerous("reaches into the interpreter"))
}
