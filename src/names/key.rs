//! Keys of dicts: the part of a name that each gives, and which of them Python holds to be equal.

use std::collections::HashMap;

use crate::names::Unnameable;
use crate::pickle::{Blob, Graph, Node, NodeId, Text};

/// A tuple with more parts than this, its inner ones included, gives no name: shared tuples can nest without end.
pub(super) const MAX_PARTS: u32 = 256;
/// A longer key gives no name, whatever the limit on names.
pub(super) const MAX_BYTES: usize = 64 << 10;

/// A tuple key as Python would write it, as far as a message needs.
pub(super) fn repr(graph: &Graph, key: NodeId) -> String {
    match graph.node(key) {
        Node::Tuple(items) => {
            let shown: Vec<String> = items
                .iter()
                .take(8)
                .map(|&item| if graph.tuple(item).is_some() { "(...)".to_owned() } else { repr(graph, item) })
                .collect();
            let more = if items.len() > 8 {
                ", ..."
            } else if items.len() == 1 {
                ","
            } else {
                ""
            };
            format!("({}{more})", shown.join(", "))
        }
        Node::Text(_) | Node::Str(_) => graph.text(key).map_or_else(|| "?".to_owned(), |text| crate::text::quoted(&text.lossy(), 40)),
        _ => name(graph, key, &mut 8).0.chars().take(40).collect(),
    }
}

pub(super) fn name(graph: &Graph, key: NodeId, parts_left: &mut u32) -> (String, Option<Unnameable>) {
    match graph.node(key) {
        Node::Text(_) => match graph.text(key) {
            Some(Text::Utf8(text)) => (text.to_owned(), None),
            Some(text) => (text.lossy().into_owned(), Some(Unnameable::Invalid("its key has a lone surrogate, which is not Unicode text"))),
            None => unreachable!("a text node has text"),
        },
        Node::Str(blob) | Node::Bytes(blob) => match graph.str(key) {
            Some(text) => (text.to_owned(), None),
            None => (latin1(graph.blob(*blob)), None),
        },
        Node::Int(value) => (value.to_string(), None),
        Node::Bool(true) => ("True".to_owned(), None),
        Node::Bool(false) => ("False".to_owned(), None),
        Node::None => ("None".to_owned(), None),
        Node::Float(value) => (float_repr(*value), None),
        Node::Global(_) => (graph.global(key).map(|global| global.path()).unwrap_or_default(), None),
        Node::Tuple(items) => {
            let mut name = String::new();
            for (i, &item) in items.iter().enumerate() {
                match parts_left.checked_sub(1) {
                    Some(left) => *parts_left = left,
                    None => return (name, Some(Unnameable::Invalid("its key is a tuple of too many parts"))),
                }
                let (part, problem) = self::name(graph, item, parts_left);
                if problem.is_some() {
                    return (name, problem);
                }
                if i > 0 {
                    name.push('.');
                }
                name.push_str(&part);
                if name.len() > MAX_BYTES {
                    return (name, Some(Unnameable::TooLong));
                }
            }
            (name, None)
        }
        Node::Long(blob) if blob.len() <= MAX_INTEGER_BYTES => (decimal(graph.blob(*blob)), None),
        Node::LongText(blob) => (latin1(graph.blob(*blob)), None),
        Node::Long(_) => ("<int>".to_owned(), Some(Unnameable::Invalid("its key is an integer of more than a thousand bits"))),
        // Bytes as Python 3 writes them below protocol 3.
        Node::Object(object) if graph.global(object.callable).is_some_and(|global| global.path() == "_codecs.encode") => {
            match graph.tuple(object.args) {
                Some(&[text, codec]) if matches!(graph.str(codec), Some("latin1" | "latin-1")) => {
                    (graph.str(text).unwrap_or_default().to_owned(), None)
                }
                _ => ("<bytes>".to_owned(), Some(Unnameable::Invalid("its key is bytes in an encoding that is not Latin-1"))),
            }
        }
        _ => ("<object>".to_owned(), Some(Unnameable::Object)),
    }
}

/// Text this long gives no name, so that it does not matter which of several equal ones wins.
fn is_too_long(blob: Blob) -> bool {
    blob.len() > MAX_BYTES as u64
}

/// What tells two keys of one dict apart, as Python's `==` does: `True == 1 == 1.0`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Identity<'a> {
    None,
    /// A number with an integer value, in decimal.
    Integer(String),
    /// The bits of another float.
    Float(u64),
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    Global(&'a str, &'a str),
    Tuple(Vec<Identity<'a>>),
    /// Only the same object is equal to it.
    Object(NodeId),
}

/// The identity of a key.
pub(crate) fn identity(graph: &Graph, key: NodeId) -> Identity<'_> {
    identity_of_parts(graph, key, &mut MAX_PARTS.clone())
}

