//! What is to be done, file by file: which names are one file, what each is, and what its output is called. All of it follows from the
//! files that are there, so that every run, and every machine that shares the store, decides the same.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use crate::container;
use crate::error::Error;
use crate::filenames::{self, Identity};
use crate::index::ShardIndex;
use crate::limits::Limits;
use crate::store::tree::{Entry, slashed};

/// One file of the store, under all its names.
#[derive(Debug)]
pub(crate) struct Unit {
    /// The first one is its own; to the others links lead.
    pub names: Vec<Entry>,
    /// The files of a set that is converted as one checkpoint.
    pub parts: Vec<Entry>,
    pub what: What,
    /// For each name, its output.
    pub targets: Vec<TargetName>,
}

/// What a file seems to be.
#[derive(Debug)]
pub(crate) enum What {
    /// It starts, or is named, like a checkpoint; or it is the index of a set that is converted as one.
    Checkpoint,
    /// The index of a set whose files are converted by themselves.
    Set(ShardIndex),
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

    /// Bytes of the file, and of the files of its set.
    pub fn bytes(&self) -> u64 {
        self.entry().bytes + self.parts.iter().map(|part| part.bytes).sum::<u64>()
    }

    /// When it, or one of the files of its set, was changed last.
    pub fn modified(&self) -> Option<u64> {
        self.parts.iter().map(|part| part.modified).fold(self.entry().modified, |a, b| Some(a?.max(b?)))
    }

    fn new(names: Vec<Entry>, what: What) -> Unit {
        Unit { names, parts: Vec::new(), what, targets: Vec::new() }
    }
}

/// Endings of files that must be checkpoints, beside those that are nothing else.
const MOSTLY: &[&str] = &["bin", "ckpt"];

/// Whether a file is called so that somebody would miss it.
pub(crate) fn is_named_like_a_checkpoint(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    container::is_named_like_a_checkpoint(name) || ending.is_some_and(|ending| MOSTLY.contains(&&*ending))
}

/// The units of a store, by name. `known` says of a file that was looked at before whether it is a checkpoint. With `split`, outputs are
/// split by size, so that a set is one unit.
pub(crate) fn units(entries: Vec<Entry>, known: &dyn Fn(&Entry) -> Option<bool>, split: bool, limits: &Limits) -> Vec<Unit> {
    let (indexes, files): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(|entry| is_index(&entry.name) && entry.error.is_none());
    let mut files: BTreeMap<String, Entry> = files.into_iter().map(|entry| (entry.name.clone(), entry)).collect();
    let mut units: Vec<Unit> = Vec::new();
    let mut joined: HashMap<Vec<Identity>, usize> = HashMap::new();
    for entry in indexes {
        let index = match ShardIndex::read(&entry.path, limits) {
            Ok(index) => index,
            Err(error) => {
                units.push(Unit::new(vec![entry], What::Unreadable(error)));
                continue;
            }
        };
        if !split {
            units.push(Unit::new(vec![entry], What::Set(index)));
            continue;
        }
        let parts: Vec<Entry> = index.shard_names().iter().filter_map(|shard| files.remove(&sibling(&entry.name, shard))).collect();
        let identity = [&entry].into_iter().chain(&parts).map(|entry| entry.identity.clone()).collect();
        match joined.get(&identity) {
            Some(&unit) if !parts.is_empty() => units[unit].names.push(entry),
            _ => {
                joined.insert(identity, units.len());
                units.push(Unit { parts, ..Unit::new(vec![entry], What::Checkpoint) });
            }
        }
    }
    // The names of the files of a split follow from that of the whole.
    let same_name = |entry: &Entry| if split { file_name(&entry.name).to_owned() } else { String::new() };
    let mut groups: HashMap<(Identity, String), usize> = HashMap::new();
    for entry in files.into_values() {
        let key = (entry.identity.clone(), same_name(&entry));
        match groups.get(&key).filter(|_| entry.error.is_none()) {
            Some(&unit) => units[unit].names.push(entry),
            None => {
                groups.insert(key, units.len());
                units.push(Unit::new(vec![entry], What::Other));
            }
        }
    }
    for unit in &mut units {
        unit.names.sort_by(|a, b| (a.is_link, &a.name).cmp(&(b.is_link, &b.name)));
        if matches!(unit.what, What::Other) {
            unit.what = look_at(unit.entry(), known);
        }
    }
    units.sort_by(|a, b| a.name().cmp(b.name()));
    units
}

