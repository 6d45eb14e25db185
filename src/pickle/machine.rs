//! Opcodes to a graph: stack, marks and memo as CPython's `_pickle.c` keeps them, and nothing is ever called.
//!
//! Every byte that the graph takes is debited from the memory budget first.

use std::collections::HashMap;

use ::bytes::Bytes;

use crate::error::{self, Error, Result};
use crate::limits::Limits;
use crate::pickle::arena::{Arena, Gifts, Growing, MAX_STREAM_BYTES};
use crate::pickle::between::{Between, Nothing};
use crate::pickle::broken::Broken;
use crate::pickle::budget::{
    Budget, CHANGE_BYTES, GIFTS_BYTES, GLOBAL_BYTES, MEMO_BYTES, NODE_BYTES, OBJECT_BYTES, STATE_BYTES, VEC_BYTES,
};
use crate::pickle::decode::{Decoder, Op};
use crate::pickle::graph::{GlobalUse, Graph, Stream};
use crate::pickle::hashable::Unhashable;
use crate::pickle::memo::Memo;
use crate::pickle::node::{Blob, GlobalId, Node, NodeId, Object, Origin};
use crate::pickle::oddity::{Oddity, OddityKind};
use crate::pickle::recent_ints::RecentInts;
use crate::pickle::stack::Stack;
use crate::place::Place;

/// Runs the pickle at the start of `stream`, whose first byte is at `start` in the input. Bytes after `STOP` are left
/// alone; [`Graph::end`] says where it is.
///
/// # Errors
/// A stream that Python would not load, or would load differently in C and in Python; a budget of `limits`.
pub fn run(stream: &Bytes, start: &Place, limits: &Limits) -> Result<Graph, Box<Broken>> {
    run_with(stream, start, limits, &mut Nothing)
}

/// The same for a stream with other bytes between its opcodes.
///
/// # Errors
/// Those of [`run`] and of `between`.
pub fn run_with(stream: &Bytes, start: &Place, limits: &Limits, between: &mut dyn Between) -> Result<Graph, Box<Broken>> {
    let mut machine = Machine {
        graph: Graph::of(Stream::new(stream.clone(), start.clone())),
        stack: Stack::default(),
        memo: Memo::for_stream(stream.len()),
        global_ids: HashMap::new(),
        singletons: [None; 4],
        ints: RecentInts::default(),
        unhashable: Unhashable::default(),
        budget: Budget { used: 0, limits },
        offset: 0,
        offset_high: 0,
    };
    machine.graph.nodes = Arena::for_stream(stream.len());
    let mut decoder = Decoder::new(stream, start, limits);
    let result = machine.run(&mut decoder, limits, between);
    machine.graph.memory = machine.budget.used;
    match result {
        Ok(()) => Ok(machine.graph),
        Err(error) => Err(Box::new(Broken { error, graphs: vec![machine.graph], read_to: decoder.position() })),
    }
}

struct Machine<'a> {
    graph: Graph,
    stack: Stack,
    memo: Memo,
    global_ids: HashMap<(String, String), GlobalId>,
    /// `None`, `True`, `False` and `()` are one node each, as in Python.
    singletons: [Option<NodeId>; 4],
    ints: RecentInts,
    unhashable: Unhashable,
    budget: Budget<'a>,
    offset: u64,
    /// The high half of the offset of the last node.
    offset_high: u32,
}

