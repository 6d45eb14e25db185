//! Reads the lists of globals, `dangerous.tsv` and `inert.tsv`: on each line modules, names, and a text.

use foldhash::HashMap;

/// What a line says of a name.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub text: &'static str,
    /// Only of a call: the name ended with `()`.
    pub call: bool,
}

/// One list.
#[derive(Default)]
pub(super) struct List {
    names: HashMap<(&'static str, &'static str), Entry>,
    /// Modules that have a row with `*`.
    modules: HashMap<&'static str, Entry>,
    /// The same for all that is below, too.
    packages: HashMap<&'static str, Entry>,
}

/// No name in a list is as long.
const MAX_LEN: usize = 200;

impl List {
    pub(super) fn read(text: &'static str) -> List {
        let mut list = List::default();
        for (module, name, text) in rows(text) {
            let call = name.ends_with("()");
            let entry = Entry { text, call };
            match (name, module.strip_suffix('.')) {
                ("*", Some(package)) => list.packages.insert(package, entry),
                ("*", None) => list.modules.insert(module, entry),
                _ => list.names.insert((module, name.trim_end_matches("()")), entry),
            };
        }
        list
    }

    /// What the list says of exactly this name.
    pub(super) fn named(&self, module: &str, name: &str) -> Option<Entry> {
        if module.len() + name.len() > MAX_LEN {
            return None;
        }
        self.names.get(&(module, name)).copied()
    }

    /// What it says of everything in a module.
    pub(super) fn whole(&self, module: &str) -> Option<Entry> {
        let module = module.get(..MAX_LEN).unwrap_or(module);
        let above = module.rmatch_indices('.').map(|(dot, _)| &module[..dot]);
        let packages = || std::iter::once(module).chain(above).find_map(|package| self.packages.get(package)).copied();
        self.modules.get(module).copied().or_else(packages)
    }

    /// The modules it has rows for, without the dot at the end.
    pub(super) fn modules(&self) -> impl Iterator<Item = &'static str> {
        let named = self.names.keys().map(|(module, _)| *module);
        named.chain(self.modules.keys().copied()).chain(self.packages.keys().copied())
    }
}

/// The rows of a list: module, name, text.
pub(super) fn rows(text: &'static str) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let lines = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (modules, rest) = line.split_once('\t')?;
        let (names, text) = rest.split_once('\t')?;
        Some((modules, names, text))
    });
    lines.flat_map(|(modules, names, text)| {
        modules.split(' ').flat_map(move |module| names.split(' ').map(move |name| (module, name, text)))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_line_of_the_lists_is_well_formed_and_nothing_is_there_twice() {
        let mut exact = HashSet::new();
        for text in [include_str!("dangerous.tsv"), include_str!("inert.tsv"), include_str!("renamed.tsv")] {
            for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
                let fields: Vec<_> = line.split('\t').collect();
                assert!(fields.len() == 3 && fields.iter().all(|field| !field.is_empty()), "three fields: {line:?}");
                let words = fields[..2].iter().flat_map(|field| field.split(' '));
                assert!(words.clone().all(|word| !word.is_empty()) && !fields[2].contains("  "), "one space: {line:?}");
                assert!(words.clone().all(|word| word.len() < MAX_LEN / 2), "short: {line:?}");
            }
        }
        for text in [include_str!("dangerous.tsv"), include_str!("inert.tsv")] {
            let mut whole = HashSet::new();
            for (module, name, _) in rows(text) {
                assert!(name == "*" || !module.ends_with('.'), "a package has a row with *: {module} {name}");
                let set = if name == "*" { &mut whole } else { &mut exact };
                let name = name.trim_end_matches("()");
                assert!(set.insert((module, name)), "{module} {name} is there twice, or is dangerous and inert");
            }
            for &(module, _) in &whole {
                assert!(module.ends_with('.') || !whole.contains(&(&*format!("{module}."), "*")), "{module} is there twice");
            }
        }
    }
}
