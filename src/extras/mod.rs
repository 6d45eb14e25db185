//! Everything of a checkpoint that is no tensor, as JSON: hyper-parameters, epochs, names.
//!
//! A tensor is `{"$tensor": path}`. A container that was written before, or that contains itself, is `{"$ref": path}`,
//! so that the output is never larger than the input asks for. Objects carry their class in `$class`, what JSON cannot
//! hold carries its kind: `$bytes` (hex), `$int`, `$float`, `$global`, `$text` (lone surrogates replaced), `$storage`, and `$cut` for nesting without end.

mod word;

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::checkpoint::{Checkpoint, mapping_pairs, state_entries};
use crate::error::Result;
use crate::globals::{Meaning, meaning};
use crate::limits::{Limits, ReadOptions};
use crate::names::{PathId, Paths, Step, StepKind, integer, unique_pairs};
use crate::output::Pending;
use crate::pickle::{Graph, Node, NodeId, Object, Text};

/// Bytes values longer than this are only counted.
const MAX_BYTES: u64 = 4096;
/// Memory that a value takes until it is written: its key, its place in the list or map, an allocation for each.
const VALUE_BYTES: usize = 200;
/// A slot of a table at its usual load.
const LEAF_BYTES: u64 = 24;
/// Containers nested deeper than this are cut; readers of JSON overflow their stack not much further.
const MAX_DEPTH: usize = 200;

/// The extras of a checkpoint, written to a file that will be called `path`.
///
/// # Errors
/// `io`, and the limit on memory when texts that the checkpoint repeats would make the file too large.
pub(crate) fn write(checkpoint: &Checkpoint, options: &ReadOptions, path: &Path) -> Result<Pending> {
    let graph = &checkpoint.document.graph;
    let tensors = checkpoint.leaves.iter().map(|leaf| (leaf.node, leaf.path)).collect();
    let (done, paths) = (HashMap::new(), Paths::default());
    options.debit(checkpoint.leaves.len() as u64 * LEAF_BYTES)?;
    let mut writer = Writer { checkpoint, graph, limits: &options.limits, tensors, done, paths, bytes: options.memory() };
    let value = writer.run()?;
    Pending::with_content(path, |out| writeln!(out, "{value:#}"))
}

struct Writer<'a> {
    checkpoint: &'a Checkpoint,
    graph: &'a Graph,
    limits: &'a Limits,
    tensors: HashMap<NodeId, PathId>,
    /// The paths of containers that were written.
    done: HashMap<NodeId, PathId>,
    paths: Paths,
    /// Bytes of memory for the checkpoint and for what was written.
    bytes: u64,
}

/// A container whose values are being written.
struct Frame {
    shape: Shape,
    path: PathId,
    rest: std::vec::IntoIter<(String, NodeId)>,
    key: String,
}

enum Shape {
    List(Vec<Value>),
    Map(Map<String, Value>),
}

impl Frame {
    fn add(&mut self, value: Value) {
        match &mut self.shape {
            Shape::List(items) => items.push(value),
            Shape::Map(map) => {
                // Keys of different types may have one spelling; none may be lost.
                let mut key = std::mem::take(&mut self.key);
                while map.contains_key(&key) {
                    key.push('\'');
                }
                map.insert(key, value);
            }
        }
    }

    fn close(self) -> Value {
        match self.shape {
            Shape::List(items) => Value::Array(items),
            Shape::Map(map) => Value::Object(map),
        }
    }
}

/// A value is either written or a container that is still to be filled.
enum Opened {
    Value(Value),
    Container(Frame),
}

