//! Reads nodes as values: evaluates the calls that the table knows, once each, and leaves the rest inert.

mod nested;
mod storages;

use std::collections::HashSet;

use foldhash::HashMap;

use crate::container::{Document, Given};
use crate::error::{self, Error, Result};
use crate::finding::Finding;
use crate::globals::value::{Call, Part, PartContent, StorageView, Value};
use crate::globals::values::{Seen, Values};
use crate::globals::{Meaning, array, meaning, paddle};
use crate::limits::ReadOptions;
use crate::pickle::{Graph, Node, NodeId, Object, Origin};
use crate::place::Place;
use crate::room::reserve;
use crate::storage::{Content, Referred, StorageId};
use crate::tensor::Tensor;
use crate::tensor::layout::Layouts;

/// How deep lists and tuples in the arguments of a rebuild are looked into; real ones go three deep.
const MAX_ARGUMENT_DEPTH: u32 = 8;

/// How many nodes below a tensor's state are searched for other tensors.
const MAX_SEARCHED: usize = 10_000;

/// Values in the arguments of rebuilds that are looked at, each call by itself; a million tensors have some twenty each.
const MAX_ARGUMENTS: usize = 100_000_000;

/// Texts of so many bytes are counted whenever they are met.
const SHORT_TEXT: u64 = 1_024;

/// A slot of a hash map at its usual load, and a row.
const VALUE_BYTES: u64 = 24;

/// How deep rebuilds may be nested in one another's arguments. Real ones go three deep.
const MAX_REBUILD_DEPTH: usize = 32;

/// Reads the values of one document.
pub struct Reader<'a> {
    document: &'a Document,
    options: &'a ReadOptions,
    /// Nested torch files that this document is inside of.
    nesting: u64,
    depth: usize,
    storages: Vec<Referred>,
    tensors: Vec<Tensor>,
    /// By the index of the space, and the number there.
    storage_ids: HashMap<(u32, u32), StorageId>,
    /// Those on torch's meta device, by the index of the space and their key.
    meta_storages: std::collections::HashMap<(usize, String), StorageId>,
    values: Values,
    layouts: Layouts,
    /// Storages that belong to a node itself, or to it and a call that it is an argument of: array bytes, numbers.
    node_storages: HashMap<(NodeId, Option<NodeId>), StorageId>,
    /// Tensors that were given attributes of their own.
    attributes: HashMap<NodeId, Attributes>,
    /// The storages of torch files nested in the bytes of a node.
    nested: HashMap<NodeId, StorageView>,
    /// The pickles of those files.
    nested_pickles: Vec<Graph>,
    nested_findings: Vec<Finding>,
    /// The number of characters of long texts that stand for bytes.
    lengths: HashMap<NodeId, u64>,
    /// How many more arguments of rebuilds may be looked at.
    arguments_left: usize,
    /// The spaces that Paddle wrote, whose arrays of uint16 are bfloat16.
    paddle: HashSet<usize>,
}

/// What else a tensor was given.
#[derive(Debug, Clone, Default)]
pub struct Attributes {
    /// The states that give them.
    pub states: Vec<NodeId>,
    /// Whether tensors among them are parts of it, not only beside it.
    pub own: bool,
    /// Attributes that only repeat what the tensor is.
    pub repeated: &'static [&'static str],
}

/// What a [`Reader`] found besides values.
#[derive(Debug)]
pub struct Found {
    /// What the nodes are that were asked for.
    pub(crate) values: Values,
    /// Every storage that was referred to.
    pub(crate) storages: Vec<Referred>,
    /// Every tensor that was made, in order of discovery.
    pub tensors: Vec<Tensor>,
    /// The attributes of tensors that have some.
    pub attributes: HashMap<NodeId, Attributes>,
    /// The pickles of torch files that are nested in this one.
    pub nested_pickles: Vec<Graph>,
    /// What the containers of those gave reason to say.
    pub nested_findings: Vec<Finding>,
}

