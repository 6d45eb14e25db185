//! The index of a set: which of its files holds which tensor, as the Hugging Face libraries write it beside the shards of a
//! checkpoint: `{"metadata": {"total_size": N}, "weight_map": {NAME: FILE}}`.
//!
//! It is text from anyone. A file that it names is one beside it, never elsewhere; a key that is there twice is an error, since
//! two readers could see two different sets. What it says of the shards is compared with what is in them, and never believed.

mod comparison;
mod parse;

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeSeed;

use crate::error::{self, Result};
use crate::filenames::folder_of;
use crate::limits::Limits;
use crate::source::Source;
use crate::text::{count, quoted};

pub use crate::filenames::{index_path, is_index};
pub(crate) use comparison::Comparison;
use parse::{Document, Field, Parsed, said_twice};

const METADATA: &str = "metadata";
const WEIGHT_MAP: &str = "weight_map";
/// What the metadata calls the bytes of all tensors.
const TOTAL_SIZE: &str = "total_size";
/// No file system of today has longer names.
const MAX_FILE_NAME: usize = 255;
/// Names that an error lists; there may be thousands.
const MAX_LISTED: usize = 10;

/// Whether a file is called as the Hugging Face libraries call the index of a set: `pytorch_model.bin.index.json`.
pub fn is_named_like_one(name: &str) -> bool {
    is_index(Path::new(name))
}

/// The index of a set.
#[derive(Debug)]
pub struct ShardIndex {
    source: Arc<Source>,
    /// Sorted, each once.
    shards: Vec<String>,
    /// Names of tensors and the numbers of their shards, in the order of the file.
    weight_map: Vec<(String, u32)>,
    /// What is in it besides, in its order and as it is written there; `None` where the map is.
    fields: Vec<(String, Option<Field>)>,
}

impl ShardIndex {
    /// Reads an index. Its shards need not be there yet.
    ///
    /// # Errors
    /// `index-malformed`, also for a shard that is not a plain name of a file beside it; the limits on its size and on tensors.
    pub fn read(path: &Path, limits: &Limits) -> Result<ShardIndex> {
        let source = Source::open(path)?;
        limits.index_bytes(source.len())?;
        let text = source.map()?;
        let mut json = serde_json::Deserializer::from_slice(&text);
        let mut read = Parsed::default();
        let parsed = Document(&mut read, limits).deserialize(&mut json).and_then(|()| json.end());
        // A limit has a better error than one of JSON.
        limits.tensors(read.weight_map.len() as u64)?;
        parsed.map_err(|e| error::index(path, &e.to_string()))?;
        let Parsed { mut shards, mut weight_map, fields, .. } = read;
        let mut names: Vec<&str> = weight_map.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(error::index(path, &said_twice(pair[0])));
        }
        if weight_map.is_empty() {
            return Err(error::index(path, "its weight_map lists no tensor"));
        }
        for name in &shards {
            if let Some(why) = unusable(name) {
                return Err(error::index(path, &format!("it names the shard {}, {why}", quoted(name, 200))));
            }
        }
        limits.checkpoints(shards.len() as u64)?;
        let mut order: Vec<u32> = (0..shards.len() as u32).collect();
        order.sort_by(|a, b| shards[*a as usize].cmp(&shards[*b as usize]));
        let mut number = vec![0; shards.len()];
        order.iter().zip(0..).for_each(|(&old, new)| number[old as usize] = new);
        weight_map.iter_mut().for_each(|(_, shard)| *shard = number[*shard as usize]);
        shards.sort();
        Ok(ShardIndex { source, shards, weight_map, fields })
    }

    /// The index itself.
    pub fn path(&self) -> &Path {
        self.source.path()
    }

    pub(crate) fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// The files of the set, sorted, each once.
    pub fn shards(&self) -> Vec<PathBuf> {
        self.shards.iter().map(|shard| folder_of(self.path()).join(shard)).collect()
    }

    /// Their names.
    pub fn shard_names(&self) -> &[String] {
        &self.shards
    }

    /// Every tensor that it lists, with the name of the file that it says holds it.
    pub fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.weight_map.iter().map(|(name, shard)| (name.as_str(), self.shards[*shard as usize].as_str()))
    }

    /// Checks that every shard is there.
    ///
    /// # Errors
    /// `set-incomplete`, which lists those that are not.
    pub fn check_shards(&self) -> Result<()> {
        let missing: Vec<&str> =
            self.shards.iter().zip(self.shards()).filter(|(_, path)| !path.is_file()).map(|(name, _)| name.as_str()).collect();
        match missing.len() {
            0 => Ok(()),
            n => {
                let shards = count(self.shards.len() as u64, "file");
                let verb = if n == 1 { "is" } else { "are" };
                Err(error::incomplete(format!("of the {shards} of the set, {n} {verb} missing: {}", listed(missing.into_iter()))))
            }
        }
    }

    /// Writes the index again for other files: `files` says which file holds which tensor. Everything else stays as it is.
    ///
    /// # Errors
    /// Those of `out`.
    pub(crate) fn write_rewritten(&self, files: &[(&str, &str)], mut out: impl Write) -> io::Result<()> {
        out.write_all(b"{")?;
        for (i, (key, field)) in self.fields.iter().enumerate() {
            write!(out, "{}\n  {}: ", if i > 0 { "," } else { "" }, python_text(key))?;
            match field {
                Some(Field::Metadata(entries)) => {
                    object(&mut out, entries.iter().map(|(key, value)| (key.as_str(), value.get())))?;
                }
                Some(Field::Other(value)) => out.write_all(value.get().as_bytes())?,
                None => object(&mut out, files.iter().map(|(name, file)| (*name, python_text(file))))?,
            }
        }
        out.write_all(b"\n}\n")
    }

    /// The keys of the metadata and their values as JSON, but for the size.
    pub(crate) fn other_metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        let metadata = self.fields.iter().find_map(|(_, field)| match field {
            Some(Field::Metadata(entries)) => Some(entries.as_slice()),
            _ => None,
        });
        let entries = metadata.unwrap_or_default().iter();
        entries.filter(|(key, _)| key != TOTAL_SIZE).map(|(key, value)| (key.as_str(), value.get()))
    }
}

