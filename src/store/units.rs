//! What is to be done, file by file: which names are one file, what each is, and what its output is called. All of it follows from the
//! files that are there, so that every run, and every machine that shares the store, decides the same.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::container;
use crate::error::Error;
use crate::filenames::{self, Identity};
use crate::store::tree::{Entry, slashed};

/// One file of the store, under all its names.
#[derive(Debug)]
pub(crate) struct Unit {
    /// The first one is its own; to the others links lead.
    pub names: Vec<Entry>,
    pub what: What,
    /// For each name, its output.
    pub targets: Vec<TargetName>,
}

/// What a file seems to be.
#[derive(Debug)]
pub(crate) enum What {
    /// It starts, or is named, like a checkpoint.
    Checkpoint,
    /// It does not.
    Other,
    /// It cannot be read.
    Unreadable(Error),
}

/// The names of outputs in the folder of outputs, with slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetName {
    /// Of a checkpoint, or a file that is brought along.
    pub file: String,
    /// Of the folder for the checkpoints of a bundle.
    pub folder: String,
}

impl Unit {
    /// The name in reports.
    pub fn name(&self) -> &str {
        &self.names[0].name
    }

    /// The file to read.
    pub fn entry(&self) -> &Entry {
        &self.names[0]
    }
}

/// Endings of files that must be checkpoints, beside those that are nothing else.
const MOSTLY: &[&str] = &["bin", "ckpt"];

/// Whether a file is called so that somebody would miss it.
pub(crate) fn is_named_like_a_checkpoint(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    container::is_named_like_a_checkpoint(name) || ending.is_some_and(|ending| MOSTLY.contains(&&*ending))
}

/// The units of a store, by name. `known` says of a file that was looked at before whether it is a checkpoint.
pub(crate) fn units(entries: Vec<Entry>, known: &dyn Fn(&Entry) -> Option<bool>) -> Vec<Unit> {
    let mut by_identity: HashMap<Identity, usize> = HashMap::new();
    let mut groups: Vec<Vec<Entry>> = Vec::new();
    for entry in entries {
        match by_identity.get(&entry.identity).filter(|_| entry.error.is_none()) {
            Some(&group) => groups[group].push(entry),
            None => {
                by_identity.insert(entry.identity.clone(), groups.len());
                groups.push(vec![entry]);
            }
        }
    }
    let mut units: Vec<Unit> = groups
        .into_iter()
        .map(|mut names| {
            names.sort_by(|a, b| (a.is_link, &a.name).cmp(&(b.is_link, &b.name)));
            let what = look_at(&names[0], known);
            Unit { names, what, targets: Vec::new() }
        })
        .collect();
    units.sort_by(|a, b| a.name().cmp(b.name()));
    units
}

fn look_at(entry: &Entry, known: &dyn Fn(&Entry) -> Option<bool>) -> What {
    if let Some(error) = &entry.error {
        return What::Unreadable(error.clone());
    }
    let is_one = match known(entry) {
        Some(is_one) => Ok(is_one),
        None if is_named_like_a_checkpoint(&entry.name) => Ok(true),
        None => container::starts_like_a_checkpoint(&entry.path),
    };
    match is_one {
        Ok(true) => What::Checkpoint,
        Ok(false) => What::Other,
        Err(error) => What::Unreadable(error),
    }
}

/// Names the outputs. Where files that are there already, `kept` of them, or other outputs would have the same name, an output is called
/// by the whole name of its input: `model.pt` and `model.pth` become `model.pt.safetensors` and `model.pth.safetensors`.
pub(crate) fn name_targets(units: &mut [Unit], kept: &dyn Fn(&Unit) -> bool) {
    let mut taken: HashMap<String, usize> = HashMap::new();
    let mut folders: HashSet<String> = HashSet::new();
    for unit in units.iter() {
        for entry in &unit.names {
            folders.extend(Path::new(&entry.name).ancestors().skip(1).map(slashed));
            match unit.what {
                What::Checkpoint => {
                    let simple = simple(&entry.name);
                    *taken.entry(simple.file).or_default() += 1;
                    *taken.entry(simple.folder).or_default() += 1;
                }
                _ if kept(unit) => *taken.entry(entry.name.clone()).or_default() += MANY,
                _ => {}
            }
        }
    }
    for unit in units {
        let target = |entry: &Entry| {
            if !matches!(unit.what, What::Checkpoint) {
                return TargetName { file: entry.name.clone(), folder: entry.name.clone() };
            }
            let mut target = simple(&entry.name);
            let n = taken.get(&target.file).copied().unwrap_or(0);
            // Of several checkpoints the one that is named after the convention of the hub keeps the name of that convention.
            if n >= MANY || (n > 1 && !file_name(&entry.name).starts_with("pytorch_model")) {
                target.file = format!("{}.safetensors", entry.name);
            }
            if folders.contains(&target.folder) || taken.get(&target.folder).copied().unwrap_or(0) > 1 {
                target.folder = format!("{}.converted", entry.name);
            }
            target
        };
        unit.targets = unit.names.iter().map(target).collect();
    }
}

/// Counts for a name that no output may have.
const MANY: usize = 1 << 20;

fn simple(name: &str) -> TargetName {
    let name = Path::new(name);
    TargetName { file: slashed(&filenames::default_output(name)), folder: slashed(&filenames::bundle_output(name, None)) }
}

fn file_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(files: &[(&str, bool)], copy: bool) -> Vec<(String, String)> {
        let entry = |name: &str| Entry {
            path: name.into(),
            name: name.into(),
            bytes: 1,
            modified: None,
            identity: Identity::of(Path::new(name)),
            is_link: false,
            error: None,
        };
        let mut all = units(files.iter().map(|(name, _)| entry(name)).collect(), &|entry| {
            files.iter().find(|(name, _)| *name == entry.name).map(|(_, is_one)| *is_one)
        });
        name_targets(&mut all, &|_| copy);
        all.into_iter()
            .filter(|unit| matches!(unit.what, What::Checkpoint))
            .map(|unit| (unit.targets[0].file.clone(), unit.targets[0].folder.clone()))
            .collect()
    }

    fn files(files: &[(&str, bool)], copy: bool) -> Vec<String> {
        named(files, copy).into_iter().map(|(file, _)| file).collect()
    }

    #[test]
    fn outputs_have_names_of_their_own() {
        assert_eq!(files(&[("a/pytorch_model.bin", true), ("b/model.pt", true)], false), ["a/model.safetensors", "b/model.safetensors"]);
        assert_eq!(
            files(&[("a/model.pt", true), ("a/model.pth", true), ("a/pytorch_model.bin", true)], false),
            ["a/model.pt.safetensors", "a/model.pth.safetensors", "a/model.safetensors"]
        );
        let beside = [("a/model.safetensors", false), ("a/pytorch_model.bin", true)];
        assert_eq!(files(&beside, false), ["a/model.safetensors"]);
        assert_eq!(files(&beside, true), ["a/pytorch_model.bin.safetensors"]);
    }

    #[test]
    fn a_bundle_does_not_go_into_a_folder_of_the_store() {
        assert_eq!(named(&[("a/m.tar", true), ("a/m/x.pt", true)], false)[0].1, "a/m.tar.converted");
        assert_eq!(named(&[("a/m.tar", true), ("a/n/x.pt", true)], false)[0].1, "a/m");
    }
}