/// Where each name of the store is: the number of its unit, and which of its names it is.
pub(crate) fn by_name(units: &[Unit]) -> HashMap<&str, (usize, usize)> {
    let names = |(number, unit): (usize, &'_ Unit)| (0..unit.names.len()).map(move |name| (number, name)).collect::<Vec<_>>();
    let all = units.iter().enumerate().flat_map(names);
    all.map(|(unit, name)| (units[unit].names[name].name.as_str(), (unit, name))).collect()
}

/// For sets and their files, what their part of the store is found by: the same for all of them.
pub(crate) fn keys(units: &[Unit]) -> HashMap<String, String> {
    let by_name = by_name(units);
    let mut keys = HashMap::new();
    for unit in units {
        let What::Set(index) = &unit.what else { continue };
        let files = index.shard_names().iter().filter_map(|file| by_name.get(&*sibling(unit.name(), file)));
        let files: Vec<&str> = files.map(|(file, _)| units[*file].name()).collect();
        let key = files.first().copied().unwrap_or(unit.name()).to_owned();
        keys.extend(files.into_iter().chain([unit.name()]).map(|name| (name.to_owned(), key.clone())));
    }
    keys
}

/// Whether a file is called as the index of a set of checkpoints is; `model.safetensors.index.json` is none of these.
pub(crate) fn is_index(name: &str) -> bool {
    let of = name.strip_suffix(".index.json").unwrap_or_default();
    filenames::is_index(Path::new(name)) && is_named_like_a_checkpoint(of)
}

/// The name of a file beside another one.
pub(crate) fn sibling(name: &str, file: &str) -> String {
    match name.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/{file}"),
        None => file.to_owned(),
    }
}

fn look_at(entry: &Entry, known: &dyn Fn(&Entry) -> Option<bool>) -> What {
    if let Some(error) = &entry.error {
        return What::Unreadable(error.clone());
    }
    let is_one = match known(entry) {
        Some(is_one) => Ok(is_one),
        None if is_named_like_a_checkpoint(&entry.name) => Ok(true),
        None => container::looks_like_a_checkpoint(&entry.path),
    };
    match is_one {
        Ok(true) => What::Checkpoint,
        Ok(false) => What::Other,
        Err(error) => What::Unreadable(error),
    }
}

