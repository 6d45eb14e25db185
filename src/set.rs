//! Sets of files that belong together, once each of them is converted: whether they hold what their index lists, and the index
//! of the outputs.
//!
//! The names come from the headers of the outputs, never from the old index. A tensor that the index does not list is listed in
//! the new one; a name that was dropped because another one is the same tensor is in no file, and so not listed, as the Hugging
//! Face libraries do it: the header and the manifest of its file have it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::convert::Prepared;
use crate::error::{self, Error, Result};
use crate::filenames::{folder_of, manifest_path, resolved};
use crate::index::{Comparison, ShardIndex, listed};
use crate::ledger::Ledger;
use crate::output;
use crate::source::Source;
use crate::text::quoted;
use crate::verify::{Listing, listing};

/// An index that was written.
#[derive(Debug)]
#[non_exhaustive]
pub struct Published {
    /// The index.
    pub path: PathBuf,
    /// The files that it lists.
    pub files: Vec<PathBuf>,
    /// The number of tensors in them.
    pub tensors: u64,
    /// In what the index of the source is wrong, in words: what is in the files counts.
    pub notes: Vec<String>,
}

/// Checks that the outputs of the shards of a set hold what its index lists, and writes the index of the outputs to `target`:
/// the last step of converting a set. `outputs` has each shard, by its name in the index, with the output that it became; their
/// manifests stand beside them. An index that is there already is only an error when it says something else, and then not with
/// `replace`.
///
/// # Errors
/// `set-incomplete` for a shard without an output, or a tensor that is in none; `name-collision` for one that is in two;
/// `mismatch` for an output that is no safetensors file; `output-exists`, `io` and `usage`.
pub fn publish(index: &ShardIndex, outputs: &[(String, PathBuf)], target: &Path, replace: bool) -> Result<Published> {
    let files: Vec<File> = each_shard(index, outputs, target)?.into_iter().map(File::read).collect::<Result<_>>()?;
    let mut compared = Comparison::default();
    for file in &files {
        for name in &file.listing.names {
            compared.see(name, file.shard)?;
        }
    }
    let known: HashSet<&str> = files.iter().flat_map(File::known).collect();
    // What was renamed is known by its path.
    let notes = compared.finish(index, |name| known.contains(name) || known.contains(path_of(name).as_str()))?;
    let mut weight_map: Vec<(&str, &str)> =
        files.iter().flat_map(|file| file.listing.names.iter().map(|name| (name.as_str(), file.name.as_str()))).collect();
    weight_map.sort_unstable();
    output::publish_alone(target, replace, |out| index.write_rewritten(&weight_map, out))?;
    Ok(Published {
        path: target.to_owned(),
        files: files.iter().map(|file| file.output.to_owned()).collect(),
        tensors: weight_map.len() as u64,
        notes,
    })
}

/// The same check before anything is written: `prepared` has what would be written of each shard, by its name. Gives the number
/// of tensors, and in what the index is wrong.
///
/// # Errors
/// `set-incomplete` and `name-collision`; `output-exists` for an index that is there, unless `replace`.
pub fn check_prepared(index: &ShardIndex, prepared: &[(String, Names)], target: &Path, replace: bool) -> Result<(u64, Vec<String>)> {
    if !replace && target.symlink_metadata().is_ok() {
        return Err(error::output_exists(target));
    }
    let mut compared = Comparison::default();
    for (shard, names) in prepared {
        for name in &names.written {
            compared.see(name, shard)?;
        }
    }
    let known: HashSet<&str> = prepared.iter().flat_map(|(_, names)| names.known.iter().map(String::as_str)).collect();
    let notes = compared.finish(index, |name| known.contains(name) || known.contains(path_of(name).as_str()))?;
    Ok((prepared.iter().map(|(_, names)| names.written.len() as u64).sum(), notes))
}

/// The names of a shard that is read and not yet written.
#[derive(Debug, Clone, Default)]
pub struct Names {
    written: Vec<String>,
    /// What has no tensor of its own in the output: tied names, what is written as parts or under another name, left out or no
    /// tensor.
    known: Vec<String>,
}

impl Names {
    /// Those of a prepared shard.
    pub fn of(prepared: &Prepared) -> Names {
        let Ledger { tensors, aliases, lowered, left_out, other_values, .. } = &prepared.ledger;
        let mut names = Names::default();
        for tensor in tensors.iter() {
            names.known.extend((tensor.from.path != path_of(&tensor.name)).then_some(tensor.from.path));
            names.written.push(tensor.name);
        }
        names.known.extend(aliases.iter().map(|(dropped, _)| dropped.to_owned()));
        names.known.extend(lowered.keys().cloned());
        names.known.extend(left_out.iter().map(|left| left.name.clone()));
        names.known.extend(other_values.iter().map(|other| other.name.clone()));
        names
    }
}

