//! The table of meanings: what a global named `module.name` means to us. One row serves `convert`, which builds with
//! it, and the rules, which judge by it. What has no row is unrecognized: kept inert, walked for tensors, reported.

mod array;
mod dangerous;
mod inert;
mod list;
mod numpy;
pub(crate) mod paddle;
mod python;
mod reader;
mod renamed;
mod torch;
mod value;
mod values;

use foldhash::HashMap;
use std::sync::OnceLock;

use crate::error::Result;

pub use reader::{Attributes, Reader};
pub(crate) use value::Call;
pub use value::{Absence, Lowering, PartContent, TensorId, Value};
pub(crate) use values::{Seen, Values};

/// What a global means.
#[derive(Clone, Copy)]
pub(crate) enum Meaning {
    /// Calling it makes a tensor, an array, or what one is made of; the function says which.
    Rebuild(Rebuild),
    /// The same for what is made in two steps: the state that `BUILD` gives it is part of it.
    RebuildWithState(Rebuild),
    /// Calling it gives back its first argument, with a type that only says what it is.
    Same,
    /// Calling it makes a mapping of keys to values: `OrderedDict`, `defaultdict`, `Counter`.
    Mapping,
    /// Calling it makes a sequence of values: `set`, `deque`.
    Sequence,
    /// Calling it runs Python source that the file carries, to make a class, and gives an object of it the state that is in the
    /// argument.
    EmbeddedSource,
    /// A value, function or class that has no effect here and holds no tensor data.
    Harmless,
    /// A class of a package whose classes are plain data: an object of it that gets a state is harmless. Its constructor is not known.
    PlainClass,
    /// It is in a module whose functions make tensors and arrays, and has no row: it comes from a version that is newer than
    /// this program, or from a damaged name. A tensor must not be lost as the arguments of an unknown call.
    UnknownRebuild,
    /// `getattr`: what it reaches is in its arguments. [`attribute_meaning`] says what that means.
    Attribute,
    /// `type`: with one argument the class of a value, with three a new class.
    Type,
    /// Calling it, or handing it on, runs code, touches files or reaches the network; the words say how.
    Dangerous(&'static str),
    /// The same, but harmless as long as it is only handed on.
    DangerousCall(&'static str),
}

/// The function that reads a whole torch file from bytes, and with it whatever pickle is in there.
pub(crate) const NESTED_LOADER: &str = "torch.storage._load_from_bytes";

/// Builds the value of a call from its arguments and states.
pub(crate) type Rebuild = fn(&mut Reader<'_>, &Call) -> Result<Value>;

/// A row of a table: module, name, meaning.
pub(crate) type Row = (&'static str, &'static str, Meaning);

/// Bytes of module and name together. Chains of attributes of this length lead anywhere: `path.os.path.os` and so on.
const MAX_NAME: usize = 1000;

/// What `module.name` means, whatever the Python or library version that spelled it.
pub(crate) fn meaning(module: &str, name: &str) -> Option<Meaning> {
    static TABLE: OnceLock<HashMap<(&str, &str), Meaning>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let rows = [torch::ROWS, numpy::ROWS, python::ROWS].into_iter().flatten();
        rows.map(|&(module, name, meaning)| ((module, name), meaning)).collect()
    });
    // Asked once for each call: a name of megabytes must not be read each time.
    if module.len() + name.len() > MAX_NAME {
        return Some(Meaning::Dangerous("has a longer name than any real function"));
    }
    let now = renamed::present(module, name);
    // What is dangerous under one of its names is dangerous.
    let old = if now == (module, name) { None } else { Some((module, name)) };
    let spelled = |ask: fn(&str, &str) -> Option<Meaning>| ask(now.0, now.1).or_else(|| old.and_then(|(module, name)| ask(module, name)));
    table
        .get(&now)
        .copied()
        .or_else(|| spelled(dangerous::named))
        .or_else(|| spelled(inert::named))
        .or_else(|| lowered(now))
        .or_else(|| spelled(dangerous::reached))
        .or_else(|| REBUILD_MODULES.contains(&now.0).then_some(Meaning::UnknownRebuild))
        .or_else(|| spelled(inert::class_of))
}

/// What `getattr(module.name, attribute)` means. An attribute of a plain class is as plain: a method, a member of an enum.
pub(crate) fn attribute_meaning(module: &str, name: &str, attribute: &str) -> Option<Meaning> {
    meaning(module, &format!("{name}.{attribute}")).or_else(|| match meaning(module, name) {
        Some(Meaning::Harmless | Meaning::PlainClass | Meaning::Mapping | Meaning::Sequence | Meaning::Same) => Some(Meaning::Harmless),
        _ => None,
    })
}

/// What a C++ backend makes of a module, named after it; nothing in Python is called that.
fn lowered((module, name): (&str, &str)) -> Option<Meaning> {
    let class = name.ends_with("LoweredModule") && !name.contains('.');
    let lowered = module.starts_with("torch.jit") && (class || module.starts_with("torch.jit.LoweredModule."));
    lowered.then_some(Meaning::Harmless)
}

/// Modules whose functions make tensors and arrays.
const REBUILD_MODULES: &[&str] =
    &["torch._utils", "torch._tensor", "torch.storage", "numpy.core.multiarray", "numpy.core.numeric", "numpy.ma.core"];

#[cfg(test)]
mod tests;
