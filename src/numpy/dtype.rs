//! numpy's dtypes as far as they matter here: what an element is, and where its parts are.
//!
//! Type codes are defined by `numpy/core/_dtype.py` and the array interface protocol.

use std::collections::HashSet;

use crate::numpy::literal::Literal;
use crate::tensor::Dtype;

/// A numpy dtype.
#[derive(Debug, Clone, PartialEq)]
pub enum NumpyDtype {
    /// One that safetensors can carry.
    Plain { dtype: Dtype, big_endian: bool },
    /// `datetime64` or `timedelta64`: 64-bit counts of a unit such as `ns`, `10us` or `generic`.
    Time { kind: &'static str, unit: String, big_endian: bool },
    /// A structured dtype.
    Record { fields: Vec<Field>, item_bytes: u64 },
    /// A field that is an array itself; only inside records.
    Subarray { base: Box<NumpyDtype>, shape: Vec<i64> },
    /// Python objects.
    Object,
    /// One without a twin, in words.
    NoTwin { what: String, item_bytes: u64 },
}

/// A field of a structured dtype.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    pub name: String,
    /// Bytes from the start of an element.
    pub offset: u64,
    pub dtype: NumpyDtype,
}

/// Structured dtypes nested deeper are given up.
const MAX_DEPTH: u32 = 16;

impl NumpyDtype {
    /// The dtype of a type code without its byte order, such as `f4`, `U12` or `M8[ns]`.
    pub fn from_code(code: &str, big_endian: bool) -> Self {
        if let Some(dtype) = Dtype::from_numpy_code(code) {
            return NumpyDtype::Plain { dtype, big_endian };
        }
        let digits = |rest: &str| rest.parse::<u64>().unwrap_or(0);
        let (kind, rest) = code.split_at_checked(1).unwrap_or((code, ""));
        let unit = rest.split_once('[').map_or("generic", |(_, unit)| unit.trim_end_matches(']'));
        let no_twin = |what: &str, item_bytes| NumpyDtype::NoTwin { what: what.to_owned(), item_bytes };
        match kind {
            "O" => NumpyDtype::Object,
            "M" => NumpyDtype::Time { kind: "datetime64", unit: unit.to_owned(), big_endian },
            "m" => NumpyDtype::Time { kind: "timedelta64", unit: unit.to_owned(), big_endian },
            "S" | "a" => no_twin("byte strings", digits(rest)),
            "U" => no_twin("strings", digits(rest).saturating_mul(4)),
            "V" => no_twin("raw records", digits(rest)),
            "f" | "g" => no_twin("long double", digits(rest)),
            "c" | "G" => no_twin("complex long double", digits(rest)),
            _ => no_twin(&crate::text::quoted(code, 40), digits(rest)),
        }
    }

    /// The dtype of a `descr` that is text: a type code that may start with its byte order, such as `<f4`, `|b1` and `>M8[ns]`,
    /// or the name of a dtype.
    fn from_text(text: &str) -> Option<Self> {
        let (order, code) = match text.split_at_checked(1) {
            Some((order @ ("<" | ">" | "|" | "="), code)) => (order, code),
            _ => ("=", text),
        };
        let plain = |dtype| NumpyDtype::Plain { dtype, big_endian: order == ">" };
        if let Some(dtype) = Dtype::from_numpy_letter(code).or_else(|| Dtype::from_numpy_name(text)) {
            return Some(plain(dtype));
        }
        let (kind, size) = code.split_at_checked(1)?;
        let size = size.split_once('[').map_or(size, |(size, _)| size);
        let known = matches!(kind, "O" | "M" | "m" | "S" | "a" | "U" | "V" | "b" | "i" | "u" | "f" | "c" | "g" | "G");
        let time = matches!(kind, "M" | "m") && size != "8";
        (known && !time && size.chars().all(|c| c.is_ascii_digit())).then(|| Self::from_code(code, order == ">"))
    }

    /// The dtype of a `descr` in the header of a `.npy` file; `None` when it is none.
    pub(super) fn from_descr(descr: &Literal) -> Option<Self> {
        Self::from_descr_within(descr, MAX_DEPTH)
    }

    fn from_descr_within(descr: &Literal, depth_left: u32) -> Option<Self> {
        let depth_left = depth_left.checked_sub(1)?;
        match descr {
            Literal::Text(text) => Self::from_text(text),
            Literal::List(fields) => {
                let mut at = 0u64;
                let mut parsed = Vec::new();
                let mut names = HashSet::new();
                for field in fields {
                    let Literal::Tuple(parts) = field else { return None };
                    let (name, dtype) = match parts.as_slice() {
                        [name, dtype] => (name, Self::from_descr_within(dtype, depth_left)?),
                        [name, dtype, shape] => {
                            let base = Box::new(Self::from_descr_within(dtype, depth_left)?);
                            (name, NumpyDtype::Subarray { base, shape: shape.dims()? })
                        }
                        _ => return None,
                    };
                    let name = match name {
                        Literal::Text(name) => name,
                        // A field with a title: `(title, name)`.
                        Literal::Tuple(names) => match names.as_slice() {
                            [_, Literal::Text(name)] => name,
                            _ => return None,
                        },
                        _ => return None,
                    };
                    let item_bytes = dtype.item_bytes()?;
                    // numpy writes padding as fields without a name.
                    if !(name.is_empty() && matches!(dtype, NumpyDtype::NoTwin { .. } | NumpyDtype::Subarray { .. })) {
                        if !names.insert(name) {
                            return None;
                        }
                        parsed.push(Field { name: name.clone(), offset: at, dtype });
                    }
                    at = at.checked_add(item_bytes)?;
                }
                Some(NumpyDtype::Record { fields: parsed, item_bytes: at })
            }
            Literal::Tuple(parts) => match parts.as_slice() {
                [base, shape] => {
                    let base = Box::new(Self::from_descr_within(base, depth_left)?);
                    Some(NumpyDtype::Subarray { base, shape: shape.dims()? })
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// Bytes of one element; `None` when they are more than 64 bits count.
    pub fn item_bytes(&self) -> Option<u64> {
        match self {
            NumpyDtype::Plain { dtype, .. } => Some(dtype.item_bytes().into()),
            NumpyDtype::Time { .. } | NumpyDtype::Object => Some(8),
            NumpyDtype::Record { item_bytes, .. } | NumpyDtype::NoTwin { item_bytes, .. } => Some(*item_bytes),
            NumpyDtype::Subarray { base, shape } => {
                shape.iter().try_fold(base.item_bytes()?, |n, &size| n.checked_mul(u64::try_from(size).ok()?))
            }
        }
    }

    /// Whether elements of it are Python objects, or hold some.
    pub fn has_objects(&self) -> bool {
        match self {
            NumpyDtype::Object => true,
            NumpyDtype::Record { fields, .. } => fields.iter().any(|field| field.dtype.has_objects()),
            NumpyDtype::Subarray { base, .. } => base.has_objects(),
            NumpyDtype::Plain { .. } | NumpyDtype::Time { .. } | NumpyDtype::NoTwin { .. } => false,
        }
    }

    /// In words, for lists and messages.
    pub fn describe(&self) -> String {
        match self {
            NumpyDtype::Plain { dtype, .. } => dtype.name().to_owned(),
            NumpyDtype::Time { kind, unit, .. } => format!("{kind}[{unit}]"),
            NumpyDtype::Record { .. } => "structured arrays".to_owned(),
            NumpyDtype::Subarray { base, .. } => base.describe(),
            NumpyDtype::Object => "Python objects".to_owned(),
            NumpyDtype::NoTwin { what, .. } => what.clone(),
        }
    }
}
