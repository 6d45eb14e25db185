//! What a stream does or says beside its values: opcodes with an effect of their own, names behind the place where it breaks.

use crate::limits::Limits;
use crate::place::Place;

/// A name behind the place where a stream broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// The opcode that names it.
    pub place: Place,
    /// The module as the stream spells it.
    pub module: String,
    /// The name in the module.
    pub name: String,
}

impl Mention {
    /// A mention of what could be a module and a name in it.
    pub(super) fn new(place: Place, module: &str, name: &str, limits: &Limits) -> Option<Mention> {
        let is_name =
            |text: &str| !text.is_empty() && text.split('.').all(|part| part.starts_with(|c: char| c.is_alphabetic() || c == '_'));
        let fits = limits.name_bytes((module.len() + name.len()) as u64).is_ok();
        (fits && is_name(module) && is_name(name)).then(|| Mention { place, module: module.to_owned(), name: name.to_owned() })
    }
}

/// What a stream does that makes no value. The stream ends there: what comes next would depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oddity {
    /// The opcode that does it.
    pub place: Place,
    /// What it does.
    pub what: OddityKind,
}

/// The kinds of [`Oddity`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OddityKind {
    /// A class or function is looked up by a number of the producer's own `copyreg` registry.
    Extension(u32),
    /// It is no pickle that a format asks for, and was not read to its end, for this reason.
    Unread(String),
    /// A state or an item is given to a class, function or module itself, which changes it for the whole process.
    Patched(String),
}