impl Writer<'_> {
    /// With a stack of its own: the depth of a file must not become the depth of ours.
    fn run(&mut self) -> Result<Value> {
        let mut frames: Vec<Frame> = Vec::new();
        let mut next = self.open(self.graph.root(), PathId::ROOT, "", 0)?;
        loop {
            match next {
                Opened::Container(frame) => frames.push(frame),
                Opened::Value(value) => match frames.last_mut() {
                    Some(frame) => frame.add(value),
                    None => return Ok(value),
                },
            }
            let depth = frames.len();
            let Some(frame) = frames.last_mut() else { unreachable!("a value without a frame was returned") };
            next = match frame.rest.next() {
                Some((key, child)) => {
                    frame.key.clone_from(&key);
                    self.open(child, frame.path, &key, depth)?
                }
                None => Opened::Value(frames.pop().map_or(Value::Null, Frame::close)),
            };
        }
    }

    fn open(&mut self, node: NodeId, parent: PathId, key: &str, depth: usize) -> Result<Opened> {
        self.debit(key.len())?;
        let node = self.resolve(node);
        if let Some(&path) = self.tensors.get(&node) {
            return self.reference("$tensor", &self.checkpoint.paths.show(path));
        }
        let graph = self.graph;
        if let Node::Object(object) = graph.node(node)
            && let Some(word) = word::word(graph, object)
        {
            self.debit(text_bytes(&word))?;
            return Ok(Opened::Value(word));
        }
        // What an object holds is counted when it is known, but no object may hold more than the checkpoint does.
        match graph.node(node) {
            Node::Object(_) => {}
            Node::Dict(pairs) => self.debit_values(pairs.len())?,
            _ => self.debit_values(graph.children(node).count())?,
        }
        let (shape, rest) = match graph.node(node) {
            Node::Tuple(items) | Node::List(items) | Node::Set(items) | Node::FrozenSet(items) => (Shape::List(Vec::new()), indexed(items)),
            Node::Dict(pairs) => (Shape::Map(Map::new()), self.keyed(pairs)),
            Node::Object(object) => {
                let (shape, rest) = self.object(object);
                self.debit_values(rest.len())?;
                (shape, rest)
            }
            simple => {
                let value = self.simple(node, simple);
                self.debit(text_bytes(&value))?;
                return Ok(Opened::Value(value));
            }
        };
        let mut rest = rest;
        rest.extend(graph.attached(node).iter().map(|(name, value)| (name.clone(), *value)));
        let mut path = parent;
        if !rest.is_empty() {
            if let Some(&first) = self.done.get(&node) {
                return self.reference("$ref", &self.paths.show(first));
            }
            if depth >= MAX_DEPTH {
                return Ok(Opened::Value(json!({ "$cut": format!("nested more than {MAX_DEPTH} deep") })));
            }
            if depth > 0 {
                path = self.paths.push(parent, Step::new(StepKind::Key, key.to_owned()));
            }
            self.done.insert(node, path);
        }
        Ok(Opened::Container(Frame { shape, path, rest: rest.into_iter(), key: String::new() }))
    }

    /// The value that stands at a node which is only its place, or the place itself when it is a tensor.
    fn resolve(&self, mut node: NodeId) -> NodeId {
        let graph = self.graph;
        let mut seen = HashSet::new();
        // One that stands for itself ends at itself.
        while !self.tensors.contains_key(&node) && seen.insert(node) {
            let inside = || graph.object(node).and_then(|object| same(graph, object).or_else(|| items(graph, object)));
            match graph.linked(node).or_else(inside) {
                Some(value) => node = value,
                None => break,
            }
        }
        node
    }

    fn reference(&mut self, kind: &str, path: &str) -> Result<Opened> {
        self.debit(path.len())?;
        Ok(Opened::Value(json!({ kind: path })))
    }

    /// What is shared in the checkpoint is repeated here; a file must not grow without end by that.
    fn debit(&mut self, bytes: usize) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        self.limits.memory_bytes(self.bytes)
    }

    /// Debits the values that a container will hold.
    fn debit_values(&mut self, n: usize) -> Result<()> {
        self.debit(n.saturating_mul(VALUE_BYTES))
    }

    fn keyed(&self, pairs: &[(NodeId, NodeId)]) -> Vec<(String, NodeId)> {
        let (unique, _) = unique_pairs(self.graph, pairs.iter().copied());
        unique.into_iter().map(|(key, value)| (Step::key(self.graph, key).name.to_string(), value)).collect()
    }

    fn object(&self, object: Object<'_>) -> (Shape, Vec<(String, NodeId)>) {
        let graph = self.graph;
        let global = graph.global(object.callable);
        let meaning = global.and_then(|global| meaning(&global.module, &global.name));
        let args = graph.tuple(object.args).unwrap_or_default();
        if matches!(meaning, Some(Meaning::Sequence)) || global.is_some_and(|global| global.path() == "torch.Size") {
            let given = args.first().and_then(|&arg| graph.sequence(arg)).unwrap_or_default();
            return (Shape::List(Vec::new()), indexed(&[given, object.appended].concat()));
        }
        if matches!(meaning, Some(Meaning::Mapping)) {
            return (Shape::Map(Map::new()), self.keyed(&mapping_pairs(graph, object)));
        }
        let mut map = Map::new();
        map.insert("$class".to_owned(), json!(word::class(graph, object.callable)));
        let mut rest: Vec<(String, NodeId)> = Vec::new();
        if !args.is_empty() {
            rest.push(("$args".to_owned(), object.args));
        }
        rest.extend(object.kwargs.map(|kwargs| ("$kwargs".to_owned(), kwargs)));
        rest.extend(self.keyed(object.items));
        rest.extend(indexed(object.appended));
        rest.extend(
            state_entries(graph, object.states, &|_| true).into_iter().map(|entry| (entry.step(graph).name.to_string(), entry.node)),
        );
        (Shape::Map(map), rest)
    }

    fn simple(&self, id: NodeId, node: Node<'_>) -> Value {
        match node {
            Node::Bool(value) => json!(value),
            Node::Int(value) => json!(value),
            Node::Long(blob) => match integer(self.graph.blob(blob)) {
                Some(digits) => json!({ "$int": digits }),
                None => json!({ "$int": format!("{} bytes", blob.len()) }),
            },
            Node::LongText(blob) => json!({ "$int": String::from_utf8_lossy(self.graph.blob(blob)) }),
            Node::Float(value) if value.is_finite() => json!(value),
            Node::Float(value) => json!({ "$float": value.to_string() }),
            Node::Text(_) | Node::Str(_) => match self.graph.text(id) {
                Some(Text::Utf8(text)) => json!(text),
                Some(text) => json!({ "$text": text.lossy() }),
                None => json!(&*Step::key(self.graph, id).name), // a Python 2 string that is not UTF-8, as Latin-1
            },
            Node::Bytes(blob) | Node::ByteArray(blob) if blob.len() <= MAX_BYTES => json!({ "$bytes": hex(self.graph.blob(blob).iter()) }),
            Node::Bytes(blob) | Node::ByteArray(blob) => json!({ "$bytes": format!("{} bytes", blob.len()) }),
            Node::Global(_) => json!({ "$global": self.graph.global(id).map(|global| global.path()) }),
            Node::Persistent(_) => json!({ "$storage": self.graph.place(id).to_string() }),
            _ => Value::Null,
        }
    }
}

