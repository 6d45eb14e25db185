//! What verifying needs of a manifest. A manifest can come from anyone, so it is read through a mapping, names are borrowed from
//! it, and what is not needed must be there but is not kept.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A manifest.
#[derive(Deserialize)]
pub(super) struct Record<'a> {
    pub manifest_version: u32,
    #[serde(borrow)]
    pub source: SourceFile<'a>,
    #[serde(borrow)]
    pub outputs: Vec<OutputFile<'a>>,
    #[serde(borrow)]
    pub tensors: Vec<TensorOf<'a>>,
    pub aliases: Aliases,
    #[serde(rename = "tool")]
    _tool: IgnoredAny,
    #[serde(rename = "root")]
    _root: IgnoredAny,
    #[serde(rename = "lowered")]
    _lowered: IgnoredAny,
    #[serde(rename = "left_out")]
    _left_out: IgnoredAny,
    #[serde(rename = "outside_root")]
    _outside_root: IgnoredAny,
    #[serde(rename = "uncovered_storage_bytes")]
    _uncovered_storage_bytes: IgnoredAny,
    #[serde(rename = "unreferenced_members")]
    _unreferenced_members: IgnoredAny,
    #[serde(rename = "globals")]
    _globals: IgnoredAny,
    #[serde(rename = "other_values")]
    _other_values: IgnoredAny,
    #[serde(rename = "findings")]
    _findings: IgnoredAny,
}

/// The source, or a file that belongs to it.
#[derive(Deserialize)]
pub(super) struct SourceFile<'a> {
    #[serde(borrow)]
    pub path: Cow<'a, str>,
    pub bytes: u64,
    #[serde(borrow, default)]
    pub sha256: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub companions: Vec<SourceFile<'a>>,
}

/// An output.
#[derive(Deserialize)]
pub(super) struct OutputFile<'a> {
    #[serde(borrow)]
    pub path: Cow<'a, str>,
    pub bytes: u64,
    pub header_bytes: u64,
    /// Whether it is a shard: then the index has its tied names.
    #[serde(default)]
    pub index: Option<IgnoredAny>,
    #[serde(borrow, default)]
    pub sha256: Option<Cow<'a, str>>,
}

/// A tensor of the output.
#[derive(Deserialize)]
pub(super) struct TensorOf<'a> {
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    #[serde(borrow)]
    pub dtype: Cow<'a, str>,
    pub shape: Shape,
    pub data_offsets: [u64; 2],
    #[serde(borrow, default)]
    pub sha256: Option<Cow<'a, str>>,
    #[serde(rename = "from")]
    _from: IgnoredAny,
}

/// The sizes of a tensor.
pub(super) struct Shape(pub Box<[u64]>);

/// More than any tensor has: torch stops at 64, and packed pairs add one.
const MAX_RANK: usize = 80;

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sizes;
        impl<'de> Visitor<'de> for Sizes {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX_RANK} sizes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
                let mut sizes = Vec::new();
                while let Some(size) = seq.next_element()? {
                    if sizes.len() == MAX_RANK {
                        return Err(serde::de::Error::invalid_length(sizes.len() + 1, &self));
                    }
                    sizes.push(size);
                }
                Ok(Shape(sizes.into()))
            }
        }
        deserializer.deserialize_seq(Sizes)
    }
}

/// The names of tied tensors, dropped and kept, in one text.
#[derive(Default)]
pub(super) struct Aliases {
    text: String,
    /// Where each name ends.
    ends: Vec<u32>,
}

impl Aliases {
    /// Dropped name and kept name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let name = |i: usize| {
            let start = i.checked_sub(1).map_or(0, |before| self.ends[before]);
            &self.text[start as usize..self.ends[i] as usize]
        };
        (0..self.ends.len() / 2).map(move |i| (name(2 * i), name(2 * i + 1)))
    }

    fn push<E: serde::de::Error>(&mut self, name: &str) -> Result<(), E> {
        self.text.push_str(name);
        self.ends.push(u32::try_from(self.text.len()).map_err(|_| E::custom("more tied names than can be"))?);
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Aliases {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Aliases;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "names and the names they are the same tensors as")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Aliases, A::Error> {
                let mut aliases = Aliases::default();
                while let Some((dropped, kept)) = map.next_entry::<Name<'de>, Name<'de>>()? {
                    aliases.push(&dropped.0)?;
                    aliases.push(&kept.0)?;
                }
                Ok(aliases)
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