fn identity_of_parts<'a>(graph: &'a Graph, key: NodeId, parts_left: &mut u32) -> Identity<'a> {
    match graph.node(key) {
        Node::None => Identity::None,
        Node::Bool(value) => Identity::Integer(u8::from(*value).to_string()),
        Node::Int(value) => Identity::Integer(value.to_string()),
        Node::Long(blob) if blob.len() <= MAX_INTEGER_BYTES => Identity::Integer(decimal(graph.blob(*blob))),
        Node::LongText(blob) => Identity::Integer(latin1(graph.blob(*blob))),
        Node::Float(value) if value.is_nan() => Identity::Object(key),
        Node::Float(value) if value.trunc() == *value && value.is_finite() => Identity::Integer(format!("{:.0}", value + 0.0)),
        Node::Float(value) => Identity::Float(value.to_bits()),
        // In Python 3 both are text; a Python 2 string that is no UTF-8 is its bytes.
        Node::Text(blob) | Node::Str(blob) if !is_too_long(*blob) => Identity::Text(graph.blob(*blob)),
        Node::Bytes(blob) if !is_too_long(*blob) => Identity::Bytes(graph.blob(*blob)),
        Node::Global(_) => graph.global(key).map_or(Identity::Object(key), |global| Identity::Global(&global.module, &global.name)),
        Node::Tuple(items) => {
            let mut parts = Vec::new();
            for &item in items {
                match parts_left.checked_sub(1) {
                    Some(left) => *parts_left = left,
                    None => return Identity::Object(key),
                }
                parts.push(identity_of_parts(graph, item, parts_left));
            }
            Identity::Tuple(parts)
        }
        _ => Identity::Object(key),
    }
}

/// The pairs of a dict as Python would hold them: for equal keys the first position and the last value.
pub(crate) fn unique_pairs(graph: &Graph, pairs: impl IntoIterator<Item = (NodeId, NodeId)>) -> (Vec<(NodeId, NodeId)>, Option<NodeId>) {
    let mut positions: HashMap<Identity, usize> = HashMap::new();
    let mut unique: Vec<(NodeId, NodeId)> = Vec::new();
    let mut duplicate = None;
    for (key, value) in pairs {
        match positions.entry(identity(graph, key)) {
            std::collections::hash_map::Entry::Occupied(position) => {
                unique[*position.get()].1 = value;
                duplicate.get_or_insert(key);
            }
            std::collections::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(unique.len());
                unique.push((key, value));
            }
        }
    }
    (unique, duplicate)
}

/// Integers of more bytes give no name; converting them to decimal takes quadratic time.
const MAX_INTEGER_BYTES: u64 = 128;

/// The decimal digits of a little-endian two's complement integer that is not absurdly long.
pub(crate) fn integer(bytes: &[u8]) -> Option<String> {
    (bytes.len() as u64 <= MAX_INTEGER_BYTES).then(|| decimal(bytes))
}

/// The decimal digits of a little-endian two's complement integer.
fn decimal(bytes: &[u8]) -> String {
    let negative = bytes.last().is_some_and(|&top| top & 0x80 != 0);
    let mut magnitude = bytes.to_vec();
    if negative {
        let mut carry = true;
        for byte in &mut magnitude {
            (*byte, carry) = (!*byte).overflowing_add(carry.into());
        }
        let _ = carry; // only zero carries out, and zero is not negative
    }
    let mut digits = Vec::new();
    while magnitude.iter().any(|&byte| byte != 0) {
        let mut remainder = 0u32;
        for byte in magnitude.iter_mut().rev() {
            let value = remainder << 8 | u32::from(*byte);
            *byte = (value / 10) as u8; // below 256, because the remainder is below 10
            remainder = value % 10;
        }
        digits.push(char::from_digit(remainder, 10).unwrap_or('0'));
    }
    let sign = if negative { "-" } else { "" };
    sign.chars().chain(digits.into_iter().rev()).collect()
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// `repr(float)` of Python: the shortest digits, an exponent below -4 and from 16 on.
pub(crate) fn float_repr(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() {
            "nan"
        } else if value > 0.0 {
            "inf"
        } else {
            "-inf"
        }
        .to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if (-4..16).contains(&exponent) => {
            let plain = value.to_string();
            if plain.contains('.') { plain } else { format!("{plain}.0") }
        }
        Ok(exponent) => format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()),
        Err(_) => scientific.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_named_as_python_writes_them() {
        for (value, repr) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e16, "1e+16"),
            (1.5e-7, "1.5e-07"),
            (123456.75, "123456.75"),
            (1e15, "1000000000000000.0"),
            (-0.0, "-0.0"),
            (1e-4, "0.0001"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(float_repr(value), repr);
        }
    }

    #[test]
    fn large_integers_are_named_in_decimal() {
        assert_eq!(decimal(&[0, 0, 0, 0, 0, 0, 0, 0, 1]), "18446744073709551616");
        assert_eq!(decimal(&[0, 0, 0, 0, 0, 0, 0, 0, 0xff]), "-18446744073709551616");
    }
}
