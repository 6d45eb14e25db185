//! The table of meanings: what a global named `module.name` means to us. One row serves `convert`, which builds with
//! it, and the rules, which judge by it. What has no row is unrecognized: kept inert, walked for tensors, reported.

mod array;
mod dangerous;
mod numpy;
pub(crate) mod paddle;
mod python;
mod reader;
mod torch;
mod value;

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::error::Result;

pub use reader::{Attributes, Reader};
pub(crate) use value::Call;
pub use value::{Absence, Lowering, PartContent, TensorId, Value};

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
    /// It is in a module whose functions make tensors and arrays, and has no row: it comes from a version that is newer than
    /// this program, or from a damaged name. A tensor must not be lost as the arguments of an unknown call.
    UnknownRebuild,
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

/// What `module.name` means, whatever the Python or library version that spelled it.
pub(crate) fn meaning(module: &str, name: &str) -> Option<Meaning> {
    static TABLE: OnceLock<HashMap<(&str, &str), Meaning>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let rows = [torch::ROWS, numpy::ROWS, python::ROWS].into_iter().flatten();
        rows.map(|&(module, name, meaning)| ((module, name), meaning)).collect()
    });
    let module = canonical_module(module);
    // What a C++ backend makes of a module, named after it; nothing in Python is called that.
    if module.starts_with("torch.jit") && (name.ends_with("LoweredModule") || module.starts_with("torch.jit.LoweredModule.")) {
        return Some(Meaning::Harmless);
    }
    let by_module = || {
        let class = name.starts_with(|c: char| c.is_ascii_uppercase()) && !name.contains('.');
        match module {
            _ if REBUILD_MODULES.contains(&module) => Some(Meaning::UnknownRebuild),
            _ if class && HARMLESS_PACKAGES.iter().any(|package| module.starts_with(package)) => Some(Meaning::Harmless),
            _ => None,
        }
    };
    table.get(&(module, name)).copied().or_else(|| dangerous::meaning(module, name)).or_else(by_module)
}

/// Modules whose functions make tensors and arrays.
const REBUILD_MODULES: &[&str] =
    &["torch._utils", "torch._tensor", "torch.storage", "numpy.core.multiarray", "numpy.core.numeric", "numpy.ma.core"];

/// Packages whose classes are plain containers of state.
const HARMLESS_PACKAGES: &[&str] = &["torch.nn.modules.", "torch.nn.parallel.", "torch.nn.utils.", "torch.optim.", TORCHSCRIPT];

/// Classes that are defined by code in the archive itself, and read by C++.
const TORCHSCRIPT: &str = "__torch__";

/// The module under its present name.
fn canonical_module(module: &str) -> &str {
    // scikit-learn had a copy of joblib of its own.
    let module = module.strip_prefix("sklearn.externals.").filter(|module| module.starts_with("joblib.")).unwrap_or(module);
    match module {
        "__builtin__" => "builtins",
        "copy_reg" => "copyreg",
        "numpy._core.multiarray" => "numpy.core.multiarray",
        "numpy._core.numeric" => "numpy.core.numeric",
        "torch.tensor" => "torch._tensor",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_row_is_there_twice() {
        let mut seen = std::collections::HashSet::new();
        for (module, name, _) in [torch::ROWS, numpy::ROWS, python::ROWS].into_iter().flatten() {
            assert!(seen.insert((module, name)), "{module}.{name} has two rows");
        }
    }

    #[test]
    fn old_names_of_modules_mean_what_the_new_ones_mean() {
        assert!(matches!(meaning("__builtin__", "eval"), Some(Meaning::Dangerous(_))));
        assert!(matches!(meaning("numpy._core.multiarray", "_reconstruct"), Some(Meaning::RebuildWithState(_))));
        assert!(matches!(meaning("torch._utils", "_rebuild_anything"), Some(Meaning::UnknownRebuild)));
        assert!(matches!(meaning("numpy.ma.core", "loads"), Some(Meaning::Dangerous(_))));
        assert!(meaning("torch.nn.modules.module", "register_module_forward_hook").is_none());
    }
}
