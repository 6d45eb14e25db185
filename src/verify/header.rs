//! The header of an output against what it should say, entry by entry in the order of the file, so that nothing of it is kept.

use std::borrow::Cow;
use std::fmt;

use safetensors::tensor::TensorInfo;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};

use crate::text::quoted;

/// What the safetensors library takes at most.
pub(super) const MAX_BYTES: u64 = 100_000_000;

/// A tensor as the header should have it.
pub(super) struct Expected<'a> {
    pub name: &'a str,
    pub dtype: Cow<'a, str>,
    pub shape: Cow<'a, [u64]>,
    pub data_offsets: [u64; 2],
}

/// Compares a header, its length included, with its tensors in the order of the file, and with the tied names, dropped and kept,
/// sorted.
///
/// # Errors
/// What differs, in words.
pub(super) fn compare<'a>(
    header: &[u8],
    tensors: impl Iterator<Item = Expected<'a>>,
    aliases: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), String> {
    let Some((length, json)) = header.split_first_chunk() else { return Err("it has no header".to_owned()) };
    if u64::from_le_bytes(*length) != json.len() as u64 || json.len() as u64 > MAX_BYTES {
        return Err("its header is of another size than it should be".to_owned());
    }
    let mut json = serde_json::Deserializer::from_slice(json);
    let compared = Entries { tensors, aliases }.deserialize(&mut json).and_then(|()| json.end());
    compared.map_err(|e| e.to_string())
}

struct Entries<T, A> {
    tensors: T,
    aliases: A,
}

impl<'de, 'a, T: Iterator<Item = Expected<'a>>, A: Iterator<Item = (&'a str, &'a str)>> DeserializeSeed<'de> for Entries<T, A> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de, 'a, T: Iterator<Item = Expected<'a>>, A: Iterator<Item = (&'a str, &'a str)>> Visitor<'de> for Entries<T, A> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the header of a safetensors file")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let Entries { mut tensors, aliases } = self;
        let mut aliases = Some(aliases);
        while let Some(Name(name)) = map.next_key()? {
            if name == "__metadata__"
                && let Some(aliases) = aliases.take()
            {
                map.next_value_seed(Metadata(aliases))?;
                continue;
            }
            let info: TensorInfo = map.next_value()?;
            let expected = tensors.next().filter(|expected| expected.name == name);
            if !expected.is_some_and(|expected| is_as_expected(&info, &expected)) {
                return Err(M::Error::custom(format!("it has a tensor {}, which should be another", quoted(&name, 200))));
            }
        }
        match tensors.next() {
            _ if aliases.is_some() => Err(M::Error::custom("its header has no metadata")),
            Some(missing) => Err(M::Error::custom(format!("it has no tensor {}, which it should have", quoted(missing.name, 200)))),
            None => Ok(()),
        }
    }
}

/// Whether a tensor has dtype, shape and place that it should have, and they fit one another.
fn is_as_expected(info: &TensorInfo, expected: &Expected<'_>) -> bool {
    let [start, end] = expected.data_offsets;
    let bits = info.shape.iter().try_fold(info.dtype.bitsize(), |n, &size| n.checked_mul(size));
    (info.data_offsets.0 as u64, info.data_offsets.1 as u64) == (start, end)
        && bits.is_some_and(|bits| bits.is_multiple_of(8) && bits as u64 / 8 == end - start)
        && info.shape.iter().map(|&size| size as u64).eq(expected.shape.iter().copied())
        && info.dtype.to_string() == *expected.dtype
}

struct Metadata<A>(A);

impl<'de, 'a, A: Iterator<Item = (&'a str, &'a str)>> DeserializeSeed<'de> for Metadata<A> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, 'a, A: Iterator<Item = (&'a str, &'a str)>> Visitor<'de> for Metadata<A> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the metadata of a safetensors file")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        // Both are sorted by the dropped name, and a tensor of this name gives way to the format.
        let mut expected = self.0.filter(|(dropped, _)| *dropped != "format");
        let mut seen_format = false;
        while let Some((Name(key), Name(value))) = map.next_entry()? {
            let is_format = key == "format" && value == "pt" && !std::mem::replace(&mut seen_format, true);
            if !is_format && expected.next() != Some((&*key, &*value)) {
                return Err(M::Error::custom("it has other tied names than it should have"));
            }
        }
        match expected.next() {
            None if seen_format => Ok(()),
            _ => Err(M::Error::custom("it has other tied names than it should have")),
        }
    }
}
