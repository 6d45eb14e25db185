//! The table of meanings: what a global named `module.name` means to us. One row serves `convert`, which builds with
//! it, and the rules, which judge by it. What has no row is unrecognized: kept inert, walked for tensors, reported.

mod numpy;
mod python;
mod reader;
mod torch;

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::error::Result;

pub(crate) use reader::Call;
pub use reader::{Absence, Reader, TensorId, Value};

/// What a global means.
#[derive(Clone, Copy)]
pub(crate) enum Meaning {
    /// Calling it makes a tensor, an array, or what one is made of; the function says which.
    Rebuild(Rebuild),
    /// The same for what is made in two steps: the state that `BUILD` gives it is part of it.
    RebuildWithState(Rebuild),
    /// Calling it makes a tensor that this version does not lower; the words say what kind.
    Unsupported(&'static str),
    /// Calling it makes a mapping of keys to values: `OrderedDict`, `defaultdict`, `Counter`.
    Mapping,
    /// Calling it makes a sequence of values: `set`, `deque`.
    Sequence,
    /// A value, function or class that has no effect here and holds no tensor data.
    Harmless,
    /// Calling it runs code, touches files or reaches the network; the words say how.
    Dangerous(&'static str),
}

/// Builds the value of a call from its arguments and states.
pub(crate) type Rebuild = fn(&mut Reader<'_>, &Call) -> Result<Value>;

/// A row of a table: module, name, meaning. A name of `*` stands for the whole module.
pub(crate) type Row = (&'static str, &'static str, Meaning);

/// What `module.name` means, whatever the Python or library version that spelled it.
pub(crate) fn meaning(module: &str, name: &str) -> Option<Meaning> {
    static TABLE: OnceLock<HashMap<(&str, &str), Meaning>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let rows = [torch::ROWS, numpy::ROWS, python::ROWS].into_iter().flatten().copied();
        rows.chain(dangerous()).map(|(module, name, meaning)| ((module, name), meaning)).collect()
    });
    let module = canonical_module(module);
    let unknown = || REBUILD_MODULES.contains(&module).then_some(Meaning::Unsupported("what an unknown function of torch or numpy makes"));
    let harmless = || HARMLESS_PACKAGES.iter().any(|package| module.starts_with(package)).then_some(Meaning::Harmless);
    table.get(&(module, name)).or_else(|| table.get(&(module, "*"))).copied().or_else(unknown).or_else(harmless)
}

/// Modules whose functions make tensors and arrays. One that has no row comes from a version that is newer than this
/// program, or from a damaged name; either way a tensor must not be lost as the arguments of an unknown call.
const REBUILD_MODULES: &[&str] =
    &["torch._utils", "torch._tensor", "torch.storage", "numpy.core.multiarray", "numpy.core.numeric", "numpy.ma.core"];

/// Packages whose classes are plain containers of state.
const HARMLESS_PACKAGES: &[&str] = &["torch.nn.modules.", "torch.nn.parallel.", "torch.nn.utils.", "torch.nn.backends.", "torch.optim."];

/// The rows of the data file. They label calls; what makes a file safe to read is that nothing is called.
fn dangerous() -> impl Iterator<Item = Row> {
    let lines = include_str!("dangerous.tsv").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let (module, rest) = line.split_once('\t')?;
        let (name, how) = rest.split_once('\t')?;
        Some((module, name, Meaning::Dangerous(how)))
    })
}

/// The module under its present name.
fn canonical_module(module: &str) -> &str {
    match module {
        "__builtin__" => "builtins",
        "copy_reg" => "copyreg",
        "numpy._core.multiarray" => "numpy.core.multiarray",
        "numpy._core.numeric" => "numpy.core.numeric",
        "numpy.core._internal" => "numpy.core.multiarray",
        "torch.tensor" => "torch._tensor",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_data_file_is_a_row_and_no_row_is_there_twice() {
        let lines = include_str!("dangerous.tsv").lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(dangerous().count(), lines);
        let mut seen = std::collections::HashSet::new();
        let rows = [torch::ROWS, numpy::ROWS, python::ROWS].into_iter().flatten().copied().chain(dangerous());
        for (module, name, _) in rows {
            assert!(seen.insert((module, name)), "{module}.{name} has two rows");
        }
    }

    #[test]
    fn old_names_of_modules_mean_what_the_new_ones_mean() {
        assert!(matches!(meaning("__builtin__", "eval"), Some(Meaning::Dangerous(_))));
        assert!(matches!(meaning("numpy._core.multiarray", "_reconstruct"), Some(Meaning::RebuildWithState(_))));
        assert!(matches!(meaning("os", "anything"), Some(Meaning::Dangerous(_))));
        assert!(meaning("os.path", "join").is_none());
        assert!(meaning("__main__", "Net").is_none());
    }
}
