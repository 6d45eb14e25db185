//! From the graph to the tree of tensors: what is where, under which path, and what has no data.
//!
//! Nothing here decides what is written; that is `select`'s business. Nothing is called; an object of an unknown class
//! is walked through its state, an `nn.Module` by the rules of its `state_dict()`.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use crate::container::Document;
use crate::error::{self, Error, Result};
use crate::finding::Finding;
use crate::globals::{Absence, Meaning, Reader, TensorId, Value, meaning};
use crate::limits::ReadOptions;
use crate::names::{PathId, Paths, Step, StepKind, unique_pairs};
use crate::pickle::{Graph, Node, NodeId, Object, Origin};
use crate::storage::Storage;
use crate::tensor::Tensor;

/// A checkpoint, read and not yet written.
#[derive(Debug)]
pub struct Checkpoint {
    /// The container and the graph.
    pub document: Document,
    /// Every storage that the graph refers to.
    pub storages: Vec<Storage>,
    /// Every tensor that the graph rebuilds.
    pub tensors: Vec<Tensor>,
    /// Every place in the tree where a tensor is, in the order of the file.
    pub leaves: Vec<Leaf>,
    /// The paths of the leaves.
    pub paths: Paths,
    /// The pickles of torch files that are nested in this one.
    pub nested_pickles: Vec<Graph>,
    /// What understanding it gave reason to say.
    pub findings: Vec<Finding>,
}

/// A place in the tree where a tensor is or would be.
#[derive(Debug, Clone)]
pub struct Leaf {
    pub path: PathId,
    /// For a part of a tensor that is more than one buffer, what is added to its name: `.scale`; else empty.
    pub part: &'static str,
    /// The node that is the tensor.
    pub node: NodeId,
    /// What is there.
    pub content: Content,
    /// Why it is no part of the model although it has data: an attribute that `state_dict()` does not give.
    pub aside: Option<&'static str>,
}

/// What is at a leaf.
#[derive(Debug, Clone)]
pub enum Content {
    Tensor(TensorId),
    Absent(Absence),
    Unsupported(Error),
}

/// Why a document cannot be understood, and the nested pickles that were read until then: what they would run must not
/// be lost with the rest.
#[derive(Debug)]
pub struct NotUnderstood {
    pub error: Error,
    pub nested_pickles: Vec<Graph>,
}

/// Steps into containers after which a walk is given up; only a file made to be walked forever needs them.
const MAX_VISITS: u64 = 10_000_000;

const NOT_IN_STATE_DICT: &str = "it is an attribute of a module and not in its state_dict()";
const NON_PERSISTENT: &str = "it is a non-persistent buffer of a module and not in its state_dict()";
const OF_A_TENSOR: &str = "it is an attribute of another tensor";

impl Checkpoint {
    /// Understands a document.
    ///
    /// # Errors
    /// Whatever is wrong with a tensor in it, and the limits on tensors and depth.
    pub fn of(document: Document, options: &ReadOptions) -> Result<Checkpoint, Box<NotUnderstood>> {
        let graph = &document.graph;
        let mut reader = Reader::new(&document, options);
        let values = evaluate(&mut reader);
        let found = reader.finish();
        let values = match values {
            Ok(values) => values,
            Err(error) => return Err(Box::new(NotUnderstood { error, nested_pickles: found.nested_pickles })),
        };
        let holds = holding(graph, values.keys().copied());
        let mut walk = Walk {
            graph,
            options,
            values,
            attributes: found.attributes,
            holds,
            inside: HashMap::new(),
            paths: Paths::default(),
            leaves: Vec::new(),
            findings: found.nested_findings,
        };
        if let Err(error) = walk.run() {
            return Err(Box::new(NotUnderstood { error, nested_pickles: found.nested_pickles }));
        }
        let Walk { paths, leaves, findings, .. } = walk;
        Ok(Checkpoint {
            storages: found.storages,
            tensors: found.tensors,
            nested_pickles: found.nested_pickles,
            leaves,
            paths,
            findings,
            document,
        })
    }

    /// The tensor with this id.
    pub fn tensor(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.index()]
    }

    /// The storage that a tensor is a view of.
    pub fn storage_of(&self, tensor: &Tensor) -> &Storage {
        &self.storages[tensor.storage.index()]
    }
}

