//! From a place in the tree of the checkpoint to the name of a tensor, by written rules.
//!
//! The parts of a path are joined with `.`. A dict key gives: text as it is; a Python 2 string as UTF-8 where it is,
//! else as Latin-1; bytes as Latin-1; an int in decimal; a bool or `None` by its word; a float as Python's `repr`; a
//! tuple its items joined with `.`; a class its `module.name`. Lists, tuples and sets give the index, objects the
//! attribute. Other keys, and text that is not Unicode, have no name.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::error::{self, Result};
use crate::pickle::{Blob, Graph, Node, NodeId, Text};

/// A name that safetensors can carry: never `__metadata__`, and within the limit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorName(String);

/// The name that safetensors keeps for itself.
const RESERVED: &str = "__metadata__";

impl TensorName {
    /// Checks a name; `path` is what it was made from, for the message.
    ///
    /// # Errors
    /// `name-invalid` for `__metadata__`; the limit on the length of a name.
    pub fn new(name: String, path: &dyn Fn() -> String, limits: &crate::Limits) -> Result<Self> {
        if name == RESERVED {
            let error = error::name_invalid(&path(), "safetensors keeps the name \"__metadata__\" for itself");
            return Err(error.help("give it another one with --rename __metadata__=NEW"));
        }
        limits.name_bytes(name.len() as u64)?;
        Ok(TensorName(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TensorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One step from a container to something in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The part of the tensor's name.
    pub name: Arc<str>,
    /// For tuple keys, how Python would write them.
    pub shown: Option<Arc<str>>,
    /// What kind of step it is.
    pub kind: StepKind,
    /// Why no name can be made of it.
    pub problem: Option<&'static str>,
}

/// The kinds of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// A dict key that is text.
    Key,
    /// A dict key that is something else.
    OtherKey,
    /// A position in a list, tuple or set.
    Index,
    /// An attribute of an object.
    Attribute,
    /// A parameter, buffer or submodule of an `nn.Module`.
    Module,
}

impl Step {
    pub(crate) fn new(kind: StepKind, name: impl Into<Arc<str>>) -> Self {
        Step { name: name.into(), shown: None, kind, problem: None }
    }

    pub(crate) fn index(index: usize) -> Self {
        Step::new(StepKind::Index, index.to_string())
    }

    /// The step to the value of a dict's key.
    pub(crate) fn key(graph: &Graph, key: NodeId) -> Self {
        let (mut name, mut problem) = key_name(graph, key, &mut MAX_KEY_PARTS.clone());
        if name.len() > MAX_KEY_BYTES {
            problem = problem.or(Some("its key is longer than 64 KiB"));
            name = name.chars().take(80).collect();
        }
        let kind = if graph.text(key).is_some() { StepKind::Key } else { StepKind::OtherKey };
        let shown = graph.tuple(key).map(|_| key_repr(graph, key).into());
        Step { name: name.into(), shown, kind, problem }
    }
}

/// As Python would write the access: `["a"]`, `[0]`, `.weight`.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = crate::text::printable(self.shown.as_deref().unwrap_or(&self.name));
        match self.kind {
            StepKind::Key => write!(f, "[{}]", crate::text::quoted(&self.name, 200)),
            StepKind::OtherKey | StepKind::Index => write!(f, "[{shown}]"),
            StepKind::Attribute | StepKind::Module => write!(f, ".{shown}"),
        }
    }
}

/// A tuple with more parts than this, its inner ones included, gives no name: shared tuples can nest without end.
const MAX_KEY_PARTS: u32 = 256;
/// A longer key gives no name, whatever the limit on names.
const MAX_KEY_BYTES: usize = 64 << 10;