impl Machine<'_> {
    fn run(&mut self, decoder: &mut Decoder<'_>, limits: &Limits, between: &mut dyn Between) -> Result<()> {
        let bytes = self.graph.streams[0].bytes.len() as u64;
        if bytes > MAX_STREAM_BYTES {
            return Err(error::limit("pickle-bytes", format_args!("a stream of {bytes} bytes"), MAX_STREAM_BYTES));
        }
        for opcodes in 1.. {
            let (offset, op) = decoder.next_op()?;
            self.offset = offset;
            let place = |e: Error| e.at(&decoder.place(offset));
            if let Op::Stop = op {
                return self.stop(decoder.position()).map_err(place);
            }
            let (is_build, is_again) = (matches!(op, Op::Build), matches!(op, Op::Get(_) | Op::Dup));
            self.graph.opcodes = opcodes;
            limits.opcodes(opcodes).and_then(|()| self.step(op)).map_err(place)?;
            let Some(top) = self.stack.last() else { continue };
            if is_again {
                between.reused(&self.graph, top).map_err(place)?;
            }
            self.graph.memory = self.budget.used;
            if is_build && let Some(skip) = between.after_build(&self.graph, top, decoder.position()).map_err(place)? {
                if decoder.is_inside_a_frame() {
                    return Err(place(malformed(
                        "other bytes follow an opcode in the middle of a frame, where a reader does not look for them",
                    )));
                }
                self.budget.debit(usize::try_from(skip.memory).unwrap_or(usize::MAX)).map_err(place)?;
                decoder.skip_to(skip.to);
            }
        }
        Ok(())
    }

    fn step(&mut self, op: Op<'_>) -> Result<()> {
        match op {
            Op::Proto(_) | Op::Frame => Ok(()),
            Op::Stop => unreachable!("run() ends the machine at STOP"),
            Op::Mark => {
                self.budget.debit(size_of::<usize>())?;
                self.stack.push_mark();
                Ok(())
            }
            Op::Pop => self.stack.pop_value_or_mark(),
            Op::PopMark => self.stack.above_mark("POP_MARK").map(drop),
            Op::Dup => {
                let top = self.stack.top("DUP")?;
                self.push_id(top)
            }
            Op::None => self.singleton(0, Node::None),
            Op::Bool(true) => self.singleton(1, Node::Bool(true)),
            Op::Bool(false) => self.singleton(2, Node::Bool(false)),
            Op::EmptyTuple => self.singleton(3, Node::Tuple(&[])),
            Op::Int(value) => self.push_int(value),
            Op::Float(value) => self.push(Node::Float(value)),
            Op::Long(bytes) => self.push_blob(Node::Long, bytes),
            Op::LongText(digits) => self.push_blob(Node::LongText, digits),
            Op::Bytes(bytes) => self.push_blob(Node::Bytes, bytes),
            Op::ByteArray(bytes) => self.push_blob(Node::ByteArray, bytes),
            Op::Text(bytes) => self.push_blob(Node::Text, bytes),
            Op::Str(bytes) => self.push_blob(Node::Str, bytes),
            Op::TextOwned(bytes) => self.push_unescaped(Node::Text, &bytes),
            Op::StrOwned(bytes) => self.push_unescaped(Node::Str, &bytes),
            Op::EmptyList => self.push(Node::List(&[])),
            Op::EmptyDict => self.push(Node::Dict(&[])),
            Op::EmptySet => self.push(Node::Set(&[])),
            Op::Tuple => match self.stack.above_mark("TUPLE")? {
                items if items.is_empty() => self.singleton(3, Node::Tuple(&[])),
                items => self.push_tuple(&items),
            },
            Op::TupleOf(n) => {
                let items = self.stack.pop_n(n, "TUPLE1, TUPLE2 or TUPLE3")?;
                self.push_tuple(&items)
            }
            Op::List => {
                let items = self.stack.above_mark("LIST")?;
                self.debit_growing(items.len())?;
                self.push(Node::List(&items))
            }
            Op::FrozenSet => {
                let items = self.stack.above_mark("FROZENSET")?;
                self.unhashable.check(&self.graph, items.iter().copied())?;
                self.budget.debit(size_of_val(&items[..]))?;
                self.push(Node::FrozenSet(&items))
            }
            Op::Dict => {
                let items = self.stack.above_mark("DICT")?;
                self.debit_growing(items.len())?;
                let pairs = pairs(&items, "DICT")?;
                self.unhashable.check(&self.graph, pairs.iter().map(|(key, _)| *key))?;
                self.push(Node::Dict(&pairs))
            }
            Op::Append => {
                let item = self.stack.pop("APPEND")?;
                self.extend("APPEND", vec![item])
            }
            Op::Appends => {
                let items = self.stack.above_mark("APPENDS")?;
                self.extend("APPENDS", items)
            }
            Op::AddItems => {
                let items = self.stack.above_mark("ADDITEMS")?;
                self.extend("ADDITEMS", items)
            }
            Op::SetItem => {
                let items = self.stack.pop_n(2, "SETITEM")?;
                self.set_items("SETITEM", &items)
            }
            Op::SetItems => {
                let items = self.stack.above_mark("SETITEMS")?;
                self.set_items("SETITEMS", &items)
            }
            Op::Get(index) => match self.memo.get(index) {
                Some(id) => self.push_id(id),
                None => Err(malformed(format!("memo entry {index} is used and was never set"))),
            },
            Op::Put(index) => self.memoize(index),
            // C counts the entries that are set, so MEMOIZE after PUTs with gaps lands where C puts it.
            Op::Memoize => self.memoize(u32::try_from(self.memo.len()).unwrap_or(u32::MAX)),
            Op::Global { module, name } => self.push_global(module, name),
            Op::StackGlobal => self.stack_global(),
            Op::Reduce => {
                let args = self.stack.pop("REDUCE")?;
                let callable = self.stack.pop("REDUCE")?;
                self.push_call("REDUCE", Origin::Reduce, callable, args, None)
            }
            Op::NewObj => {
                let args = self.stack.pop("NEWOBJ")?;
                let class = self.stack.pop("NEWOBJ")?;
                self.push_call("NEWOBJ", Origin::New, class, args, None)
            }
            Op::NewObjEx => {
                let kwargs = self.stack.pop("NEWOBJ_EX")?;
                let args = self.stack.pop("NEWOBJ_EX")?;
                let class = self.stack.pop("NEWOBJ_EX")?;
                self.push_call("NEWOBJ_EX", Origin::New, class, args, Some(kwargs))
            }
            Op::Inst { module, name } => {
                let args = self.stack.above_mark("INST")?;
                self.push_global(module, name)?;
                let class = self.stack.pop("INST")?;
                self.push_instance("INST", class, &args)
            }
            Op::Obj => {
                let mut args = self.stack.above_mark("OBJ")?;
                if args.is_empty() {
                    return Err(malformed("OBJ has no class above its mark"));
                }
                let class = args.remove(0);
                self.push_instance("OBJ", class, &args)
            }
            Op::Build => {
                let state = self.stack.pop("BUILD")?;
                let target = self.stack.top("BUILD")?;
                self.budget.debit(STATE_BYTES)?;
                match self.growing(target)? {
                    Some(Growing::Object(object)) => self.graph.nodes.add_state(object, state),
                    _ => return Err(self.wrong_target("BUILD", target)),
                }
                Ok(())
            }
            Op::BinPersId => {
                let pid = self.stack.pop("BINPERSID")?;
                self.push(Node::Persistent(pid))
            }
            Op::ReadOnlyBuffer => match self.stack.top("READONLY_BUFFER").map(|id| self.graph.node(id))? {
                Node::Bytes(_) | Node::ByteArray(_) => Ok(()),
                _ => Err(self.stack.top("READONLY_BUFFER").map_or_else(|e| e, |id| self.wrong_target("READONLY_BUFFER", id))),
            },
            Op::Extension(number) => {
                let why = "names an object by a number of the producer's own copyreg registry";
                Err(self.odd(OddityKind::Extension(number), error::needs_producer("EXT1, EXT2 or EXT4", why)))
            }
        }
    }

    fn stop(&mut self, end: u64) -> Result<()> {
        self.graph.root = self.stack.pop("STOP")?;
        self.graph.streams[0].end = end;
        self.graph.streams[0].leftover = self.stack.len();
        Ok(())
    }

    // ---- the stack ----

    fn push_id(&mut self, id: NodeId) -> Result<()> {
        self.budget.debit(size_of::<NodeId>())?;
        self.stack.push(id);
        Ok(())
    }

    fn push(&mut self, node: Node<'_>) -> Result<()> {
        let id = self.make(node)?;
        self.push_id(id)
    }

    fn make(&mut self, node: Node<'_>) -> Result<NodeId> {
        self.budget.debit(NODE_BYTES)?;
        self.graph.nodes.push(node, self.offset, &mut self.offset_high)
    }

    fn singleton(&mut self, slot: usize, node: Node<'_>) -> Result<()> {
        let id = match self.singletons[slot] {
            Some(id) => id,
            None => {
                let id = self.make(node)?;
                self.singletons[slot] = Some(id);
                id
            }
        };
        self.push_id(id)
    }

    fn push_int(&mut self, value: i64) -> Result<()> {
        // One behind a float is the zero point of a quantized tensor, and where it stands is recorded.
        let behind_a_float = self.stack.last().is_some_and(|last| matches!(self.graph.node(last), Node::Float(_)));
        let id = match self.ints.get(value) {
            Some(known) if !behind_a_float => known,
            _ => {
                let id = self.make(Node::Int(value))?;
                self.ints.set(value, id);
                id
            }
        };
        self.push_id(id)
    }

    /// For `n` nodes in a vector of their own, which keeps some room free.
    fn debit_growing(&mut self, n: usize) -> Result<()> {
        self.budget.debit(VEC_BYTES + 2 * n * size_of::<NodeId>())
    }

    fn push_tuple(&mut self, items: &[NodeId]) -> Result<()> {
        let unhashable = self.unhashable.has(&self.graph, items);
        self.budget.debit(size_of_val(items))?;
        self.push(Node::Tuple(items))?;
        if unhashable {
            self.budget.debit(MEMO_BYTES)?;
            self.unhashable.insert(self.stack.top("TUPLE")?);
        }
        Ok(())
    }

    /// `bytes` borrows the stream, so its address tells its offset.
    fn push_blob(&mut self, make: fn(Blob) -> Node<'static>, bytes: &[u8]) -> Result<()> {
        let start = bytes.as_ptr().addr() - self.graph.streams[0].bytes.as_ptr().addr();
        self.push(make(Blob { unescaped: false, stream: 0, offset: start as u64, len: bytes.len() as u64 }))
    }

    fn push_unescaped(&mut self, make: fn(Blob) -> Node<'static>, bytes: &[u8]) -> Result<()> {
        self.budget.debit(bytes.len())?;
        let unescaped = &mut self.graph.streams[0].unescaped;
        let start = unescaped.len() as u64;
        unescaped.extend_from_slice(bytes);
        self.push(make(Blob { unescaped: true, stream: 0, offset: start, len: bytes.len() as u64 }))
    }

    fn memoize(&mut self, index: u32) -> Result<()> {
        let top = self.stack.top("PUT or MEMOIZE")?;
        if self.memo.set(index, top) {
            self.budget.debit(MEMO_BYTES)?;
        }
        Ok(())
    }

    // ---- containers ----

    /// What is about to grow, where the node is something that can.
    fn growing(&mut self, id: NodeId) -> Result<Option<Growing<'_>>> {
        if self.graph.changes.insert(id, self.offset).is_none() {
            self.budget.debit(CHANGE_BYTES)?;
        }
        Ok(self.graph.nodes.growing(id))
    }

    /// What stands in the way of changing a value. A class or module that is given a state is changed for the whole process.
    fn wrong_target(&mut self, opcode: &str, target: NodeId) -> Error {
        let what = self.graph.node(target).kind();
        let global = self.graph.global(target).map(GlobalUse::path);
        match (self.graph.node(target), global) {
            (Node::Global(_) | Node::Dynamic(..), global) => {
                let global = global.unwrap_or_else(|| what.to_owned());
                let message = format!("{opcode} changes {}, for every later use of it", crate::text::quoted(&global, 200));
                self.odd(OddityKind::Patched(global), Error::new(error::Code::OpaqueResult, message))
            }
            _ => malformed(format!("{opcode} is applied to {what}, which does not take it")),
        }
    }

    /// Notes what has an effect beyond the values, and gives `error` back.
    fn odd(&mut self, what: OddityKind, error: Error) -> Error {
        let place = self.graph.start().advanced(self.offset);
        self.graph.oddities.push(Oddity { place, what });
        error
    }

    fn extend(&mut self, opcode: &str, items: Vec<NodeId>) -> Result<()> {
        let target = self.stack.top(opcode)?;
        if items.is_empty() {
            return Ok(());
        }
        self.debit_growing(items.len())?;
        if matches!(self.graph.node(target), Node::Set(_)) {
            self.unhashable.check(&self.graph, items.iter().copied())?;
        }
        match (opcode, self.growing(target)?) {
            ("APPEND" | "APPENDS", Some(Growing::List(list))) => list.extend(items),
            ("ADDITEMS", Some(Growing::Set(set))) => set.extend(items),
            (_, Some(Growing::Object(object))) => self.gifts(object)?.appended.extend(items),
            _ => return Err(self.wrong_target(opcode, target)),
        }
        Ok(())
    }

    fn set_items(&mut self, opcode: &str, items: &[NodeId]) -> Result<()> {
        let target = self.stack.top(opcode)?;
        self.debit_growing(items.len())?;
        let new = pairs(items, opcode)?;
        if new.is_empty() {
            return Ok(());
        }
        if matches!(self.graph.node(target), Node::Dict(_)) {
            self.unhashable.check(&self.graph, new.iter().map(|(key, _)| *key))?;
        }
        match self.growing(target)? {
            Some(Growing::Dict(dict)) => dict.extend(new),
            Some(Growing::Object(object)) => self.gifts(object)?.items.extend(new),
            _ => return Err(self.wrong_target(opcode, target)),
        }
        Ok(())
    }

    fn gifts(&mut self, object: NodeId) -> Result<&mut Gifts> {
        self.budget.debit(GIFTS_BYTES)?;
        Ok(self.graph.nodes.gifts(object))
    }

    // ---- names and calls ----

    fn push_global(&mut self, module: &str, name: &str) -> Result<()> {
        self.budget.limits.name_bytes((module.len() + name.len()) as u64)?;
        let key = (module.to_owned(), name.to_owned());
        let id = match self.global_ids.get(&key) {
            Some(&id) => id,
            None => {
                self.budget.debit(2 * (module.len() + name.len()) + GLOBAL_BYTES)?;
                let id = GlobalId(self.graph.globals.len() as u32); // at most one per opcode, and opcodes are limited
                let first = self.graph.start().advanced(self.offset);
                self.graph.globals.push(GlobalUse { module: key.0.clone(), name: key.1.clone(), first, mentions: 0 });
                self.global_ids.insert(key, id);
                id
            }
        };
        if let Some(global) = self.graph.globals.get_mut(id.0 as usize) {
            global.mentions += 1;
        }
        self.push(Node::Global(id))
    }

    fn stack_global(&mut self) -> Result<()> {
        let operands = self.stack.pop_n(2, "STACK_GLOBAL")?;
        let text = |id: NodeId| match self.graph.node(id) {
            Node::Text(_) => self.graph.str(id).filter(|text| !text.is_empty()).map(str::to_owned),
            // What other bytes are depends on the encoding that the reader is told.
            Node::Str(_) => self.graph.str(id).filter(|text| !text.is_empty() && text.is_ascii()).map(str::to_owned),
            _ => None,
        };
        let made = |id: NodeId| matches!(self.graph.node(id), Node::Object(_) | Node::Persistent(_));
        match (text(operands[0]), text(operands[1])) {
            (Some(module), Some(name)) => self.push_global(&module, &name),
            (module, name) if (module.is_some() || made(operands[0])) && (name.is_some() || made(operands[1])) => {
                self.push(Node::Dynamic(operands[0], operands[1]))
            }
            _ => Err(malformed("STACK_GLOBAL needs a module and a name as non-empty text")),
        }
    }

    fn push_call(&mut self, opcode: &str, origin: Origin, callable: NodeId, args: NodeId, kwargs: Option<NodeId>) -> Result<()> {
        if !matches!(self.graph.node(args), Node::Tuple(_) | Node::Object(_)) {
            return Err(malformed(format!("the arguments of {opcode} are {}, expected a tuple", self.graph.node(args).kind())));
        }
        if let Some(kwargs) = kwargs.filter(|&k| !matches!(self.graph.node(k), Node::Dict(_))) {
            return Err(malformed(format!("the keyword arguments of {opcode} are {}, expected a dict", self.graph.node(kwargs).kind())));
        }
        if !matches!(self.graph.node(callable), Node::Global(_) | Node::Dynamic(..) | Node::Object(_) | Node::Persistent(_)) {
            return Err(malformed(format!("{opcode} calls {}", self.graph.node(callable).kind())));
        }
        self.budget.debit(if kwargs.is_some() { OBJECT_BYTES + GIFTS_BYTES } else { OBJECT_BYTES })?;
        self.push(Node::Object(Object { origin, callable, args, kwargs, states: &[], items: &[], appended: &[] }))
    }

    fn push_instance(&mut self, opcode: &str, class: NodeId, args: &[NodeId]) -> Result<()> {
        self.budget.debit(size_of_val(args))?;
        let args = self.make(Node::Tuple(args))?;
        self.push_call(opcode, Origin::Instance, class, args, None)
    }
}