/// The entries of the root when it is a dict or a mapping.
pub(crate) fn top_values(graph: &Graph) -> Vec<(Step, NodeId)> {
    let pairs = pairs_of(graph, graph.root()).unwrap_or_default();
    pairs.into_iter().map(|(key, value)| (Step::key(graph, key), value)).collect()
}

/// The values of all nodes below the root that are more than inert.
fn evaluate(reader: &mut Reader<'_>) -> Result<HashMap<NodeId, Value>> {
    let graph = reader.graph();
    reader.load_all_nested()?;
    let mut reached = vec![false; graph.len()];
    let mut pending = vec![graph.root()];
    reached[graph.root().index()] = true;
    while let Some(id) = pending.pop() {
        for child in graph.children(id) {
            if !std::mem::replace(&mut reached[child.index()], true) {
                pending.push(child);
            }
        }
    }
    let mut values = HashMap::new();
    for id in graph.ids().filter(|id| reached[id.index()]) {
        if matches!(graph.node(id), Node::Object(_) | Node::Persistent(_)) {
            let value = reader.value(id)?;
            if !matches!(value, Value::Inert | Value::Bytes(..) | Value::NumpyDtype(_)) {
                values.insert(id, value);
            }
        }
    }
    Ok(values)
}

/// For each node, whether one of `wanted` is at or below it.
fn holding(graph: &Graph, wanted: impl Iterator<Item = NodeId>) -> Vec<bool> {
    // Edges from child to parent, as one array sorted by child: `parents[first[c]..first[c + 1]]`.
    let mut first = vec![0u32; graph.len() + 2];
    for id in graph.ids() {
        for child in graph.children(id) {
            first[child.index() + 2] += 1;
        }
    }
    for i in 1..first.len() {
        first[i] += first[i - 1];
    }
    let mut parents = vec![graph.root(); first.last().map_or(0, |&n| n as usize)];
    for id in graph.ids() {
        for child in graph.children(id) {
            let slot = &mut first[child.index() + 1];
            parents[*slot as usize] = id;
            *slot += 1;
        }
    }
    let mut holds = vec![false; graph.len()];
    let mut pending: Vec<NodeId> = wanted.collect();
    while let Some(id) = pending.pop() {
        if !std::mem::replace(&mut holds[id.index()], true) {
            pending.extend(&parents[first[id.index()] as usize..first[id.index() + 1] as usize]);
        }
    }
    holds
}

/// Something in a container: the step to it, and whether it counts as part of the model.
pub(crate) struct Entry {
    pub step: Step,
    pub node: NodeId,
    aside: Option<&'static str>,
}

impl Entry {
    fn new(step: Step, node: NodeId) -> Self {
        Entry { step, node, aside: None }
    }
}

struct Walk<'a> {
    graph: &'a Graph,
    options: &'a ReadOptions,
    values: HashMap<NodeId, Value>,
    attributes: HashMap<NodeId, Vec<NodeId>>,
    holds: Vec<bool>,
    /// What is in each container that was walked, as far as it holds tensors.
    inside: HashMap<NodeId, Rc<[Entry]>>,
    paths: Paths,
    leaves: Vec<Leaf>,
    findings: Vec<Finding>,
}

/// A container that is being walked.
struct Frame {
    node: NodeId,
    path: PathId,
    aside: Option<&'static str>,
    entries: Rc<[Entry]>,
    next: usize,
    /// The number of leaves when it was entered.
    leaves_before: usize,
}

