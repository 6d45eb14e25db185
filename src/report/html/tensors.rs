//! The tensors of an output, as its manifest lists them; as many as a page can carry.

use std::fmt;
use std::path::Path;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeTuple, Serializer};

use crate::ledger::{MANIFEST_VERSION, OutputRecord, TensorRecord};
use crate::source::Source;
use crate::store::record::OutputRow;

/// A tensor: name, dtype, shape, bytes, digest.
pub(super) struct Tensor(TensorRecord);

impl Serialize for Tensor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Tensor(record) = self;
        let mut tuple = serializer.serialize_tuple(5)?;
        tuple.serialize_element(&record.name)?;
        tuple.serialize_element(&record.dtype)?;
        tuple.serialize_element(&record.shape)?;
        tuple.serialize_element(&record.data_offsets[1].saturating_sub(record.data_offsets[0]))?;
        tuple.serialize_element(&record.sha256)?;
        tuple.end()
    }
}

/// The first `most` tensors of the manifest in a file, which must be that of `output`.
///
/// # Errors
/// Why it cannot be read, in words.
pub(super) fn listed(manifest: &Path, output: &OutputRow, most: usize) -> Result<Vec<Tensor>, String> {
    let text = Source::open(manifest).and_then(|file| file.map()).map_err(|error| error.message().to_owned())?;
    let mut list = List { output, most, tensors: Vec::new(), is_enough: false };
    let mut reader = serde_json::Deserializer::from_slice(&text);
    match list.deserialize(&mut reader).and_then(|()| reader.end()) {
        Ok(()) => Ok(list.tensors),
        // The rest need not be read.
        Err(_) if list.is_enough => Ok(list.tensors),
        Err(e) => Err(format!("it is no manifest of this output: {e}")),
    }
}

/// What is read of a manifest.
struct List<'a> {
    output: &'a OutputRow,
    most: usize,
    tensors: Vec<Tensor>,
    is_enough: bool,
}

impl<'de> DeserializeSeed<'de> for &mut List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a manifest")
    }

    /// The fields, in the order in which they are written: the output is known before its tensors.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut is_known, mut is_its_own, mut has_tensors) = (false, false, false);
        while let Some(field) = map.next_key::<String>()? {
            match &*field {
                "manifest_version" => is_known = map.next_value::<u32>()? == MANIFEST_VERSION,
                "outputs" => {
                    let outputs: Vec<OutputRecord> = map.next_value()?;
                    is_its_own = outputs.iter().any(|record| record.sha256 == self.output.sha256 && record.bytes == self.output.bytes);
                }
                "tensors" if !is_known => return Err(A::Error::custom("its version is not known here")),
                "tensors" if !is_its_own => return Err(A::Error::custom("it is about another file")),
                "tensors" => {
                    map.next_value_seed(Rows(self))?;
                    has_tensors = true;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if has_tensors { Ok(()) } else { Err(A::Error::custom("it lists no tensors")) }
    }
}

/// The list of tensors in it.
struct Rows<'a, 'b>(&'a mut List<'b>);

impl<'de> DeserializeSeed<'de> for Rows<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Rows<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of tensors")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Rows(list) = self;
        while list.tensors.len() < list.most {
            let Some(record) = seq.next_element()? else { return Ok(()) };
            list.tensors.push(Tensor(record));
        }
        list.is_enough = true;
        Err(A::Error::custom("that is enough"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(manifest: &serde_json::Value, most: usize) -> Result<usize, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.json");
        std::fs::write(&path, manifest.to_string()).unwrap();
        let output = OutputRow::plain("x".into(), 7, Some("ab".into()));
        listed(&path, &output, most).map(|tensors| tensors.len())
    }

    #[test]
    fn the_first_tensors_of_the_manifest_of_an_output() {
        let from =
            serde_json::json!({ "path": "", "member": "", "offset": 0, "storage": "", "storage_offset": 0, "strides": [], "dtype": "" });
        let tensor = serde_json::json!({ "name": "a", "dtype": "F32", "shape": [1], "data_offsets": [0, 4], "from": from });
        let output = serde_json::json!({ "path": "x", "bytes": 7, "header_bytes": 3, "sha256": "ab" });
        let manifest = serde_json::json!({ "manifest_version": 1, "outputs": [output], "tensors": [tensor, tensor, tensor], "rest": {} });
        assert_eq!((list(&manifest, 2), list(&manifest, 9)), (Ok(2), Ok(3)));
        for (field, value) in [
            ("manifest_version", serde_json::json!(2)),
            ("outputs", serde_json::json!([])),
            ("tensors", serde_json::json!(3)),
            ("tensors", serde_json::json!([{ "name": 1 }])),
        ] {
            let mut broken = manifest.clone();
            broken[field] = value;
            assert!(list(&broken, 9).is_err(), "{field}");
        }
        assert!(list(&serde_json::json!({ "manifest_version": 1 }), 9).is_err());
        assert!(list(&serde_json::json!([]), 9).is_err());
        assert!(listed(Path::new("not-there"), &OutputRow::plain("x".into(), 1, None), 9).is_err());
    }
}
