//! The walk from the root to every tensor: depth first, in the order of the file, with a stack of its own.

use foldhash::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use crate::checkpoint::contents::{EmbeddedSource, Module, given_pairs, state_entries};
use crate::checkpoint::entry::{Aside, Entry, Part, Way};
use crate::checkpoint::{Content, Leaf, LoweredPart, Unusual};
use crate::container::{Document, Kind};
use crate::error::{self, Result};
use crate::finding::Finding;
use crate::globals::paddle::{self, Sliced};
use crate::globals::{Absence, Attributes, Meaning, PartContent, Seen, Value, Values, meaning};
use crate::limits::ReadOptions;
use crate::names::{PathId, Paths, Step, StepKind, unique_pairs};
use crate::pickle::{Graph, Node, NodeId, Object, Origin};
use crate::room::reserve;

/// Steps into containers after which a walk is given up; only a file made to be walked forever needs them.
const MAX_VISITS: u64 = 4_000_000;

pub(super) struct Walk<'a> {
    graph: &'a Graph,
    /// The roots of the pickles in it, in ascending order.
    roots: &'a [NodeId],
    options: &'a ReadOptions,
    /// Whether what is attached to the root are the files of a set.
    of_files: bool,
    values: Values,
    attributes: HashMap<NodeId, Attributes>,
    holds: Vec<bool>,
    /// What is in each container that was walked, as far as it holds tensors.
    inside: HashMap<NodeId, Rc<[Entry]>>,
    /// What is in those that hold none.
    nothing: Rc<[Entry]>,
    /// The number of entries in there.
    listed: u64,
    pub paths: Paths,
    pub leaves: Vec<Leaf>,
    pub findings: Vec<Finding>,
}

/// A container that is being walked.
struct Frame {
    node: NodeId,
    path: PathId,
    aside: Option<Aside>,
    entries: Rc<[Entry]>,
    next: usize,
    /// The number of leaves when it was entered.
    leaves_before: usize,
}

impl<'a> Walk<'a> {
    pub fn new(
        document: &'a Document,
        options: &'a ReadOptions,
        values: Values,
        attributes: HashMap<NodeId, Attributes>,
        holds: Vec<bool>,
        findings: Vec<Finding>,
    ) -> Self {
        let (inside, paths, leaves) = (HashMap::default(), Paths::default(), Vec::new());
        let graph = &document.graph;
        let (roots, nothing) = (&document.roots, Rc::new([]));
        let of_files = document.kind == Kind::TorchIndex;
        Walk { graph, roots, options, of_files, values, attributes, holds, inside, nothing, listed: 0, paths, leaves, findings }
    }