impl Walk<'_> {
    /// Depth first, in the order of the file, with a stack of its own.
    fn run(&mut self) -> Result<()> {
        let mut open = vec![false; self.graph.len()];
        let mut cycles = HashSet::new();
        let mut frames: Vec<Frame> = Vec::new();
        let mut visits = 0u64;
        let mut next = Some((self.graph.root(), PathId::ROOT, None));
        // What is aside from the model is listed once, by the first way to it: attributes may refer to each other freely.
        let mut aside_seen = HashSet::new();
        loop {
            if let Some((node, path, aside)) = next.take() {
                visits += 1;
                if visits > MAX_VISITS {
                    let seen = format_args!("{MAX_VISITS} steps through shared containers");
                    return Err(error::limit("tensors", seen, self.options.limits.tensors));
                }
                self.options.limits.depth(frames.len() as u64).map_err(|e| e.at(&self.graph.place(node)))?;
                let leaves_before = self.leaves.len();
                let entries = self.enter(node, path, aside)?;
                open[node.index()] = true;
                frames.push(Frame { node, path, aside, entries, next: 0, leaves_before });
            }
            let Some(frame) = frames.last_mut() else { return Ok(()) };
            match frame.entries.get(frame.next) {
                Some(entry) if open[entry.node.index()] => {
                    frame.next += 1;
                    if cycles.insert(entry.node) {
                        let message = format!("{}{} contains itself; the walk ends here", self.paths.show(frame.path), entry.step);
                        self.findings.push(Finding::note("cycle", self.graph.place(entry.node), message));
                    }
                }
                Some(entry) => {
                    frame.next += 1;
                    let aside = frame.aside.or(entry.aside);
                    if aside.is_none() || aside_seen.insert(entry.node) {
                        next = Some((entry.node, self.paths.push(frame.path, entry.step.clone()), aside));
                    }
                }
                None => {
                    open[frame.node.index()] = false;
                    // Ways that led to no tensor leave nothing.
                    if frame.leaves_before == self.leaves.len() {
                        self.paths.forget_from(frame.path);
                    }
                    frames.pop();
                }
            }
        }
    }

    /// Records the leaf that a node is, and lists what is inside it, listed once for each node.
    fn enter(&mut self, node: NodeId, path: PathId, aside: Option<&'static str>) -> Result<Rc<[Entry]>> {
        self.record(node, path, aside)?;
        if let Some(known) = self.inside.get(&node) {
            return Ok(Rc::clone(known));
        }
        let entries = self.list(node)?;
        let entries: Rc<[Entry]> = entries.into_iter().filter(|entry| self.holds[entry.node.index()]).collect();
        self.inside.insert(node, Rc::clone(&entries));
        Ok(entries)
    }

    fn list(&mut self, node: NodeId) -> Result<Vec<Entry>> {
        match self.values.get(&node) {
            None => self.entries(node),
            Some(Value::ObjectArray { items }) => Ok(indexed(self.graph.sequence(*items).unwrap_or_default(), 0).collect()),
            Some(_) => {
                let attributes = self.attributes.get(&node).map(Vec::as_slice).unwrap_or_default();
                let entries = attributes.iter().flat_map(|&state| state_entries(self.graph, &[state]));
                Ok(entries.map(|entry| Entry { aside: Some(OF_A_TENSOR), ..entry }).collect())
            }
        }
    }

    fn record(&mut self, node: NodeId, path: PathId, aside: Option<&'static str>) -> Result<()> {
        let content = match self.values.get(&node) {
            None | Some(Value::Bytes(..) | Value::NumpyDtype(_) | Value::Inert) => return Ok(()),
            Some(Value::Tensor(id)) => Content::Tensor(*id),
            Some(Value::Absent(absence)) => Content::Absent(absence.clone()),
            Some(Value::Unsupported(error)) => Content::Unsupported(error.clone()),
            Some(Value::Storage(_)) => Content::Absent(absence("it is a bare storage, not a tensor")),
            Some(Value::Parts(parts)) => {
                for (part, id) in parts.clone() {
                    self.leaf(Leaf { path, part, node, content: Content::Tensor(id), aside })?;
                }
                return Ok(());
            }
            Some(Value::ObjectArray { items }) => {
                if self.graph.children(*items).iter().any(|item| self.holds[item.index()]) {
                    return Ok(());
                }
                Content::Absent(absence("it is an array of Python objects, not of numbers"))
            }
        };
        self.leaf(Leaf { path, part: "", node, content, aside })
    }

    fn leaf(&mut self, leaf: Leaf) -> Result<()> {
        self.leaves.push(leaf);
        self.options.limits.tensors(self.leaves.len() as u64)
    }

    fn entries(&mut self, node: NodeId) -> Result<Vec<Entry>> {
        let graph = self.graph;
        Ok(match graph.node(node) {
            Node::Tuple(items) | Node::List(items) => indexed(items, 0).collect(),
            Node::Set(items) | Node::FrozenSet(items) => {
                let mut seen = HashSet::new();
                let items: Vec<NodeId> = items.iter().copied().filter(|item| seen.insert(*item)).collect();
                indexed(&items, 0).collect()
            }
            Node::Dict(pairs) => self.keyed(pairs.iter().copied()),
            Node::Object(object) => return self.object_entries(node, object),
            _ => Vec::new(),
        })
    }

    fn keyed(&mut self, pairs: impl IntoIterator<Item = (NodeId, NodeId)>) -> Vec<Entry> {
        let (unique, duplicate) = unique_pairs(self.graph, pairs);
        if let Some(key) = duplicate {
            let shown = Step::key(self.graph, key);
            let message = format!("a dict sets the key {shown} twice; the last value counts, as in Python");
            self.findings.push(Finding::note("duplicate-key", self.graph.place(key), message));
        }
        // A key may hold a tensor itself.
        let keys = unique.iter().enumerate().filter(|(_, (key, _))| self.holds[key.index()]);
        let keys: Vec<Entry> =
            keys.map(|(i, (key, _))| Entry::new(Step::new(StepKind::Attribute, format!("__keys__.{i}")), *key)).collect();
        unique.into_iter().map(|(key, value)| Entry::new(Step::key(self.graph, key), value)).chain(keys).collect()
    }

    fn object_entries(&mut self, node: NodeId, object: &Object) -> Result<Vec<Entry>> {
        let graph = self.graph;
        if let Some(module) = Module::of(graph, object) {
            let mut entries = module.entries(graph);
            // What an nn.Module has beyond its dict is no part of its state_dict().
            let others = self.own_entries(node, &Object { states: module.other_states, ..object.clone() })?;
            entries.extend(others.into_iter().map(|entry| Entry { aside: entry.aside.or(Some(NOT_IN_STATE_DICT)), ..entry }));
            return Ok(entries);
        }
        self.own_entries(node, object)
    }

    fn own_entries(&mut self, node: NodeId, object: &Object) -> Result<Vec<Entry>> {
        let graph = self.graph;
        let meaning = graph.global(object.callable).and_then(|global| meaning(&global.module, &global.name));
        let args = graph.tuple(object.args).unwrap_or_default();
        // `cls.__new__` of most containers takes no contents.
        let name = graph.global(object.callable).map(|global| global.name.as_str());
        let meaning = meaning.filter(|_| object.origin != Origin::New || matches!(name, Some("tuple" | "frozenset")));
        if matches!(meaning, Some(Meaning::Mapping | Meaning::Sequence)) {
            let changed =
                |arg: &NodeId| matches!(graph.node(*arg), Node::List(_) | Node::Dict(_) | Node::Set(_)) && graph.changed_since(*arg, node);
            let items = args.iter().flat_map(|&arg| graph.sequence(arg).unwrap_or_default());
            if args.iter().chain(items).any(changed) {
                let message = "a container is made of another one that is changed afterwards, which no library writes";
                return Err(error::opaque(&graph.place(node), message));
            }
        }
        // Arguments that make the contents are walked as such; whatever else is given is walked under its own name.
        let (mut entries, understood) = match meaning {
            Some(Meaning::Mapping) => {
                // A Counter counts what it is given, unless that is a dict.
                let counts = |arg: NodeId| name == Some("Counter") && !matches!(graph.node(arg), Node::Dict(_));
                let given: Vec<_> = args.iter().map(|&arg| given_pairs(graph, arg).filter(|_| !counts(arg))).collect();
                let understood = given.iter().map(Option::is_some).collect();
                let pairs: Vec<_> = given.into_iter().flatten().flatten().chain(object.items.iter().copied()).collect();
                let mut entries = self.keyed(pairs);
                entries.extend(indexed(&object.appended, 0));
                (entries, understood)
            }
            Some(Meaning::Sequence) => {
                let given = args.first().and_then(|&arg| graph.sequence(arg));
                let length = given.unwrap_or_default().len() + object.appended.len();
                if name == Some("deque") && args.get(1).and_then(|&max| graph.int(max)).is_some_and(|max| max < length as i64) {
                    return Err(error::opaque(&graph.place(node), "a deque is given more items than it keeps, which no library writes"));
                }
                let mut entries: Vec<Entry> = indexed(given.unwrap_or_default(), 0).collect();
                entries.extend(indexed(&object.appended, entries.len()));
                entries.extend(self.keyed(object.items.iter().copied()));
                (entries, vec![given.is_some()])
            }
            _ => {
                let mut entries = self.keyed(object.items.iter().copied());
                entries.extend(indexed(&object.appended, 0));
                (entries, Vec::new())
            }
        };
        for (i, &arg) in args.iter().enumerate().filter(|(i, _)| !understood.get(*i).is_some_and(|known| *known)) {
            entries.push(Entry::new(Step::new(StepKind::Attribute, format!("__args__.{i}")), arg));
        }
        if args.is_empty() && graph.tuple(object.args).is_none() {
            entries.push(Entry::new(Step::new(StepKind::Attribute, "__args__"), object.args));
        }
        entries.extend(object.kwargs.map(|kwargs| Entry::new(Step::new(StepKind::Attribute, "__kwargs__"), kwargs)));
        entries.extend(state_entries(graph, &object.states));
        entries.push(Entry::new(Step::new(StepKind::Attribute, "__callable__"), object.callable));
        Ok(entries)
    }
}

