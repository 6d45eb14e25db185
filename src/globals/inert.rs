//! The list of classes and functions that honest files carry and that make plain data, from `inert.tsv`.

use std::sync::OnceLock;

use crate::globals::Meaning;
use crate::globals::list::List;

fn list() -> &'static List {
    static LIST: OnceLock<List> = OnceLock::new();
    LIST.get_or_init(|| List::read(include_str!("inert.tsv")))
}

/// Whether the list has exactly this name. A member of an enum is one object for the whole process, and no constructor of it is
/// called with more than its value.
pub(super) fn named(module: &str, name: &str) -> Option<Meaning> {
    let reason = list().named(module, name)?.text;
    Some(if reason.starts_with("members of ") { Meaning::PlainClass } else { Meaning::Harmless })
}

/// Whether it is a class of a module in which every class is plain data.
pub(super) fn class_of(module: &str, name: &str) -> Option<Meaning> {
    let class = name.trim_start_matches('_').starts_with(|c: char| c.is_ascii_uppercase()) && !name.contains('.');
    if class { list().whole(module).map(|_| Meaning::PlainClass) } else { None }
}
