//! Keys of dicts: the part of a name that each gives, and which of them Python holds to be equal.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::names::{Unnameable, integer};
use crate::pickle::{Blob, Graph, Node, NodeId, Text};

/// A tuple with more parts than this, its inner ones included, gives no name: shared tuples can nest without end.
pub(super) const MAX_PARTS: u32 = 256;
/// A longer key gives no name, whatever the limit on names.
pub(super) const MAX_BYTES: usize = 64 << 10;
/// What is shown of it.
const SHOWN_BYTES: usize = 80;

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
        Node::Text(blob) | Node::Str(blob) | Node::Bytes(blob) if is_too_long(blob) => {
            let start = &graph.blob(blob)[..SHOWN_BYTES];
            (String::from_utf8_lossy(start).trim_end_matches(char::REPLACEMENT_CHARACTER).to_owned(), Some(Unnameable::TooLong))
        }
        Node::Text(_) => match graph.text(key) {
            Some(Text::Utf8(text)) => (text.to_owned(), None),
            Some(text) => (text.lossy().into_owned(), Some(Unnameable::Invalid("its key has a lone surrogate, which is not Unicode text"))),
            None => unreachable!("a text node has text"),
        },
        Node::Str(blob) | Node::Bytes(blob) => match graph.str(key) {
            Some(text) => (text.to_owned(), None),
            None => (latin1(graph.blob(blob)), None),
        },
        Node::Int(value) => (value.to_string(), None),
        Node::Bool(true) => ("True".to_owned(), None),
        Node::Bool(false) => ("False".to_owned(), None),
        Node::None => ("None".to_owned(), None),
        Node::Float(value) => (float_repr(value), None),
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
        Node::Long(blob) if blob.len() <= integer::MAX_BYTES => (integer::decimal(graph.blob(blob)), None),
        Node::LongText(blob) => (latin1(graph.blob(blob)), None),
        Node::Long(_) => ("<int>".to_owned(), Some(Unnameable::Invalid("its key is an integer of more than a thousand bits"))),
        // Bytes as Python 3 writes them below protocol 3.
        Node::Object(object) if graph.global(object.callable).is_some_and(|global| global.path() == "_codecs.encode") => {
            match graph.tuple(object.args) {
                Some(&[text, codec]) if graph.is_word(codec, &["latin1", "latin-1"]) => match graph.text_bytes(text) > MAX_BYTES as u64 {
                    true => (graph.beginning(text, SHOWN_BYTES).into_owned(), Some(Unnameable::TooLong)),
                    false => (graph.str(text).unwrap_or_default().to_owned(), None),
                },
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
    /// A number with an integer value.
    Small(i64),
    /// The same beyond 64 bits.
    Integer(Vec<u8>),
    /// The bits of another float.
    Float(u64),
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    Global(&'a str, &'a str),
    Tuple(Vec<Identity<'a>>),
    /// Only the same object is equal to it.
    Object(NodeId),
}

fn integer_identity(bytes: Vec<u8>) -> Identity<'static> {
    integer::small(&bytes).map_or(Identity::Integer(bytes), Identity::Small)
}

/// The identity of a key.
pub(crate) fn identity(graph: &Graph, key: NodeId) -> Identity<'_> {
    identity_of_parts(graph, key, &mut MAX_PARTS.clone())
}

