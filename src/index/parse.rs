//! The JSON of an index, entry by entry: a key that is there twice is an error, and what is not understood is kept as it is written.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{METADATA, WEIGHT_MAP};
use crate::limits::Limits;
use crate::text::quoted;

/// What is beside the map.
#[derive(Debug)]
pub(super) enum Field {
    Metadata(Vec<(String, Box<RawValue>)>),
    Other(Box<RawValue>),
}

/// What was read so far.
#[derive(Default)]
pub(super) struct Parsed {
    /// In the order in which they are named first.
    pub shards: Vec<String>,
    numbers: HashMap<String, u32>,
    pub weight_map: Vec<(String, u32)>,
    pub fields: Vec<(String, Option<Field>)>,
}

/// Reads an index into what there is.
pub(super) struct Document<'p>(pub &'p mut Parsed, pub &'p Limits);

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a weight_map")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> std::result::Result<(), M::Error> {
        let Document(parsed, limits) = self;
        while let Some(key) = map.next_key::<String>()? {
            if parsed.fields.iter().any(|(known, _)| *known == key) {
                return Err(twice(&key));
            }
            if parsed.fields.len() == MAX_FIELDS {
                return Err(M::Error::custom("it has more fields than any index has"));
            }
            let field = match key.as_str() {
                WEIGHT_MAP => {
                    map.next_value_seed(WeightMap(parsed, limits))?;
                    None
                }
                METADATA => Some(Field::Metadata(map.next_value::<Metadata>()?.0)),
                _ => Some(Field::Other(map.next_value()?)),
            };
            parsed.fields.push((key, field));
        }
        match parsed.fields.iter().any(|(key, _)| key == WEIGHT_MAP) {
            true => Ok(()),
            false => Err(M::Error::custom("it has no weight_map")),
        }
    }
}

/// Fields of an index beside the map; there are two.
const MAX_FIELDS: usize = 100;

fn twice<E: serde::de::Error>(key: &str) -> E {
    E::custom(said_twice(key))
}

pub(super) fn said_twice(key: &str) -> String {
    format!("it has the key {} twice", quoted(key, 200))
}

struct WeightMap<'p>(&'p mut Parsed, &'p Limits);

impl<'de> DeserializeSeed<'de> for WeightMap<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for WeightMap<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a weight_map from names of tensors to names of files")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> std::result::Result<(), M::Error> {
        let WeightMap(parsed, limits) = self;
        while let Some((name, shard)) = map.next_entry::<String, String>()? {
            let next = parsed.shards.len() as u32; // no more than tensors, which are limited
            let number = *parsed.numbers.entry(shard).or_insert_with_key(|shard| {
                parsed.shards.push(shard.clone());
                next
            });
            parsed.weight_map.push((name, number));
            if parsed.weight_map.len() as u64 > limits.tensors {
                return Err(M::Error::custom("it lists more tensors than are allowed"));
            }
        }
        Ok(())
    }
}

struct Metadata(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Metadata;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("metadata that is an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> std::result::Result<Metadata, M::Error> {
                let (mut entries, mut seen) = (Vec::new(), HashSet::new());
                while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    if !seen.insert(key.clone()) {
                        return Err(twice(&key));
                    }
                    entries.push((key, value));
                }
                Ok(Metadata(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