/// A tuple key as Python would write it, as far as a message needs.
fn key_repr(graph: &Graph, key: NodeId) -> String {
    match graph.node(key) {
        Node::Tuple(items) => {
            let shown: Vec<String> = items
                .iter()
                .take(8)
                .map(|&item| if graph.tuple(item).is_some() { "(...)".to_owned() } else { key_repr(graph, item) })
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
        _ => key_name(graph, key, &mut 8).0.chars().take(40).collect(),
    }
}

fn key_name(graph: &Graph, key: NodeId, parts_left: &mut u32) -> (String, Option<&'static str>) {
    match graph.node(key) {
        Node::Text(_) => match graph.text(key) {
            Some(Text::Utf8(text)) => (text.to_owned(), None),
            Some(text) => (text.lossy().into_owned(), Some("its key has a lone surrogate, which is not Unicode text")),
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
                    None => return (name, Some("its key is a tuple of too many parts")),
                }
                let (part, problem) = key_name(graph, item, parts_left);
                if problem.is_some() {
                    return (name, problem);
                }
                if i > 0 {
                    name.push('.');
                }
                name.push_str(&part);
                if name.len() > MAX_KEY_BYTES {
                    return (name, Some("its key is longer than 64 KiB"));
                }
            }
            (name, None)
        }
        Node::Long(blob) if blob.len() <= MAX_INTEGER_BYTES => (decimal(graph.blob(*blob)), None),
        Node::LongText(blob) => (latin1(graph.blob(*blob)), None),
        Node::Long(_) => ("<int>".to_owned(), Some("its key is an integer of more than a thousand bits")),
        // Bytes as Python 3 writes them below protocol 3.
        Node::Object(object) if graph.global(object.callable).is_some_and(|global| global.path() == "_codecs.encode") => {
            match graph.tuple(object.args) {
                Some(&[text, codec]) if matches!(graph.str(codec), Some("latin1" | "latin-1")) => {
                    (graph.str(text).unwrap_or_default().to_owned(), None)
                }
                _ => ("<bytes>".to_owned(), Some("its key is bytes in an encoding that is not Latin-1")),
            }
        }
        _ => ("<object>".to_owned(), Some("its key is an object, for which there is no naming rule")),
    }
}

/// Text this long gives no name, so that it does not matter which of several equal ones wins.
fn is_too_long(blob: Blob) -> bool {
    blob.len() > MAX_KEY_BYTES as u64
}

/// What tells two keys of one dict apart, as Python's `==` does: `True == 1 == 1.0`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum KeyIdentity<'a> {
    None,
    /// A number with an integer value, in decimal.
    Integer(String),
    /// The bits of another float.
    Float(u64),
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    Global(&'a str, &'a str),
    Tuple(Vec<KeyIdentity<'a>>),
    /// Only the same object is equal to it.
    Object(NodeId),
}

fn key_identity<'a>(graph: &'a Graph, key: NodeId, parts_left: &mut u32) -> KeyIdentity<'a> {
    match graph.node(key) {
        Node::None => KeyIdentity::None,
        Node::Bool(value) => KeyIdentity::Integer(u8::from(*value).to_string()),
        Node::Int(value) => KeyIdentity::Integer(value.to_string()),
        Node::Long(blob) if blob.len() <= MAX_INTEGER_BYTES => KeyIdentity::Integer(decimal(graph.blob(*blob))),
        Node::LongText(blob) => KeyIdentity::Integer(latin1(graph.blob(*blob))),
        Node::Float(value) if value.is_nan() => KeyIdentity::Object(key),
        Node::Float(value) if value.trunc() == *value && value.is_finite() => KeyIdentity::Integer(format!("{:.0}", value + 0.0)),
        Node::Float(value) => KeyIdentity::Float(value.to_bits()),
        // In Python 3 both are text; a Python 2 string that is no UTF-8 is its bytes.
        Node::Text(blob) | Node::Str(blob) if !is_too_long(*blob) => KeyIdentity::Text(graph.blob(*blob)),
        Node::Bytes(blob) if !is_too_long(*blob) => KeyIdentity::Bytes(graph.blob(*blob)),
        Node::Global(_) => graph.global(key).map_or(KeyIdentity::Object(key), |global| KeyIdentity::Global(&global.module, &global.name)),
        Node::Tuple(items) => {
            let mut parts = Vec::new();
            for &item in items {
                match parts_left.checked_sub(1) {
                    Some(left) => *parts_left = left,
                    None => return KeyIdentity::Object(key),
                }
                parts.push(key_identity(graph, item, parts_left));
            }
            KeyIdentity::Tuple(parts)
        }
        _ => KeyIdentity::Object(key),
    }
}