/// The items of a numpy array of objects, whose state is `(version, shape, dtype, is_fortran, items)`; of one without dimensions
/// the only item.
fn items(graph: &Graph, object: Object<'_>) -> Option<NodeId> {
    let global = graph.global(object.callable)?;
    let known = global.name == "_reconstruct" && global.module.starts_with("numpy.");
    let &[.., shape, _, _, items] = graph.tuple(*object.states.first()?)? else { return None };
    match graph.node(items) {
        Node::List(list) if known => match (graph.tuple(shape)?, list) {
            ([], &[only]) => Some(only),
            _ => Some(items),
        },
        _ => None,
    }
}

/// What a call gives back that only says the type of its argument.
fn same(graph: &Graph, object: Object<'_>) -> Option<NodeId> {
    let global = graph.global(object.callable)?;
    let Some(Meaning::Same) = meaning(&global.module, &global.name) else { return None };
    graph.tuple(object.args)?.first().copied()
}

fn text_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Object(map) => map.values().filter_map(Value::as_str).map(str::len).sum(),
        _ => 0,
    }
}

fn indexed(items: &[NodeId]) -> Vec<(String, NodeId)> {
    items.iter().enumerate().map(|(i, &item)| (i.to_string(), item)).collect()
}

fn hex<'a>(bytes: impl Iterator<Item = &'a u8>) -> String {
    bytes.map(|byte| format!("{byte:02x}")).collect()
}