fn identity_of_parts<'a>(graph: &'a Graph, key: NodeId, parts_left: &mut u32) -> Identity<'a> {
    match graph.node(key) {
        Node::None => Identity::None,
        Node::Bool(value) => Identity::Small(value.into()),
        Node::Int(value) => Identity::Small(value),
        Node::Long(blob) if blob.len() <= integer::MAX_BYTES => integer_identity(integer::shortest(graph.blob(blob))),
        Node::LongText(blob) => integer_identity(integer::of_text(graph.blob(blob))),
        Node::Float(value) if value.is_nan() => Identity::Object(key),
        Node::Float(value) if value.trunc() == value && value.is_finite() => integer_identity(integer::of_float(value)),
        Node::Float(value) => Identity::Float(value.to_bits()),
        // In Python 3 both are text; a Python 2 string that is no UTF-8 is its bytes.
        Node::Text(blob) | Node::Str(blob) if !is_too_long(blob) => Identity::Text(graph.blob(blob)),
        Node::Bytes(blob) if !is_too_long(blob) => Identity::Bytes(graph.blob(blob)),
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
///
/// The pairs are sorted by the hashes of their keys, so that a dict of millions costs 16 bytes each.
pub(crate) fn unique_pairs(graph: &Graph, pairs: impl IntoIterator<Item = (NodeId, NodeId)>) -> (Vec<(NodeId, NodeId)>, Option<NodeId>) {
    let mut pairs: Vec<(NodeId, NodeId)> = pairs.into_iter().collect();
    let mut hashes = Hashes::default();
    let mut order: Vec<(u64, u32)> = pairs.iter().zip(0u32..).map(|(pair, i)| (hashes.of(graph, pair.0), i)).collect();
    order.sort_unstable();
    let mut duplicate: Option<u32> = None;
    let mut dropped = Vec::new();
    for alike in order.chunk_by(|a, b| a.0 == b.0).filter(|alike| alike.len() > 1) {
        // Different keys of one hash are as good as never met; each is compared with the first that it is equal to.
        let mut firsts: Vec<u32> = Vec::new();
        for &(_, i) in alike {
            let (key, value) = pairs[i as usize];
            match firsts.iter().find(|&&first| is_same(graph, pairs[first as usize].0, key, &mut MAX_PARTS.clone())) {
                Some(&first) => {
                    pairs[first as usize].1 = value;
                    dropped.push(i);
                    duplicate = Some(duplicate.map_or(i, |other| other.min(i)));
                }
                None => firsts.push(i),
            }
        }
    }
    let duplicate = duplicate.map(|i| pairs[i as usize].0);
    if !dropped.is_empty() {
        dropped.sort_unstable();
        let mut dropped = dropped.into_iter().peekable();
        let mut i = 0;
        pairs.retain(|_| {
            i += 1;
            dropped.next_if_eq(&(i - 1)).is_none()
        });
    }
    (pairs, duplicate)
}

/// The hashes of keys; of keys that take long, each once.
#[derive(Default)]
struct Hashes {
    state: RandomState,
    known: HashMap<NodeId, (u64, u32)>,
}

/// Longer ones are not hashed twice.
const SHORT_BYTES: u64 = 64;

impl Hashes {
    fn of(&mut self, graph: &Graph, key: NodeId) -> u64 {
        self.parts(graph, key, MAX_PARTS).0
    }

    /// The hash of a key, and the number of its parts. Of what has too many, or too many in one another, only the same object is equal.
    fn parts(&mut self, graph: &Graph, key: NodeId, depth_left: u32) -> (u64, u32) {
        let short = match graph.node(key) {
            Node::Tuple(_) => false,
            Node::Text(blob) | Node::Str(blob) | Node::Bytes(blob) | Node::Long(blob) | Node::LongText(blob) => blob.len() <= SHORT_BYTES,
            _ => true,
        };
        if short {
            return (self.state.hash_one(identity(graph, key)), 1);
        }
        if let Some(&known) = self.known.get(&key) {
            return known;
        }
        let alone = (self.state.hash_one(Identity::Object(key)), 1);
        let hash = match graph.node(key) {
            Node::Tuple(items) if items.len() > MAX_PARTS as usize || depth_left == 0 => alone,
            Node::Tuple(items) => {
                let parts: Vec<(u64, u32)> = items.iter().map(|&item| self.parts(graph, item, depth_left - 1)).collect();
                match parts.iter().map(|(_, n)| n).sum::<u32>() {
                    n if n > MAX_PARTS => alone,
                    n => (self.state.hash_one(parts.iter().map(|(hash, _)| *hash).collect::<Vec<u64>>()), n + 1),
                }
            }
            _ => (self.state.hash_one(identity(graph, key)), 1),
        };
        self.known.insert(key, hash);
        hash
    }
}

/// Whether two keys of one hash are equal.
fn is_same(graph: &Graph, a: NodeId, b: NodeId, parts_left: &mut u32) -> bool {
    if a == b {
        return true;
    }
    match (graph.tuple(a), graph.tuple(b)) {
        (Some(a), Some(b)) => {
            *parts_left = parts_left.saturating_sub(1);
            *parts_left > 0 && a.len() == b.len() && a.iter().zip(b).all(|(&a, &b)| is_same(graph, a, b, parts_left))
        }
        (None, None) => identity(graph, a) == identity(graph, b),
        _ => false,
    }
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
}
