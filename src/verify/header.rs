//! The header of an output against its record, entry by entry in the order of the file, so that nothing of it is kept.

use std::borrow::Cow;
use std::fmt;

use safetensors::tensor::TensorInfo;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};

use super::record::{Aliases, TensorOf};
use crate::text::quoted;

/// What the safetensors library takes at most.
const MAX_BYTES: u64 = 100_000_000;

/// Compares a header, its length included, with what is recorded.
///
/// # Errors
/// What differs, in words.
pub(super) fn compare(header: &[u8], tensors: &[TensorOf<'_>], aliases: &Aliases) -> Result<(), String> {
    let Some((length, json)) = header.split_first_chunk() else { return Err("it has no header".to_owned()) };
    if u64::from_le_bytes(*length) != json.len() as u64 || json.len() as u64 > MAX_BYTES {
        return Err("its header is of another size than the manifest records".to_owned());
    }
    let mut json = serde_json::Deserializer::from_slice(json);
    let compared = Entries { tensors, aliases }.deserialize(&mut json).and_then(|()| json.end());
    compared.map_err(|e| e.to_string())
}

struct Entries<'r> {
    tensors: &'r [TensorOf<'r>],
    aliases: &'r Aliases,
}

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the header of a safetensors file")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut tensors = self.tensors.iter();
        let mut seen_metadata = false;
        while let Some(Name(name)) = map.next_key()? {
            if name == "__metadata__" && !std::mem::replace(&mut seen_metadata, true) {
                map.next_value_seed(Metadata(self.aliases))?;
                continue;
            }
            let info: TensorInfo = map.next_value()?;
            let recorded = tensors.next().filter(|recorded| recorded.name == name);
            if !recorded.is_some_and(|recorded| is_recorded(&info, recorded)) {
                return Err(A::Error::custom(format!("it has a tensor {}, which the manifest records otherwise", quoted(&name, 200))));
            }
        }
        match tensors.next() {
            _ if !seen_metadata => Err(A::Error::custom("its header has no metadata")),
            Some(missing) => Err(A::Error::custom(format!("it has no tensor {}, which the manifest records", quoted(&missing.name, 200)))),
            None => Ok(()),
        }
    }
}

/// Whether a tensor has dtype, shape and place that are recorded, and they fit one another.
fn is_recorded(info: &TensorInfo, recorded: &TensorOf<'_>) -> bool {
    let [start, end] = recorded.data_offsets;
    let bits = info.shape.iter().try_fold(info.dtype.bitsize(), |n, &size| n.checked_mul(size));
    (info.data_offsets.0 as u64, info.data_offsets.1 as u64) == (start, end)
        && bits.is_some_and(|bits| bits.is_multiple_of(8) && bits as u64 / 8 == end - start)
        && info.shape.iter().map(|&size| size as u64).eq(recorded.shape.0.iter().copied())
        && info.dtype.to_string() == *recorded.dtype
}

struct Metadata<'r>(&'r Aliases);

impl<'de> DeserializeSeed<'de> for Metadata<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Metadata<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the metadata of a safetensors file")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        // Both are sorted by the dropped name, and a tensor of this name gives way to the format.
        let mut recorded = self.0.iter().filter(|(dropped, _)| *dropped != "format");
        let mut seen_format = false;
        while let Some((Name(key), Name(value))) = map.next_entry()? {
            let is_format = key == "format" && value == "pt" && !std::mem::replace(&mut seen_format, true);
            if !is_format && recorded.next() != Some((&*key, &*value)) {
                return Err(A::Error::custom("it has other tied names than the manifest records"));
            }
        }
        match recorded.next() {
            None if seen_format => Ok(()),
            _ => Err(A::Error::custom("it has other tied names than the manifest records")),
        }
    }
}
