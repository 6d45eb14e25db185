//! The list of functions that run code, touch files or reach the network, from `dangerous.tsv`.
//!
//! It labels calls and nothing more: what makes a file safe to read is that nothing is called.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::globals::Meaning;

struct Table {
    rows: HashMap<(&'static str, &'static str), Meaning>,
    /// Packages, with their last dot, of which everything is dangerous.
    packages: Vec<(&'static str, Meaning)>,
}

fn lines() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    include_str!("dangerous.tsv").lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (module, rest) = line.split_once('\t')?;
        let (name, how) = rest.split_once('\t')?;
        Some((module, name, how))
    })
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = Table { rows: HashMap::new(), packages: Vec::new() };
        for (module, name, how) in lines() {
            match name.strip_suffix("()") {
                Some(name) => {
                    table.rows.insert((module, name), Meaning::DangerousCall(how));
                }
                None if module.ends_with('.') => table.packages.push((module, Meaning::Dangerous(how))),
                None => {
                    table.rows.insert((module, name), Meaning::Dangerous(how));
                }
            }
        }
        table
    })
}

/// Whether `module.name` is dangerous. A dotted name, or a name that is itself a module, leads through attributes to
/// other modules: `torch` / `os.system` is `os.system`, and whoever gets `torch` / `os` can call it.
pub(super) fn meaning(module: &str, name: &str) -> Option<Meaning> {
    let is_module = || table().rows.get(&(name, "*")).copied();
    let first = || name.split_once('.').and_then(|(first, _)| direct(module, first));
    direct(module, name)
        .or_else(first)
        .or_else(is_module)
        .or_else(|| if name.contains('.') { led_to(&format!("{module}.{name}")) } else { None })
}

/// The first dangerous function that a chain of attributes goes through.
fn led_to(path: &str) -> Option<Meaning> {
    let starts = path.match_indices('.').map(|(dot, _)| &path[dot + 1..]);
    starts
        .flat_map(|chain| chain.match_indices('.').map(move |(dot, _)| (&chain[..dot], &chain[dot + 1..])))
        .find_map(|(module, rest)| direct(module, rest.split('.').next().unwrap_or_default()))
}

fn direct(module: &str, name: &str) -> Option<Meaning> {
    let table = table();
    let row = table.rows.get(&(module, name)).or_else(|| table.rows.get(&(module, "*"))).copied();
    row.or_else(|| table.packages.iter().find(|(package, _)| module.starts_with(package)).map(|(_, meaning)| *meaning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_data_file_is_a_row_and_none_is_there_twice() {
        let text = include_str!("dangerous.tsv");
        assert_eq!(lines().count(), text.lines().filter(|line| !line.starts_with('#')).count());
        let mut seen = std::collections::HashSet::new();
        for (module, name, _) in lines() {
            assert!(seen.insert((module, name)), "{module} {name} is there twice");
        }
    }

    #[test]
    fn attributes_of_harmless_modules_lead_to_dangerous_ones() {
        for (module, name) in [
            ("torch", "os.system"),
            ("torch", "os"),
            ("torch.nn.modules.module", "torch.os.system"),
            ("os", "system.__call__"),
            ("builtins", "eval.__call__"),
            ("idlelib.run", "x"),
        ] {
            assert!(matches!(meaning(module, name), Some(Meaning::Dangerous(_))), "{module} {name}");
        }
        assert!(matches!(meaning("numpy", "memmap"), Some(Meaning::DangerousCall(_))));
        for (module, name) in [("os.path", "join"), ("__main__", "Net"), ("torch", "Size"), ("collections", "OrderedDict.fromkeys")] {
            assert!(meaning(module, name).is_none(), "{module} {name}");
        }
    }
}