/// Writes the index of files that one checkpoint was split into, in the form of `huggingface_hub.save_torch_state_dict`.
///
/// `metadata` are values as JSON, `tied` the tied names, dropped and kept; `files` says in its order which file holds which tensor.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write<'a>(
    mut out: impl Write,
    total_bytes: u64,
    metadata: &[(&str, &str)],
    tied: impl Iterator<Item = (&'a str, &'a str)>,
    files: impl Iterator<Item = (&'a str, &'a str)>,
) -> io::Result<()> {
    let taken: HashSet<&str> = metadata.iter().map(|(key, _)| *key).chain([TOTAL_SIZE]).collect();
    let size = [(TOTAL_SIZE, total_bytes.to_string())].into_iter();
    let others = metadata.iter().map(|(key, value)| (*key, (*value).to_owned()));
    let tied = tied.filter(|(dropped, _)| !taken.contains(dropped)).map(|(dropped, kept)| (dropped, python_text(kept)));
    write!(out, "{{\n  \"{METADATA}\": ")?;
    object(&mut out, size.chain(others).chain(tied))?;
    write!(out, ",\n  \"{WEIGHT_MAP}\": ")?;
    object(&mut out, files.map(|(name, file)| (name, python_text(file))))?;
    out.write_all(b"\n}")
}

/// An object inside of the outermost one, as `json.dumps(..., indent=2)` writes it.
fn object<'a>(out: &mut impl Write, entries: impl Iterator<Item = (&'a str, impl AsRef<str>)>) -> io::Result<()> {
    let mut before = "{";
    for (key, value) in entries {
        write!(out, "{before}\n    {}: {}", python_text(key), value.as_ref())?;
        before = ",";
    }
    out.write_all(if before == "{" { b"{}" } else { b"\n  }" })
}

/// A text as Python's `json` writes it: ASCII, with everything else by its number.
fn python_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            _ => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    out.push('"');
    out
}