/// The path of a tensor that stands in a state dict under its name, as records show it.
fn path_of(name: &str) -> String {
    format!("[{}]", quoted(name, 200))
}

/// A shard and its output, for every shard of the index and nothing else.
fn each_shard<'a>(index: &'a ShardIndex, outputs: &'a [(String, PathBuf)], target: &Path) -> Result<Vec<(&'a str, &'a Path)>> {
    let folder = |path: &Path| resolved(folder_of(path)).unwrap_or_else(|| folder_of(path).to_owned());
    for (shard, output) in outputs {
        if index.shard_names().binary_search(shard).is_err() {
            return Err(Error::usage(format!("{} is no file of the set", quoted(shard, 200))));
        }
        if folder(output) != folder(target) {
            return Err(Error::usage(format!("{} is not in the folder of its index", quoted(&output.to_string_lossy(), 300))));
        }
    }
    let by_name: HashMap<&str, &Path> = outputs.iter().map(|(shard, output)| (shard.as_str(), output.as_path())).collect();
    let output_of = |shard: &String| by_name.get(shard.as_str()).copied();
    let missing: Vec<&str> = index.shard_names().iter().filter(|shard| output_of(shard).is_none()).map(String::as_str).collect();
    if !missing.is_empty() {
        return Err(error::incomplete(format!("files of the set are not converted: {}", listed(missing.into_iter()))));
    }
    Ok(index.shard_names().iter().filter_map(|shard| Some((shard.as_str(), output_of(shard)?))).collect())
}

/// An output, and what it lists.
struct File<'a> {
    shard: &'a str,
    output: &'a Path,
    name: String,
    listing: Listing,
    record: Record,
}

/// What a manifest says of names that have no tensor in the output.
#[derive(Deserialize)]
struct Record {
    tensors: Vec<TensorOf>,
    lowered: BTreeMap<String, IgnoredAny>,
    left_out: Vec<Named>,
    other_values: Vec<Named>,
    aliases: BTreeMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct TensorOf {
    from: Origin,
}

#[derive(Deserialize)]
struct Origin {
    path: String,
}

impl<'a> File<'a> {
    fn read((shard, output): (&'a str, &'a Path)) -> Result<File<'a>> {
        let name = output.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = manifest_path(output);
        let text = Source::open(&path)?.map()?;
        let bad = |e| error::mismatch(format!("{} is no manifest of a converted file: {e}", quoted(&path.to_string_lossy(), 300)));
        let record = serde_json::from_slice(&text).map_err(bad)?;
        Ok(File { shard, output, name, listing: listing(output)?, record })
    }

    /// Names and paths that are accounted for in the manifest.
    fn known(&self) -> impl Iterator<Item = &str> {
        let Record { tensors, lowered, left_out, other_values, aliases } = &self.record;
        let named = left_out.iter().chain(other_values).map(|named| named.name.as_str());
        let tied = lowered.keys().chain(aliases.keys()).chain(&self.listing.metadata).map(String::as_str);
        tensors.iter().map(|tensor| tensor.from.path.as_str()).chain(named).chain(tied)
    }
}

/// What a check of an index covered.
#[derive(Debug)]
#[non_exhaustive]
pub struct Checked {
    /// The files that the index lists, sorted.
    pub files: Vec<PathBuf>,
    /// The number of tensors in them.
    pub tensors: u64,
}

/// Compares an index with the safetensors files that it lists: each tensor must be listed, in exactly the file that has it.
///
/// # Errors
/// `mismatch`, and `set-incomplete` when a file is missing.
pub fn check(index: &ShardIndex) -> Result<Checked> {
    index.check_shards()?;
    let files = index.shards();
    let listings = files.iter().map(|file| listing(file)).collect::<Result<Vec<_>>>()?;
    let mut compared = Comparison::default();
    for (listing, file) in listings.iter().zip(index.shard_names()) {
        for name in &listing.names {
            compared.see(name, file).map_err(|e| error::mismatch(e.message()))?;
        }
    }
    let differs = |what: &str| error::mismatch(what).help("restore the index and its files, or convert the source again");
    match compared.finish(index, |_| false).map_err(|e| differs(e.message()))?.first() {
        Some(first) => Err(differs(first)),
        None => Ok(Checked { tensors: listings.iter().map(|listing| listing.names.len() as u64).sum(), files }),
    }
}
