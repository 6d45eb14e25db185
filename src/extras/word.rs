//! Objects that Python shows as one word: paths, enums, dates, numbers of numpy. In the extras they are text or numbers, and
//! not the pieces that they are pickled as.

use serde_json::{Value, json};

use crate::numpy::NumpyDtype;
use crate::pickle::{Graph, Node, NodeId, Object, Origin};
use crate::tensor::Dtype;

/// Arguments longer than this are no word.
const MAX_TEXT: usize = 1024;
/// A call with more arguments than this is no word.
const MAX_ARGS: usize = 8;

/// The word for an object, if it has one. Nothing that was changed after it was made has one.
pub(super) fn word(graph: &Graph, object: Object<'_>) -> Option<Value> {
    let is_plain = object.states.is_empty() && object.items.is_empty() && object.appended.is_empty() && object.kwargs.is_none();
    let args = graph.tuple(object.args)?;
    let class = class(graph, object.callable)?;
    if !is_plain || object.origin == Origin::New {
        return None;
    }
    let (module, name) = class.rsplit_once('.').unwrap_or(("", &class));
    match (module, name) {
        ("pathlib" | "pathlib._local", _) => path(graph, name, args).map(Value::String),
        ("datetime", "date" | "datetime" | "time") => date(graph, name, args).map(Value::String),
        ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => number(graph, args),
        ("_codecs", "encode") => {
            let &[text, codec] = args else { return None };
            let latin = graph.is_word(codec, &["latin1", "latin-1"]);
            latin_bytes(graph, text).filter(|_| latin).map(|bytes| json!({ "$bytes": super::hex(bytes.iter()) }))
        }
        ("torch.serialization", "_get_layout") => short(graph, *args.first()?).map(|layout| json!(layout)),
        _ => call(graph, &class, args).map(Value::String),
    }
}

/// The name of a class: also of one inside another, below pickle protocol 4 `getattr(Outer, 'Inner')`.
pub(super) fn class(graph: &Graph, callable: NodeId) -> Option<String> {
    if let Some(global) = graph.global(callable) {
        return Some(global.path());
    }
    let object = graph.object(callable)?;
    let getattr = graph
        .global(object.callable)
        .is_some_and(|global| global.name == "getattr" && matches!(global.module.as_str(), "builtins" | "__builtin__"));
    match graph.tuple(object.args)? {
        &[outer, inner] if getattr => Some(format!("{}.{}", graph.global(outer)?.path(), short(graph, inner)?)),
        _ => None,
    }
}

/// `Color(1)`: a call whose arguments are plain values, as an enum and most small values are pickled.
fn call(graph: &Graph, class: &str, args: &[NodeId]) -> Option<String> {
    if args.is_empty() || args.len() > MAX_ARGS {
        return None;
    }
    let shown: Vec<String> = args.iter().map(|&arg| plain(graph, arg)).collect::<Option<_>>()?;
    Some(format!("{class}({})", shown.join(", ")))
}

/// A text that may be part of a word.
fn short(graph: &Graph, id: NodeId) -> Option<&str> {
    if graph.text_bytes(id) <= MAX_TEXT as u64 { graph.str(id) } else { None }
}

fn plain(graph: &Graph, id: NodeId) -> Option<String> {
    match graph.node(id) {
        Node::None => Some("None".to_owned()),
        Node::Bool(true) => Some("True".to_owned()),
        Node::Bool(false) => Some("False".to_owned()),
        Node::Int(value) => Some(value.to_string()),
        Node::Float(value) => Some(crate::names::float_repr(value)),
        Node::Text(_) | Node::Str(_) => short(graph, id).map(|text| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))),
        _ => None,
    }
}