fn absence(reason: &str) -> Absence {
    Absence { reason: reason.to_owned(), dtype: None, shape: None }
}

fn indexed(items: &[NodeId], from: usize) -> impl Iterator<Item = Entry> + '_ {
    items.iter().enumerate().map(move |(i, &item)| Entry::new(Step::index(from + i), item))
}

/// The attributes that states give, a later one over an earlier one: each a dict, or the pair of a dict and the slots;
/// anything else is one attribute.
pub(crate) fn state_entries(graph: &Graph, states: &[NodeId]) -> Vec<Entry> {
    let mut attributes: Vec<(NodeId, NodeId)> = Vec::new();
    let mut others = Vec::new();
    for &state in states {
        match (graph.node(state), graph.tuple(state)) {
            (Node::Dict(pairs), _) => attributes.extend(pairs),
            (_, Some([dict, slots])) => match (graph.node(*dict), graph.node(*slots)) {
                (Node::Dict(dict), Node::Dict(slots)) => attributes.extend(dict.iter().chain(slots)),
                (Node::None, Node::Dict(pairs)) | (Node::Dict(pairs), Node::None) => attributes.extend(pairs),
                _ => others.push(other_state(state)),
            },
            _ => others.push(other_state(state)),
        }
    }
    let (unique, _) = unique_pairs(graph, attributes);
    let attribute = |(key, value)| Entry::new(Step { kind: StepKind::Attribute, ..Step::key(graph, key) }, value);
    unique.into_iter().map(attribute).chain(others).collect()
}