impl<'a> Reader<'a> {
    /// A reader of `document`.
    pub fn new(document: &'a Document, options: &'a ReadOptions) -> Self {
        Reader {
            document,
            options,
            nesting: 0,
            depth: 0,
            storages: Vec::new(),
            tensors: Vec::new(),
            storage_ids: HashMap::default(),
            meta_storages: Default::default(),
            values: Values::default(),
            layouts: Layouts::default(),
            node_storages: HashMap::default(),
            attributes: HashMap::default(),
            nested: HashMap::default(),
            nested_pickles: Vec::new(),
            nested_findings: Vec::new(),
            lengths: HashMap::default(),
            arguments_left: MAX_ARGUMENTS,
            paddle: paddle::spaces(document),
        }
    }

    /// Sets room aside for a graph of as many objects and persistent ids.
    pub(crate) fn reserve(&mut self, objects: usize, persistent: usize) {
        // Of a table all of it is touched: a tensor and its storage each have a value, other objects mostly none.
        self.values.reserve(2 * persistent);
        reserve(&mut self.tensors, objects);
        reserve(&mut self.storages, persistent);
        let _ = self.storage_ids.try_reserve(persistent);
    }

    /// The graph that is read.
    pub fn graph(&self) -> &'a Graph {
        &self.document.graph
    }

    /// The roots of the pickles of the document.
    pub fn roots(&self) -> &'a [NodeId] {
        &self.document.roots
    }

    /// Ends the reading.
    pub fn finish(self) -> Found {
        Found {
            values: self.values,
            storages: self.storages,
            tensors: self.tensors,
            attributes: self.attributes,
            nested_pickles: self.nested_pickles,
            nested_findings: self.nested_findings,
        }
    }

    /// What a node is. Evaluated once; later calls give the same tensor.
    ///
    /// # Errors
    /// A known rebuild with arguments that no library writes, a view outside its storage, a missing storage.
    pub fn value(&mut self, id: NodeId) -> Result<Value> {
        if let Some(value) = self.values.get(id).and_then(Seen::value) {
            return Ok(value);
        }
        if let Some(target) = self.graph().linked(id) {
            return self.place_of(id, target);
        }
        if let Some(given) = self.document.given.get(&id) {
            let value = match given {
                Given::Array(raw) => array::given(self, id, raw)?,
                Given::Tensor(tensor) => self.given_tensor(id, tensor)?,
                Given::Storage(key, class) => Value::Storage(self.given_storage(id, key, *class)?),
            };
            self.keep(id, &value)?;
            return Ok(value);
        }
        let value = match self.graph().node(id) {
            Node::Persistent(pid) => self.persistent(id, pid)?,
            Node::Bytes(blob) | Node::ByteArray(blob) | Node::Str(blob) => {
                return Ok(Value::Bytes(Content::Plain(self.blob_region(blob)), blob.len()));
            }
            Node::Object(object) => self.nested(id, |reader| reader.object(id, object))?,
            _ => return Ok(Value::Inert),
        };
        // There may be a million of these, and they are soon found out again.
        if !matches!(value, Value::Inert | Value::Bytes(..)) {
            self.keep(id, &value)?;
        }
        Ok(value)
    }

    /// Keeps the value of a node that has none yet.
    pub(crate) fn keep(&mut self, id: NodeId, value: &Value) -> Result<()> {
        match self.values.insert_new(id, value) {
            true => self.options.debit(VALUE_BYTES).map_err(|e| e.at(&self.place(id))),
            false => Ok(()),
        }
    }

    /// The value of a node that is only the place of `target`: its value, or that it stands for it.
    pub(crate) fn place_of(&mut self, id: NodeId, target: NodeId) -> Result<Value> {
        match self.nested(id, |reader| reader.value(target))? {
            Value::Inert => Ok(Value::StandsFor(target)),
            value => Ok(value),
        }
    }

    fn is_paddle(&self, id: NodeId) -> bool {
        !self.paddle.is_empty() && self.paddle.contains(&self.document.space_of(id))
    }

    /// Arguments of a rebuild may be rebuilds; a file cannot make that recursion deep.
    fn nested<T>(&mut self, id: NodeId, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == MAX_REBUILD_DEPTH {
            let message = format!("tensor rebuilds are nested more than {MAX_REBUILD_DEPTH} deep");
            return Err(error::tensor_invalid(&self.place(id), message));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn object(&mut self, id: NodeId, object: Object<'_>) -> Result<Value> {
        let Some(global) = self.graph().global(object.callable) else { return Ok(Value::Inert) };
        let call = |args: &[NodeId]| Call { id, name: global.path(), args: args.to_vec(), states: object.states.to_vec() };
        let meaning = meaning(&global.module, &global.name);
        if let Some(what) = self.changed_later(object, meaning) {
            let message = format!("what {} makes is then given {what}, and only running it would tell the result", global.path());
            return Err(error::opaque(&self.place(id), message));
        }
        if matches!(meaning, Some(Meaning::Rebuild(_))) && object.origin != Origin::Reduce {
            return Err(error::opaque(&self.place(id), format!("{} is a function, and the file uses it as a class", global.path())));
        }
        let args = self.graph().tuple(object.args);
        let rebuilds = matches!(meaning, Some(Meaning::Rebuild(_) | Meaning::RebuildWithState(_)));
        if rebuilds {
            let graph = self.graph();
            let settled = self.settled(id, &|arg| graph.changed_since(arg, id), args.unwrap_or_default())?
                && self.settled(id, &|part| graph.changed_since_built(part, id), object.states)?;
            if !settled {
                let message = format!("an argument of {} is changed after the call", global.path());
                return Err(error::opaque(&self.place(id), message));
            }
        }
        if let Some(array) = paddle::named(self.graph(), object).or_else(|| paddle::evaluated(self.graph(), id, object)) {
            return self.place_of(id, array);
        }
        match (meaning, args) {
            (Some(Meaning::Rebuild(rebuild) | Meaning::RebuildWithState(rebuild)), Some(args)) => {
                let value = rebuild(self, &call(args))?;
                Ok(if self.is_paddle(id) { paddle::as_bfloat16(self, value) } else { value })
            }
            (Some(Meaning::Rebuild(_) | Meaning::RebuildWithState(_)), None) => {
                Err(error::opaque(&self.place(id), format!("the arguments of {} are not a tuple", global.path())))
            }
            (Some(Meaning::Same), Some(&[value, ..])) => self.place_of(id, value),
            // `.T`, `.data` and their like are other tensors than the one that is at hand.
            (Some(Meaning::Attribute), Some(&[target, ..])) => match self.value(target)? {
                Value::Tensor(_) | Value::Lowered(..) | Value::Wrapper(..) => {
                    Err(error::opaque(&self.place(id), "an attribute of a tensor is taken, which no library writes"))
                }
                _ => Ok(Value::Inert),
            },
            (Some(Meaning::UnknownRebuild), _) => Ok(Value::Unsupported(self.unknown_rebuild(id, &global.path()))),
            // A storage is only ever an argument of a rebuild: of one that is not known, or whose name is damaged.
            (None, Some(args)) if args.iter().any(|&arg| matches!(self.graph().node(arg), Node::Persistent(_))) => {
                match args.iter().map(|&arg| self.value(arg)).collect::<Result<Vec<_>>>()?.iter().any(|v| matches!(v, Value::Storage(_))) {
                    true => Ok(Value::Unsupported(self.unknown_rebuild(id, &global.path()))),
                    false => Ok(Value::Inert),
                }
            }
            _ => Ok(Value::Inert),
        }
    }

    fn unknown_rebuild(&self, id: NodeId, path: &str) -> Error {
        let message = format!("a tensor would be made by {}, which is not a known rebuild", crate::text::quoted(path, 100));
        error::opaque(&self.place(id), message).help("leave it out with --exclude NAME to convert the rest")
    }

    /// Whether the arguments of a call are what they were when it was made. A list or dict may be filled later; Python's
    /// call saw it as it was then.
    ///
    /// # Errors
    /// When there are too many to look at, as they are when many calls share one long list.
    fn settled(&mut self, id: NodeId, changed: &dyn Fn(NodeId) -> bool, args: &[NodeId]) -> Result<bool> {
        let graph = self.graph();
        let mut level = args.to_vec();
        for _ in 0..=MAX_ARGUMENT_DEPTH {
            // Tuples may be shared; each is looked into once.
            level.sort_unstable();
            level.dedup();
            if level.iter().any(|&arg| changed(arg)) {
                return Ok(false);
            }
            let mut next = Vec::new();
            for &arg in &level {
                match graph.node(arg) {
                    Node::List(_) | Node::Dict(_) | Node::Tuple(_) => next.extend(graph.children(arg)),
                    Node::Object(size) if is_size(graph, size) => next.push(size.args),
                    _ => {}
                }
                if next.len() > self.arguments_left {
                    let message = "the tensors share more arguments than can be looked at";
                    return Err(error::opaque(&self.place(id), message));
                }
            }
            self.arguments_left -= next.len();
            level = next;
            if level.is_empty() {
                break;
            }
        }
        Ok(true)
    }

    /// What the stream does to a tensor after making it, beyond what its library writes: a second state, or items that
    /// are set. In Python that would run methods of the tensor, which can give it other data.
    fn changed_later(&self, object: Object<'_>, meaning: Option<Meaning>) -> Option<&'static str> {
        let states = match meaning {
            Some(Meaning::Rebuild(_) | Meaning::Same) => 0,
            Some(Meaning::RebuildWithState(_)) => 1,
            _ => return None,
        };
        match object {
            _ if object.states.len() > states => Some("a state"),
            _ if !object.items.is_empty() || !object.appended.is_empty() => Some("items"),
            _ if object.kwargs.is_some() => Some("keyword arguments"),
            _ => None,
        }
    }

    /// Evaluates `function(*args)`, where `function` is itself an argument of the call at `at`, and gives it `states`.
    pub(crate) fn apply(&mut self, at: &Call, function: NodeId, args: NodeId, states: &[NodeId]) -> Result<Value> {
        let graph = self.graph();
        let place = self.place(at.id);
        let global = graph
            .global(function)
            .ok_or_else(|| error::opaque(&place, format!("{} rebuilds with something that is no function", at.name)))?;
        let args = graph.tuple(args).ok_or_else(|| error::opaque(&place, format!("{} has arguments that are not a tuple", at.name)))?;
        let call = Call { id: at.id, name: global.path(), args: args.to_vec(), states: states.to_vec() };
        match meaning(&global.module, &global.name) {
            Some(Meaning::Rebuild(rebuild) | Meaning::RebuildWithState(rebuild)) => self.nested(at.id, |reader| rebuild(reader, &call)),
            _ => Ok(Value::Unsupported(self.unknown_rebuild(at.id, &global.path()))),
        }
    }

    // ---- for rebuilds ----

    pub(crate) fn place(&self, id: NodeId) -> Place {
        self.graph().place(id)
    }

    pub(crate) fn unsupported(&self, id: NodeId, what: &str) -> Error {
        error::tensor_unsupported(&self.place(id), format!("{what} cannot be converted by this version"))
            .help("leave it out with --exclude NAME to convert the rest")
    }

    /// The error for a known rebuild whose arguments are not what its library writes.
    pub(crate) fn bad_call(&self, call: &Call, what: &str) -> Error {
        let error = error::tensor_invalid(&self.place(call.id), format!("{} {what}", call.name));
        match self.depends_on_unknown(&call.args) {
            true => error::for_an_opaque_value(&error).at(&self.place(call.id)),
            false => error,
        }
    }

    /// Whether one of these values, or a part of it, is made by a call that is not known here.
    fn depends_on_unknown(&self, ids: &[NodeId]) -> bool {
        const MAX_PARTS: usize = 1_000;
        let graph = self.graph();
        let mut pending = ids.to_vec();
        for _ in 0..MAX_PARTS {
            let Some(id) = pending.pop() else { return false };
            match graph.node(id) {
                Node::Dynamic(..) => return true,
                Node::Object(object) => {
                    let known = graph.global(object.callable).and_then(|global| meaning(&global.module, &global.name));
                    if matches!(known, None | Some(Meaning::Dangerous(_) | Meaning::DangerousCall(_) | Meaning::UnknownRebuild)) {
                        return true;
                    }
                }
                Node::Tuple(items) | Node::List(items) => pending.extend(items),
                _ => {}
            }
        }
        false
    }

    /// Integers of a tuple or a `torch.Size`.
    pub(crate) fn dims(&self, call: &Call, id: NodeId) -> Result<Vec<i64>> {
        let graph = self.graph();
        if matches!(graph.node(id), Node::List(_)) {
            return Err(self.bad_call(call, "has a shape or strides in a list, which no library writes"));
        }
        let items = match graph.object(id) {
            Some(size) if is_size(graph, size) => graph.tuple(size.args).and_then(|args| args.first()).and_then(|&arg| graph.sequence(arg)),
            _ => graph.sequence(id),
        };
        let items = items.ok_or_else(|| self.bad_call(call, "has a shape or strides that are no tuple"))?;
        items.iter().map(|&item| graph.int(item).ok_or_else(|| self.bad_call(call, "has a size or stride that is no integer"))).collect()
    }

    /// A length that is counted in a text, once: any number of calls may be given the same text.
    pub(crate) fn once_for(&mut self, text: NodeId, count: impl FnOnce(&Graph) -> u64) -> u64 {
        let graph = self.graph();
        match graph.text_bytes(text) {
            0..=SHORT_TEXT => count(graph),
            _ => *self.lengths.entry(text).or_insert_with(|| count(graph)),
        }
    }

    pub(crate) fn int(&self, call: &Call, id: NodeId, what: &str) -> Result<i64> {
        self.graph().int(id).ok_or_else(|| self.bad_call(call, &format!("has no integer as {what}")))
    }

    /// Notes that the object at `state` belongs to the tensor at `id`, so that tensors in it are not lost.
    pub(crate) fn set_attributes(&mut self, id: NodeId, state: NodeId) {
        let graph = self.graph();
        let is_empty = match graph.node(state) {
            Node::None | Node::Dict([]) | Node::Tuple([]) => true,
            // The hooks of a tensor, which nearly never are any.
            Node::Object(object) => graph.tuple(object.args) == Some(&[]) && graph.children(state).eq([object.callable, object.args]),
            _ => false,
        };
        if is_empty {
            return;
        }
        self.attributes.entry(id).or_default().states.push(state);
    }

    /// Notes attributes that only repeat what the tensor at `id` is.
    pub(crate) fn repeated_attributes(&mut self, id: NodeId, names: &'static [&'static str]) {
        self.attributes.entry(id).or_default().repeated = names;
    }

    /// Notes that tensors among the attributes of the one at `id` are parts of it.
    pub(crate) fn own_attributes(&mut self, id: NodeId) {
        self.attributes.entry(id).or_default().own = true;
    }

    /// Gives the tensor at `id` the attributes of the one at `data`, which it is made of.
    pub(crate) fn inherit_attributes(&mut self, id: NodeId, data: NodeId) {
        if let Some(inherited) = self.attributes.get(&data).cloned() {
            let own = self.attributes.entry(id).or_default();
            own.states.extend(inherited.states);
            own.own |= inherited.own;
            own.repeated = if own.repeated.is_empty() { inherited.repeated } else { own.repeated };
        }
    }

    /// Whether a tensor is at or below a node; true, too, when finding that out would take too long.
    pub(crate) fn may_hold_tensors(&self, id: NodeId) -> bool {
        let graph = self.graph();
        let mut seen = HashSet::from([id]);
        let mut pending = vec![id];
        while let Some(id) = pending.pop() {
            if seen.len() > MAX_SEARCHED || matches!(graph.node(id), Node::Persistent(_) | Node::Given) {
                return true;
            }
            let global = graph.object(id).and_then(|object| graph.global(object.callable));
            let rebuild = global.and_then(|global| meaning(&global.module, &global.name));
            if matches!(rebuild, Some(Meaning::Rebuild(_) | Meaning::RebuildWithState(_))) {
                return true;
            }
            pending.extend(graph.children(id).filter(|child| seen.insert(*child)).take(MAX_SEARCHED + 1));
        }
        false
    }

    /// The dtype of a part, as torch calls it.
    pub(crate) fn dtype_of(&self, part: &Part) -> Option<String> {
        match part.content {
            PartContent::Tensor(id) => Some(self.tensor_ref(id).dtype.name().to_owned()),
            PartContent::Absent(_) => None,
        }
    }
}

fn is_size(graph: &Graph, object: Object<'_>) -> bool {
    graph.global(object.callable).is_some_and(|global| global.path() == "torch.Size")
}