    /// Depth first, in the order of the file, with a stack of its own.
    pub fn run(&mut self) -> Result<()> {
        let tensors = self.values.nodes().count();
        self.paths.reserve(tensors);
        reserve(&mut self.leaves, tensors);
        // The containers that are being walked, of which there are no more than the depth.
        let mut open: HashSet<NodeId> = HashSet::default();
        let mut cycles = HashSet::default();
        let mut frames: Vec<Frame> = Vec::new();
        let mut visits = 0u64;
        let mut next = Some((self.graph.root(), PathId::ROOT, None));
        // What is aside from the model is listed once, by the first way to it: attributes may refer to each other freely.
        let mut aside_seen = HashSet::default();
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
                open.insert(node);
                frames.push(Frame { node, path, aside, entries, next: 0, leaves_before });
            }
            let Some(frame) = frames.last_mut() else { return Ok(()) };
            match frame.entries.get(frame.next) {
                Some(entry) if open.contains(&entry.node) => {
                    frame.next += 1;
                    if cycles.insert(entry.node) {
                        let message =
                            format!("{}{} contains itself; the walk ends here", self.paths.show(frame.path), entry.step(self.graph));
                        self.findings.push(Finding::note("cycle", self.graph.place(entry.node), message));
                    }
                }
                Some(entry) => {
                    frame.next += 1;
                    let aside = frame.aside.or(entry.aside);
                    if aside.is_none() || aside_seen.insert(entry.node) {
                        let is_file = self.of_files && frame.path == PathId::ROOT && matches!(entry.way, Way::Attached(..));
                        let step = entry.step(self.graph);
                        let step = if is_file { step.of_kind(StepKind::File) } else { step };
                        self.options.debit(step.memory())?;
                        next = Some((entry.node, self.paths.push(frame.path, step), aside));
                    }
                }
                None => {
                    open.remove(&frame.node);
                    // Ways that led to no tensor leave nothing.
                    if frame.leaves_before == self.leaves.len() {
                        self.paths.forget_from(frame.path);
                    }
                    frames.pop();
                }
            }
        }
    }

    /// The node that stands at `node`: another one, when this is only its place or an array without dimensions around it.
    fn resolve(&self, mut node: NodeId) -> Result<NodeId> {
        for _ in 0..=self.options.limits.depth {
            node = match self.values.get(node) {
                None if self.graph.linked(node).is_some() => self.graph.linked(node).unwrap_or(node),
                Some(Seen::StandsFor(target)) => target,
                Some(Seen::Other(Value::ObjectArray { items, scalar: true })) => match self.graph.sequence(*items) {
                    Some(&[only]) if self.holds[only.index()] => only,
                    _ => return Ok(node),
                },
                _ => return Ok(node),
            };
        }
        Err(error::limit("depth", "arrays without dimensions inside one another", self.options.limits.depth).at(&self.graph.place(node)))
    }

    /// Records the leaf that a node is, and lists what is inside it, listed once for each node.
    fn enter(&mut self, node: NodeId, path: PathId, aside: Option<Aside>) -> Result<Rc<[Entry]>> {
        let node = self.resolve(node)?;
        self.record(node, path, aside)?;
        if let Some(known) = self.inside.get(&node) {
            return Ok(Rc::clone(known));
        }
        let mut entries = self.list(node)?;
        let attached = self.graph.attached(node).iter().zip(0..);
        entries.extend(attached.map(|((_, value), number)| Entry::new(Way::Attached(node, number), *value)));
        entries.retain(|entry| self.holds[entry.node.index()]);
        self.listed += entries.len() as u64;
        // Each leads to a tensor, but for those of a container that contains itself.
        self.options.limits.tensors(self.listed.saturating_sub(self.options.limits.tensors))?;
        self.options.limits.tensors(entries.len() as u64)?;
        if entries.is_empty() {
            return Ok(Rc::clone(&self.nothing));
        }
        let entries: Rc<[Entry]> = entries.into();
        self.inside.insert(node, Rc::clone(&entries));
        Ok(entries)
    }

    fn list(&mut self, node: NodeId) -> Result<Vec<Entry>> {
        let value = self.values.get(node);
        let own = match value {
            None => return self.entries(node),
            Some(Seen::Other(Value::ObjectArray { items, .. })) => {
                return Ok(self.indexed(self.graph.sequence(*items).unwrap_or_default(), 0));
            }
            Some(Seen::Other(Value::Wrapper(_, state, only))) => {
                let entries = state_entries(self.graph, &[*state], &|id| self.holds[id.index()]).into_iter();
                entries.filter(|entry| only.is_none_or(|name| name == &*entry.step(self.graph).name)).collect()
            }
            Some(_) => Vec::new(),
        };
        let attributes = self.attributes.get(&node);
        let aside = attributes.is_none_or(|attributes| !attributes.own).then_some(Aside::OfATensor);
        let states = attributes.map(|attributes| attributes.states.as_slice()).unwrap_or_default();
        let entries = states.iter().flat_map(|&state| state_entries(self.graph, &[state], &|id| self.holds[id.index()]));
        // The tensor itself has been met already.
        let repeated = attributes.map(|attributes| attributes.repeated).unwrap_or_default();
        let entries = entries.filter(|entry| {
            let step = entry.step(self.graph);
            !repeated.contains(&&*step.name) && (aside.is_some() || &*step.name != "data")
        });
        Ok(own.into_iter().chain(entries.map(|entry| Entry { aside, ..entry })).collect())
    }

    fn record(&mut self, node: NodeId, path: PathId, aside: Option<Aside>) -> Result<()> {
        let leaf = |content: Content, lowered: Option<LoweredPart>| {
            let is_usual = lowered.is_none() && aside.is_none();
            Leaf { path, node, content, unusual: (!is_usual).then(|| Box::new(Unusual { lowered, aside })) }
        };
        let absent = |reason: &str| Content::Absent(Box::new(Absence { reason: reason.to_owned(), dtype: None, shape: None }));
        let content = match self.values.get(node) {
            None | Some(Seen::StandsFor(_)) => return Ok(()),
            Some(Seen::Tensor(id)) => Content::Tensor(id),
            Some(Seen::Storage) => absent("it is a bare storage, not a tensor"),
            Some(Seen::Other(value)) => match value {
                Value::Absent(absence) => Content::Absent(Box::new(absence.clone())),
                Value::Unsupported(error) => Content::Unsupported(Box::new(error.clone())),
                Value::Wrapper(lowering, ..) => {
                    let lowered = LoweredPart { suffix: "".into(), lowering: Arc::clone(lowering) };
                    return self.leaf(leaf(Content::Wrapper, Some(lowered)));
                }
                Value::Lowered(lowering, parts) => {
                    let (lowering, parts) = (Arc::clone(lowering), parts.clone());
                    for part in parts {
                        let content = match part.content {
                            PartContent::Tensor(id) => Content::Tensor(id),
                            PartContent::Absent(absence) => Content::Absent(Box::new(absence)),
                        };
                        let lowered = LoweredPart { suffix: part.suffix, lowering: Arc::clone(&lowering) };
                        self.leaf(leaf(content, Some(lowered)))?;
                    }
                    return Ok(());
                }
                Value::ObjectArray { items, .. } => {
                    if self.graph.children(*items).any(|item| self.holds[item.index()]) {
                        return Ok(());
                    }
                    absent("it is an array of Python objects, not of numbers")
                }
                _ => return Ok(()),
            },
        };
        self.leaf(leaf(content, None))
    }

    fn leaf(&mut self, leaf: Leaf) -> Result<()> {
        let unusual = if leaf.unusual.is_some() { size_of::<Unusual>() } else { 0 };
        self.options.debit((size_of::<Leaf>() + unusual) as u64)?;
        self.leaves.push(leaf);
        self.options.limits.tensors(self.leaves.len() as u64)
    }

    fn entries(&mut self, node: NodeId) -> Result<Vec<Entry>> {
        let graph = self.graph;
        Ok(match graph.node(node) {
            Node::Tuple(items) | Node::List(items) => self.indexed(items, 0),
            Node::Set(items) | Node::FrozenSet(items) => {
                let mut seen = HashSet::default();
                let items: Vec<NodeId> = items.iter().copied().filter(|item| seen.insert(*item)).collect();
                self.indexed(&items, 0)
            }
            Node::Dict(pairs) => {
                let entries = self.keyed(pairs.iter().copied());
                match if self.roots.binary_search(&node).is_ok() { paddle::sliced(graph, node) } else { None } {
                    Some((info, sliced)) => joined(graph, entries, info, &sliced),
                    None => entries,
                }
            }
            Node::Object(object) => return self.object_entries(node, object),
            _ => Vec::new(),
        })
    }

    fn keyed(&mut self, pairs: impl IntoIterator<Item = (NodeId, NodeId)>) -> Vec<Entry> {
        let (unique, _) = unique_pairs(self.graph, pairs);
        // A key may hold a tensor itself.
        let holds = |id: NodeId| self.holds[id.index()];
        let keys = unique.iter().zip(0..).filter(|((key, _), _)| holds(*key));
        let keys: Vec<Entry> = keys.map(|((key, _), number)| Entry::new(Way::KeyItself(number), *key)).collect();
        let values = unique.into_iter().filter(|(_, value)| holds(*value));
        values.map(|(key, value)| Entry::new(Way::Key(key), value)).chain(keys).collect()
    }

    /// The items that hold tensors, by their index.
    fn indexed(&self, items: &[NodeId], from: usize) -> Vec<Entry> {
        let items = items.iter().enumerate().filter(|(_, item)| self.holds[item.index()]);
        // One more than there may be is an error soon.
        let at_most = usize::try_from(self.options.limits.tensors).unwrap_or(usize::MAX).saturating_add(1);
        items.take(at_most).map(|(i, &item)| Entry::new(Way::Index((from + i) as u32), item)).collect() // no more than nodes
    }

    fn object_entries(&mut self, node: NodeId, object: Object<'_>) -> Result<Vec<Entry>> {
        let graph = self.graph;
        if let Some(source) = EmbeddedSource::of(graph, object) {
            let states = source.states(object);
            // The callable is a name, in which nothing is: a class that is imported is given its state, and no arguments.
            let mut entries = self.object_entries(node, Object { args: object.callable, states: &states, ..object })?;
            let rest =
                source.rest.into_iter().map(|(key, value)| Entry { aside: Some(Aside::Attribute), ..Entry::new(Way::Key(key), value) });
            entries.extend(rest);
            return Ok(entries);
        }
        if let Some(module) = Module::of(graph, object) {
            let mut entries = module.entries(graph, &|id| self.holds[id.index()]);
            // What an nn.Module has beyond its dict is no part of its state_dict().
            let others = self.own_entries(node, Object { states: &module.other_states, ..object })?;
            entries.extend(others.into_iter().map(|entry| Entry { aside: entry.aside.or(Some(Aside::Attribute)), ..entry }));
            return Ok(entries);
        }
        self.own_entries(node, object)
    }

    fn own_entries(&mut self, node: NodeId, object: Object<'_>) -> Result<Vec<Entry>> {
        let graph = self.graph;
        let meaning = graph.global(object.callable).and_then(|global| meaning(&global.module, &global.name));
        let args = graph.tuple(object.args).unwrap_or_default();
        // `cls.__new__` of most containers takes no contents.
        let name = graph.global(object.callable).map(|global| global.name.as_str());
        let meaning = meaning.filter(|_| object.origin != Origin::New || matches!(name, Some("tuple" | "frozenset")));
        if matches!(meaning, Some(Meaning::Mapping | Meaning::Sequence)) {
            let items = args.iter().flat_map(|&arg| graph.sequence(arg).unwrap_or_default());
            if args.iter().chain(items).any(|&arg| graph.changed_since(arg, node)) {
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
                entries.extend(self.indexed(object.appended, 0));
                (entries, understood)
            }
            Some(Meaning::Sequence) => {
                let given = args.first().and_then(|&arg| graph.sequence(arg));
                let length = given.unwrap_or_default().len() + object.appended.len();
                if name == Some("deque") && args.get(1).and_then(|&max| graph.int(max)).is_some_and(|max| max < length as i64) {
                    return Err(error::opaque(&graph.place(node), "a deque is given more items than it keeps, which no library writes"));
                }
                let mut entries = self.indexed(given.unwrap_or_default(), 0);
                entries.extend(self.indexed(object.appended, given.unwrap_or_default().len()));
                entries.extend(self.keyed(object.items.iter().copied()));
                (entries, vec![given.is_some()])
            }
            _ => {
                let mut entries = self.keyed(object.items.iter().copied());
                entries.extend(self.indexed(object.appended, 0));
                (entries, Vec::new())
            }
        };
        for (&arg, number) in args.iter().zip(0u32..).filter(|(_, i)| !understood.get(*i as usize).is_some_and(|known| *known)) {
            entries.push(Entry::new(Way::Argument(number), arg));
        }
        if args.is_empty() && graph.tuple(object.args).is_none() {
            entries.push(Entry::new(Way::Part(Part::Args), object.args));
        }
        entries.extend(object.kwargs.map(|kwargs| Entry::new(Way::Part(Part::Kwargs), kwargs)));
        entries.extend(state_entries(graph, object.states, &|id| self.holds[id.index()]));
        entries.push(Entry::new(Way::Part(Part::Callable), object.callable));
        Ok(entries)
    }
}

/// The entries of Paddle's dict with parameters that were cut: each whole, and not its pieces.
fn joined(graph: &Graph, entries: Vec<Entry>, info: NodeId, sliced: &[Sliced]) -> Vec<Entry> {
    let pieces = sliced.iter().flat_map(|sliced| &sliced.pieces).map(|(key, _)| *key);
    let hidden: HashSet<&str> = pieces.chain([info]).filter_map(|key| graph.str(key)).collect();
    let whole = sliced.iter().map(|sliced| Entry::new(Way::Key(sliced.key), sliced.description));
    let is_hidden =
        |entry: &Entry| matches!(entry.way, Way::Key(key) if graph.text(key).is_some() && hidden.contains(&*Step::key(graph, key).name));
    entries.into_iter().filter(|entry| !is_hidden(entry)).chain(whole).collect()
}