fn pairs(items: &[NodeId], opcode: &str) -> Result<Vec<(NodeId, NodeId)>> {
    let (pairs, rest) = items.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(malformed(format!("{opcode} has an odd number of keys and values: {}", items.len())));
    }
    Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
}

/// Without a place: `run` adds that of the opcode.
pub(super) fn malformed(what: impl Into<String>) -> Error {
    Error::new(error::Code::PickleMalformed, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    fn graph(stream: &'static [u8]) -> Result<Graph> {
        Ok(run(&Bytes::from_static(stream), &Place::start_of(""), &Limits::default())?)
    }

    fn code(stream: &'static [u8]) -> Option<(Code, u64)> {
        graph(stream).err().map(|e| (e.code(), e.place().map_or(u64::MAX, |p| p.offset)))
    }

    #[test]
    fn a_list_that_is_memoized_and_filled_later_is_one_list() {
        // l = []; t = (l, l); l.append(l)
        let graph = graph(b"]q\x00h\x00h\x00a0h\x00h\x00\x86.").unwrap();
        let items = graph.tuple(graph.root()).unwrap();
        assert_eq!(items[0], items[1]);
        assert_eq!(graph.node(items[0]), Node::List(&[items[0]]));
    }

    #[test]
    fn setitems_before_build_and_after_are_both_kept() {
        let graph = graph(b"ccollections\nOrderedDict\n)R(K\x01K\x02u}bK\x03K\x04s.").unwrap();
        let object = graph.object(graph.root()).unwrap();
        assert_eq!((object.items.len(), object.states.len()), (2, 1));
    }

    #[test]
    fn values_below_a_mark_are_out_of_reach() {
        for stream in [&b"N(2."[..], b"N(q\x00.", b"N(.", b"NN(\x86.", b"N(R."] {
            assert_eq!(code(stream).map(|c| c.0), Some(Code::PickleMalformed), "{}", stream.escape_ascii());
        }
    }

    #[test]
    fn pop_takes_a_mark_that_is_on_top() {
        assert!(graph(b"N(0.").is_ok());
    }

    #[test]
    fn a_memo_index_of_four_billion_costs_one_entry() {
        assert!(graph(b"Nr\xff\xff\xff\xff0j\xff\xff\xff\xff.").is_ok());
    }

    #[test]
    fn errors_carry_the_offset_of_their_opcode() {
        assert_eq!(code(b"N0h\x07."), Some((Code::PickleMalformed, 2)));
        assert_eq!(code(b"X\xff\x00\x00\x00abc"), Some((Code::Truncated, 5)));
        assert_eq!(code(b"I010\n."), Some((Code::PickleMalformed, 5)));
        assert_eq!(code(b"\x80\x09."), Some((Code::PickleMalformed, 2)));
        assert_eq!(code(b"N\x82\x01."), Some((Code::PickleUnsupportedOpcode, 1)));
        assert_eq!(code(b"NN"), Some((Code::Truncated, 2)));
        assert_eq!(code(b"(K\x01d."), Some((Code::PickleMalformed, 3)));
    }

    #[test]
    fn a_call_before_the_break_is_not_lost() {
        let broken = run(&Bytes::from_static(b"cos\nsystem\n(S'x'\ntR\xff"), &Place::start_of(""), &Limits::default()).unwrap_err();
        let graph = &broken.graphs[0];
        assert_eq!(graph.globals().len(), 1);
        assert!(graph.ids().any(|id| graph.object(id).is_some()));
    }

    #[test]
    fn a_million_nested_lists_are_a_limit_or_a_graph_and_never_a_deep_recursion() {
        let mut stream = vec![b']'; 1_000_000];
        stream.extend(vec![b'a'; 999_999]);
        stream.push(b'.');
        let graph = run(&Bytes::from(stream), &Place::start_of(""), &Limits::default()).unwrap();
        assert_eq!(graph.len(), 1_000_000);
    }

    #[test]
    fn the_memory_budget_stops_a_flood_of_containers() {
        let mut limits = Limits::default();
        limits.set("memory-bytes", 10_000).unwrap();
        let error = run(&Bytes::from(vec![b']'; 100_000]), &Place::start_of(""), &limits).unwrap_err().error;
        assert_eq!(error.code(), Code::LimitExceeded);
        assert!(error.advice().unwrap().contains("--limit memory-bytes"), "{error}");
    }
}