fn other_state(state: NodeId) -> Entry {
    Entry::new(Step::new(StepKind::Attribute, "__state__"), state)
}

/// The pairs that an argument of a mapping's constructor gives: a dict, or a list of pairs.
fn given_pairs(graph: &Graph, arg: NodeId) -> Option<Vec<(NodeId, NodeId)>> {
    match graph.node(arg) {
        Node::Dict(pairs) => Some(pairs.clone()),
        Node::List(items) | Node::Tuple(items) => items
            .iter()
            .map(|&item| match graph.sequence(item) {
                Some(&[key, value]) => Some((key, value)),
                _ => None,
            })
            .collect(),
        _ => None,
    }
}

/// The pairs of a mapping object: those of its constructor, then those set on it.
pub(crate) fn mapping_pairs(graph: &Graph, object: &Object) -> Vec<(NodeId, NodeId)> {
    let args = graph.tuple(object.args).unwrap_or_default();
    let given = args.iter().filter_map(|&arg| given_pairs(graph, arg)).flatten();
    given.chain(object.items.iter().copied()).collect()
}

/// The pairs of a dict, or of an object of a known mapping class that holds nothing but pairs.
fn pairs_of(graph: &Graph, node: NodeId) -> Option<Vec<(NodeId, NodeId)>> {
    let pairs = match graph.node(node) {
        Node::Dict(pairs) => pairs.clone(),
        Node::Object(object) => {
            let global = graph.global(object.callable)?;
            let known = matches!(meaning(&global.module, &global.name), Some(Meaning::Mapping));
            let args = graph.tuple(object.args)?;
            let understood = args.iter().all(|&arg| given_pairs(graph, arg).is_some() || graph.global(arg).is_some());
            if !known || !understood || !object.appended.is_empty() || object.kwargs.is_some() {
                return None;
            }
            mapping_pairs(graph, object)
        }
        _ => return None,
    };
    Some(unique_pairs(graph, pairs).0)
}

