//! The names in the header of a safetensors file, and the names that are tied to them.

use std::fmt;
use std::path::Path;

use safetensors::tensor::TensorInfo;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};

use super::header::MAX_BYTES;
use crate::error::{self, Result};
use crate::source::{Region, Source};
use crate::text::quoted;

/// What a header lists.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// In the order of the file.
    pub names: Vec<String>,
    /// The keys of its metadata: tied names that were dropped, and `format`.
    pub metadata: Vec<String>,
}

/// Reads the header of a safetensors file.
///
/// # Errors
/// `io`, and `mismatch` for what is no such file.
pub(crate) fn listing(path: &Path) -> Result<Listing> {
    let none = |why: &str| error::mismatch(format!("{} is no safetensors file: {why}", quoted(&path.to_string_lossy(), 300)));
    let whole = Region::file(&Source::open(path)?);
    let mut length = [0; 8];
    if whole.len() < 8 {
        return Err(none("it has no header"));
    }
    whole.read_at(0, &mut length)?;
    let length = u64::from_le_bytes(length);
    let json = whole.slice(8, length).filter(|_| length <= MAX_BYTES).ok_or_else(|| none("its header is of a size that cannot be"))?;
    let bytes = json.bytes()?;
    let mut json = serde_json::Deserializer::from_slice(&bytes);
    let mut found = Listing::default();
    Entries(&mut found).deserialize(&mut json).and_then(|()| json.end()).map_err(|e| none(&e.to_string()))?;
    let mut sorted: Vec<&str> = found.names.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(none(&format!("its header lists {} twice", quoted(pair[0], 200)))),
        None => Ok(found),
    }
}

struct Entries<'l>(&'l mut Listing);

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the header of a safetensors file")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let Listing { names, metadata } = self.0;
        let mut seen = false;
        while let Some(name) = map.next_key::<String>()? {
            if name != "__metadata__" {
                map.next_value::<TensorInfo>()?;
                names.push(name);
            } else if std::mem::replace(&mut seen, true) {
                return Err(M::Error::custom("it has its metadata twice"));
            } else {
                map.next_value_seed(Keys(metadata))?;
            }
        }
        Ok(())
    }
}

struct Keys<'l>(&'l mut Vec<String>);

impl<'de> DeserializeSeed<'de> for Keys<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the metadata of a safetensors file")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some((key, _)) = map.next_entry::<String, String>()? {
            self.0.push(key);
        }
        Ok(())
    }
}