/// The parts of a path, of which the first may be the root.
fn path(graph: &Graph, class: &str, args: &[NodeId]) -> Option<String> {
    let separator = if class.contains("Windows") { "\\" } else { "/" };
    let parts: Vec<&str> = args.iter().map(|&part| short(graph, part)).collect::<Option<_>>()?;
    Some(match parts.split_first() {
        None => ".".to_owned(),
        Some((root, rest)) if root.ends_with(separator) => format!("{root}{}", rest.join(separator)),
        _ => parts.join(separator),
    })
}

/// ISO 8601 of what Python packs into 4, 6 or 10 bytes. One with a time zone is no word.
fn date(graph: &Graph, class: &str, args: &[NodeId]) -> Option<String> {
    let &[packed] = args else { return None };
    let bytes = bytes(graph, packed)?;
    let time = |bytes: &[u8]| match *bytes {
        [hour, minute, second, a, b, c] => {
            let micros = u32::from_be_bytes([0, a, b, c]);
            let fraction = if micros == 0 { String::new() } else { format!(".{micros:06}") };
            Some(format!("{:02}:{minute:02}:{second:02}{fraction}", hour & 0x7f)) // the top bit says which of two equal hours
        }
        _ => None,
    };
    // The top bit of the month says the same.
    let day = |bytes: &[u8; 4]| format!("{:04}-{:02}-{:02}", u16::from_be_bytes([bytes[0], bytes[1]]), bytes[2] & 0x7f, bytes[3]);
    match (class, bytes.as_slice()) {
        ("date", [a, b, c, d]) => Some(day(&[*a, *b, *c, *d])),
        ("datetime", [a, b, c, d, rest @ ..]) => Some(format!("{}T{}", day(&[*a, *b, *c, *d]), time(rest)?)),
        ("time", rest) => time(rest),
        _ => None,
    }
}

/// `scalar(dtype, bytes)`
fn number(graph: &Graph, args: &[NodeId]) -> Option<Value> {
    let &[dtype, data] = args else { return None };
    let NumpyDtype::Plain { dtype, big_endian } = NumpyDtype::from_pickle(graph, dtype).ok()? else { return None };
    let mut bytes = bytes(graph, data)?;
    if bytes.len() != usize::from(dtype.item_bytes()) {
        return None;
    }
    if big_endian {
        bytes.reverse();
    }
    let mut wide = [0; 8];
    wide.get_mut(..bytes.len())?.copy_from_slice(&bytes);
    let bits = u64::from_le_bytes(wide);
    let unused = 64 - 8 * u32::try_from(bytes.len()).ok()?;
    let signed = (bits << unused).cast_signed() >> unused;
    let float = |value: f64| if value.is_finite() { json!(value) } else { json!({ "$float": value.to_string() }) };
    Some(match dtype {
        Dtype::BOOL => json!(bits != 0),
        Dtype::I8 | Dtype::I16 | Dtype::I32 | Dtype::I64 => json!(signed),
        Dtype::U8 | Dtype::U16 | Dtype::U32 | Dtype::U64 => json!(bits),
        Dtype::F32 => float(f64::from(f32::from_bits(u32::try_from(bits).ok()?))),
        Dtype::F64 => float(f64::from_bits(bits)),
        _ => return None,
    })
}

/// A few bytes, also as Python 3 writes them below protocol 3: `_codecs.encode(text, 'latin1')`.
fn bytes(graph: &Graph, id: NodeId) -> Option<Vec<u8>> {
    match graph.node(id) {
        Node::Bytes(blob) | Node::Str(blob) => Some(graph.blob(blob).to_vec()).filter(|bytes| bytes.len() <= MAX_TEXT),
        Node::Object(object) if graph.global(object.callable).is_some_and(|global| global.path() == "_codecs.encode") => {
            let &[text, _] = graph.tuple(object.args)? else { return None };
            latin_bytes(graph, text)
        }
        _ => None,
    }
}

/// The bytes that a short text of Latin-1 stands for.
fn latin_bytes(graph: &Graph, text: NodeId) -> Option<Vec<u8>> {
    short(graph, text)?.chars().map(|c| u8::try_from(c).ok()).collect()
}