/// Names the outputs. Where files that are there already, `kept` of them, or other outputs would have the same name, an output is called
/// by the whole name of its input: `model.pt` and `model.pth` become `model.pt.safetensors` and `model.pth.safetensors`. No two have one
/// name.
pub(crate) fn name_targets(units: &mut [Unit], split: bool, kept: &dyn Fn(&Unit) -> bool) {
    let mut wanted: HashMap<String, usize> = HashMap::new();
    // Names that no output may have: files that are there, and folders of the store.
    let mut taken: HashSet<String> = HashSet::new();
    let mut folders: HashSet<String> = HashSet::new();
    for unit in units.iter() {
        for entry in &unit.names {
            folders.extend(Path::new(&entry.name).ancestors().skip(1).map(slashed));
            match unit.what {
                What::Checkpoint => {
                    let simple = simple(&entry.name);
                    *wanted.entry(simple.file).or_default() += 1;
                    *wanted.entry(simple.folder).or_default() += 1;
                }
                What::Set(_) => {}
                _ if kept(unit) => drop(taken.insert(entry.name.clone())),
                _ => {}
            }
        }
    }
    let is_free = |taken: &HashSet<String>, file: &str| {
        let index = slashed(&filenames::index_path(Path::new(file)));
        ![file, &format!("{file}.manifest.json"), &index].iter().any(|name| taken.contains(*name))
    };
    let is_wanted = |name: &str, n: usize| wanted.get(name).copied().unwrap_or(0) > n;
    for unit in units {
        let mut targets = Vec::new();
        for entry in &unit.names {
            let mut target = simple(&entry.name);
            let of = match unit.what {
                What::Checkpoint => entry.name.as_str(),
                What::Set(_) => entry.name.trim_end_matches(".index.json"),
                _ => {
                    targets.push(TargetName { file: entry.name.clone(), folder: entry.name.clone() });
                    continue;
                }
            };
            let is_set = matches!(unit.what, What::Set(_));
            // Of several checkpoints the one that is named after the convention of the hub keeps the name of that convention.
            let is_first = is_set || file_name(&entry.name).starts_with("pytorch_model");
            let part_of_split = split && split_of(&target.file).is_some_and(|whole| is_wanted(&whole, 0));
            if !is_free(&taken, &target.file) || (!is_first && is_wanted(&target.file, 1)) || part_of_split {
                let whole = (1..).map(|n| if n == 1 { format!("{of}.safetensors") } else { format!("{of}.{n}.safetensors") });
                let mut whole = whole.filter(|name| is_free(&taken, name) && !is_wanted(name, 0));
                target.file = whole.next().unwrap_or(target.file);
            }
            if folders.contains(&target.folder) || is_wanted(&target.folder, 1) || taken.contains(&target.folder) {
                let other = (1..).map(|n| if n == 1 { format!("{of}.converted") } else { format!("{of}.converted.{n}") });
                let mut other = other.filter(|name| !folders.contains(name) && !taken.contains(name) && !is_wanted(name, 0));
                target.folder = other.next().unwrap_or(target.folder);
            }
            if is_set {
                target.file = slashed(&filenames::index_path(Path::new(&target.file)));
                target.folder.clone_from(&entry.name);
            } else {
                taken.extend([target.file.clone(), target.folder.clone()]);
            }
            targets.push(target);
        }
        unit.targets = targets;
    }
}

/// What a file that is called like one of a split would be split from: `model-00001-of-00002.safetensors` from `model.safetensors`.
fn split_of(file: &str) -> Option<String> {
    let (rest, count) = file.strip_suffix(".safetensors")?.rsplit_once("-of-")?;
    let (whole, number) = rest.rsplit_once('-')?;
    let is_number = |text: &str| text.len() >= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(count) && is_number(number)).then(|| format!("{whole}.safetensors"))
}

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
        let mut all = units(
            files.iter().map(|(name, _)| entry(name)).collect(),
            &|entry| files.iter().find(|(name, _)| *name == entry.name).map(|(_, is_one)| *is_one),
            false,
            &Limits::default(),
        );
        name_targets(&mut all, false, &|_| copy);
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
    fn a_name_that_was_given_for_want_of_another_is_nobody_elses() {
        assert_eq!(
            files(&[("a.pt", true), ("a.pt.pth", true), ("a.pth", true)], false),
            ["a.pt.2.safetensors", "a.pt.safetensors", "a.pth.safetensors"]
        );
        assert_eq!(files(&[("a.pt", true), ("a.pt.safetensors", false), ("a.pth", true)], true)[0], "a.pt.2.safetensors");
        assert_eq!(files(&[("a.pt", true), ("a.safetensors.manifest.json", false)], true), ["a.pt.safetensors"]);
        assert_eq!(named(&[("m.tar", true), ("m.tar.converted/x.pt", true), ("m/x.pt", true)], false)[0].1, "m.tar.converted.2");
        assert_eq!(split_of("a/m-00001-of-00005.safetensors").as_deref(), Some("a/m.safetensors"));
        assert_eq!(split_of("a/m-1-of-2.safetensors"), None);
    }

    #[test]
    fn a_bundle_does_not_go_into_a_folder_of_the_store() {
        assert_eq!(named(&[("a/m.tar", true), ("a/m/x.pt", true)], false)[0].1, "a/m.tar.converted");
        assert_eq!(named(&[("a/m.tar", true), ("a/n/x.pt", true)], false)[0].1, "a/m");
    }
}