/// An object that is an `nn.Module`, whatever its class: its state has the three dicts of one.
struct Module {
    parameters: NodeId,
    buffers: NodeId,
    modules: NodeId,
    /// The whole state, in its order.
    attributes: Vec<(NodeId, NodeId)>,
    /// Names of buffers that are not in `state_dict()`.
    transient: Vec<NodeId>,
    /// What else it was given: slots, earlier states.
    other_states: Vec<NodeId>,
}

impl Module {
    fn of(graph: &Graph, object: &Object) -> Option<Module> {
        let (&state, earlier) = object.states.split_last()?;
        let mut other_states = earlier.to_vec();
        let dict = match graph.tuple(state) {
            Some([dict, slots]) => {
                other_states.push(*slots);
                *dict
            }
            _ => state,
        };
        let Node::Dict(pairs) = graph.node(dict) else { return None };
        let attributes = unique_pairs(graph, pairs.iter().copied()).0;
        let find = |name: &str| attributes.iter().find(|(key, _)| graph.str(*key) == Some(name)).map(|(_, value)| *value);
        let (parameters, buffers, modules) = (find("_parameters")?, find("_buffers")?, find("_modules")?);
        let transient = match find("_non_persistent_buffers_set") {
            Some(set) => set_items(graph, set)?,
            None => Vec::new(),
        };
        let all_pairs = [parameters, buffers, modules].iter().all(|&part| pairs_of(graph, part).is_some());
        all_pairs.then_some(Module { parameters, buffers, modules, attributes, transient, other_states })
    }

    /// In the order of `state_dict()`: parameters, persistent buffers, submodules; then, aside, everything else.
    fn entries(&self, graph: &Graph) -> Vec<Entry> {
        let part = |node: NodeId| pairs_of(graph, node).unwrap_or_default();
        let entry = |(key, node): (NodeId, NodeId)| Entry::new(Step { kind: StepKind::Module, ..Step::key(graph, key) }, node);
        let transient: Vec<&str> = self.transient.iter().filter_map(|&item| graph.str(item)).collect();
        let buffers = part(self.buffers).into_iter().map(|(key, node)| {
            let aside = graph.str(key).filter(|name| transient.contains(name)).map(|_| NON_PERSISTENT);
            Entry { aside, ..entry((key, node)) }
        });
        let others = self.attributes.iter().filter(|(_, node)| ![self.parameters, self.buffers, self.modules].contains(node));
        let others = others.map(|&(key, node)| {
            let step = Step { kind: StepKind::Attribute, ..Step::key(graph, key) };
            Entry { step, node, aside: Some(NOT_IN_STATE_DICT) }
        });
        let parameters = part(self.parameters).into_iter().map(entry);
        parameters.chain(buffers).chain(part(self.modules).into_iter().map(entry)).chain(others).collect()
    }
}

/// The members of a set, or of whatever else answers Python's `in` by its members.
fn set_items(graph: &Graph, set: NodeId) -> Option<Vec<NodeId>> {
    match graph.node(set) {
        Node::Set(items) | Node::FrozenSet(items) | Node::List(items) | Node::Tuple(items) => Some(items.clone()),
        Node::Dict(pairs) => Some(pairs.iter().map(|(key, _)| *key).collect()),
        Node::Object(object) => {
            let global = graph.global(object.callable)?;
            let Some(Meaning::Sequence) = meaning(&global.module, &global.name) else { return None };
            let given = match graph.tuple(object.args)? {
                [] => &[],
                [items, ..] => graph.sequence(*items)?,
            };
            Some(given.iter().chain(&object.appended).copied().collect())
        }
        _ => None,
    }
}