/// The pairs of a dict as Python would hold them: for equal keys the first position and the last value.
pub(crate) fn unique_pairs(graph: &Graph, pairs: impl IntoIterator<Item = (NodeId, NodeId)>) -> (Vec<(NodeId, NodeId)>, Option<NodeId>) {
    let mut positions: HashMap<KeyIdentity, usize> = HashMap::new();
    let mut unique: Vec<(NodeId, NodeId)> = Vec::new();
    let mut duplicate = None;
    for (key, value) in pairs {
        match positions.entry(key_identity(graph, key, &mut MAX_KEY_PARTS.clone())) {
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
fn float_repr(value: f64) -> String {
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

/// The paths of a tree, each a step from another one, so that a million of them share their beginnings.
#[derive(Debug, Clone)]
pub struct Paths {
    steps: Vec<(PathId, Step)>,
}

/// A path from the root of the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathId(u32);

impl PathId {
    /// The root itself.
    pub const ROOT: PathId = PathId(0);
}

impl Default for Paths {
    fn default() -> Self {
        Paths { steps: vec![(PathId::ROOT, Step::new(StepKind::Attribute, ""))] }
    }
}

impl Paths {
    pub(crate) fn push(&mut self, parent: PathId, step: Step) -> PathId {
        self.steps.push((parent, step));
        PathId((self.steps.len() - 1) as u32) // bounded by the limit on tensors and the depth of each
    }

    /// Forgets `path` and all that were made after it.
    pub(crate) fn forget_from(&mut self, path: PathId) {
        self.steps.truncate((path.0 as usize).max(1));
    }

    /// The steps from the root to `path`.
    pub fn steps(&self, path: PathId) -> Vec<&Step> {
        self.ids(path).into_iter().map(|id| &self.steps[id.0 as usize].1).collect()
    }

    /// The paths from the root (not included) to `path` (included).
    pub(crate) fn ids(&self, mut path: PathId) -> Vec<PathId> {
        let mut ids = Vec::new();
        while path != PathId::ROOT {
            ids.push(path);
            path = self.steps[path.0 as usize].0;
        }
        ids.reverse();
        ids
    }

    /// The path as Python would write the access; `root` for the root.
    pub fn show(&self, path: PathId) -> String {
        let steps = self.steps(path);
        if steps.is_empty() { "root".to_owned() } else { steps.iter().map(ToString::to_string).collect() }
    }

    /// The dotted name of `path` below the path `root`, or why there is none.
    ///
    /// # Errors
    /// `name-invalid` when a step has no name; the limit on the length of a name, before it is made.
    pub(crate) fn name_below(&self, root: PathId, path: PathId, limits: &crate::Limits) -> Result<String> {
        let skipped = self.ids(root).len();
        let steps = self.steps(path);
        let below = &steps[skipped..];
        if let Some(problem) = below.iter().find_map(|step| step.problem) {
            return Err(error::name_invalid(&self.show(path), problem).help("leave it out with --root or --exclude"));
        }
        if below.is_empty() {
            return Ok("tensor".to_owned());
        }
        let bytes: usize = below.iter().map(|step| step.name.len() + 1).sum();
        limits.name_bytes(bytes as u64 - 1)?;
        Ok(below.iter().map(|step| &*step.name).collect::<Vec<_>>().join("."))
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

    #[test]
    fn metadata_is_no_name() {
        let path = || "x".to_owned();
        let limits = crate::Limits::default();
        let error = TensorName::new("__metadata__".into(), &path, &limits).unwrap_err();
        assert!(error.advice().unwrap().contains("--rename"));
        assert!(TensorName::new("a".repeat(5000), &path, &limits).is_err());
        assert!(TensorName::new(String::new(), &path, &limits).is_ok());
    }
}