/// Why a shard cannot be called so.
fn unusable(name: &str) -> Option<&'static str> {
    let leads_elsewhere = name.contains(['/', '\\', '\0']) || matches!(name, "" | "." | "..") || name.as_bytes().get(1) == Some(&b':');
    if leads_elsewhere {
        Some("which is not the name of a file beside the index")
    } else if name.len() > MAX_FILE_NAME {
        Some("which is longer than the name of a file can be")
    } else if is_named_like_one(name) {
        Some("which is called as an index itself")
    } else {
        None
    }
}

/// The first of some names, and how many more there are.
pub(crate) fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(MAX_LISTED);
    let mut shown: Vec<String> = names.take(MAX_LISTED).map(|name| quoted(name, 100)).collect();
    if more > 0 {
        shown.push(format!("and {} more", crate::text::thousands(more as u64)));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ShardIndex> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.bin.index.json");
        std::fs::write(&path, text).unwrap();
        ShardIndex::read(&path, &Limits::default())
    }

    #[test]
    fn text_is_written_as_python_writes_it() {
        for (text, written) in [
            ("plain ~", r#""plain ~""#),
            ("\"\\/", r#""\"\\/""#),
            ("\n\r\t\u{8}\u{c}\u{0}\u{1f}\u{7f}", r#""\n\r\t\b\f\u0000\u001f\u007f""#),
            ("\u{fc}\u{2028}\u{1f600}", r#""\u00fc\u2028\ud83d\ude00""#),
        ] {
            assert_eq!(python_text(text), written);
        }
    }

    #[test]
    fn shards_are_sorted_and_names_keep_their_order() {
        let index = read(r#"{"weight_map": {"z": "b", "a": "c", "m": "a", "n": "b"}}"#).unwrap();
        assert_eq!(index.shard_names(), ["a", "b", "c"]);
        assert_eq!(index.names().collect::<Vec<_>>(), [("z", "b"), ("a", "c"), ("m", "a"), ("n", "b")]);
    }

    #[test]
    fn what_is_beside_the_map_stays_as_it_is_and_where_it_is() {
        let text = "{\n  \"before\": [1,  2.50],\n  \"metadata\": {\n    \"total_size\": 100000000000000000000000,\n    \"\\u00fc\": null\n  },\n  \
                    \"weight_map\": {\n    \"x\": \"a\"\n  },\n  \"behind\": {}\n}\n";
        let index = read(text).unwrap();
        let mut written = Vec::new();
        index.write_rewritten(&[("x", "a")], &mut written).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), text);
    }

    #[test]
    fn a_new_index_has_its_size_first_and_tied_names_that_hide_nothing_last() {
        let mut written = Vec::new();
        let tied = [("total_size", "x"), ("kept", "x"), ("y", "x")].into_iter();
        write(&mut written, 7, &[("kept", "1")], tied, [("x", "f")].into_iter()).unwrap();
        let expected = "{\n  \"metadata\": {\n    \"total_size\": 7,\n    \"kept\": 1,\n    \"y\": \"x\"\n  },\n  \"weight_map\": {\n    \"x\": \"f\"\n  }\n}";
        assert_eq!(String::from_utf8(written).unwrap(), expected);
    }

    #[test]
    fn no_change_of_a_byte_makes_a_reader_of_it_panic() {
        let good = r#"{"metadata": {"total_size": 12, "o": [1.5, null]}, "weight_map": {"a\u00fc": "s-1.bin", "b": "s-2.bin"}}"#;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.bin.index.json");
        for at in 0..good.len() {
            for byte in [b'"', b'{', b'}', b',', b'\\', b'0', b'/', 0, 0xff] {
                let mut bad = good.as_bytes().to_vec();
                bad[at] = byte;
                std::fs::write(&path, &bad).unwrap();
                if let Ok(index) = ShardIndex::read(&path, &Limits::default()) {
                    assert!(index.shards().iter().all(|shard| shard.parent() == Some(folder.path())), "{index:?}");
                }
                std::fs::write(&path, &bad[..at]).unwrap();
                assert!(ShardIndex::read(&path, &Limits::default()).is_err());
            }
        }
    }

    #[test]
    fn long_lists_of_names_are_cut() {
        let names: Vec<String> = (0..12).map(|i| i.to_string()).collect();
        assert!(listed(names.iter().map(String::as_str)).ends_with("\"9\", and 2 more"));
    }
}
