//! A graph as the text that `testdata/make/make_differential.py` writes of the value which Python makes of the same stream.
//!
//! That is Python's value, not the graph: of equal keys the first stays with the last value, sets have each item once.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write;

use depickle::pickle::{Graph, Node, NodeId, Object, Origin};

/// The root, then every call and persistent object with what happened to it.
pub fn dump(graph: &Graph) -> String {
    let made: Vec<NodeId> = graph.ids().filter(|&id| matches!(graph.node(id), Node::Object(_) | Node::Persistent(_))).collect();
    let numbers = made.iter().enumerate().map(|(number, &id)| (id, number)).collect();
    let mut dump = Dump { graph, made: numbers, seen: HashMap::new(), words: Vec::new() };
    dump.value(graph.root());
    for &id in &made {
        match graph.node(id) {
            Node::Object(object) => dump.object(object),
            Node::Persistent(pid) => {
                dump.word("\np");
                dump.value(pid);
            }
            _ => unreachable!("only these are made"),
        }
    }
    dump.words.join(" ")
}

enum Todo<'a> {
    Value(NodeId),
    Word(&'a str),
}

struct Dump<'a> {
    graph: &'a Graph,
    made: HashMap<NodeId, usize>,
    seen: HashMap<NodeId, usize>,
    words: Vec<String>,
}

impl Dump<'_> {
    fn word(&mut self, word: impl Into<String>) {
        self.words.push(word.into());
    }

    fn object(&mut self, object: Object<'_>) {
        let args = self.graph.tuple(object.args).unwrap_or_default();
        // INST and OBJ without arguments make an instance without calling the class.
        let new = object.origin == Origin::New || (object.origin == Origin::Instance && args.is_empty());
        self.word(if new { "\nn" } else { "\nc" });
        self.value(object.callable);
        for &arg in args {
            self.value(arg);
        }
        if let Some(kwargs) = object.kwargs
            && let Node::Dict(pairs) = self.graph.node(kwargs)
            && !pairs.is_empty()
        {
            self.word("**");
            for part in self.as_python_keeps(pairs) {
                self.value(part);
            }
        }
        let items: Vec<NodeId> = object.items.iter().flat_map(|&(key, value)| [key, value]).collect();
        for (mark, parts) in [("!", object.states), ("=", &items), ("+", object.appended)] {
            if !parts.is_empty() {
                self.word(mark);
                for &part in parts {
                    self.value(part);
                }
            }
        }
    }

    fn value(&mut self, id: NodeId) {
        let mut todo = vec![Todo::Value(id)];
        while let Some(next) = todo.pop() {
            let id = match next {
                Todo::Value(id) => id,
                Todo::Word(word) => {
                    self.word(word);
                    continue;
                }
            };
            if let Some(atom) = self.atom(id) {
                self.word(atom);
                continue;
            }
            match self.graph.node(id) {
                Node::FrozenSet(_) => {
                    let flat = self.flat(id);
                    self.word(flat);
                    continue;
                }
                Node::Tuple([]) => {
                    self.word("()");
                    continue;
                }
                _ => {}
            }
            if let Some(number) = self.seen.get(&id) {
                self.word(format!("@{number}"));
                continue;
            }
            self.seen.insert(id, self.seen.len());
            match self.graph.node(id) {
                Node::ByteArray(blob) => self.word(format!("a{}", hex(self.graph.blob(blob)))),
                Node::Set(items) => {
                    let mut flat: Vec<String> = self.once(items).into_iter().map(|item| self.flat(item)).collect();
                    flat.sort();
                    self.word(format!("<{}>", flat.join(" ")));
                }
                Node::List(items) => self.nest(&mut todo, ["[", "]"], items.to_vec()),
                Node::Tuple(items) => self.nest(&mut todo, ["(", ")"], items.to_vec()),
                Node::Dict(pairs) => self.nest(&mut todo, ["{", "}"], self.as_python_keeps(pairs)),
                other => unreachable!("{other:?} is an atom"),
            }
        }
    }

    fn nest<'t>(&mut self, todo: &mut Vec<Todo<'t>>, [open, close]: [&'t str; 2], items: Vec<NodeId>) {
        self.word(open);
        todo.push(Todo::Word(close));
        todo.extend(items.into_iter().rev().map(Todo::Value));
    }

    fn atom(&self, id: NodeId) -> Option<String> {
        Some(match self.graph.node(id) {
            Node::None => "N".to_owned(),
            Node::Bool(true) => "T".to_owned(),
            Node::Bool(false) => "F".to_owned(),
            Node::Int(_) | Node::Long(_) | Node::LongText(_) => format!("i{}", hex(&self.integer(id)?)),
            Node::Float(value) => format!("f{}", hex(&value.to_le_bytes())),
            Node::Text(_) | Node::Str(_) => format!("s{}", hex(&self.text(id)?)),
            Node::Bytes(blob) => format!("b{}", hex(self.graph.blob(blob))),
            Node::Global(_) => {
                let global = self.graph.global(id)?;
                format!("g{}:{}", hex(global.module.as_bytes()), hex(global.name.as_bytes()))
            }
            Node::Object(_) | Node::Persistent(_) => format!("o{}", self.made[&id]),
            _ => return None,
        })
    }

    /// UTF-8; a Python 2 string as Latin-1, which is how the record's readers were told to read it. Two surrogates that are
    /// spelled one by one stay two, as in Python.
    fn text(&self, id: NodeId) -> Option<Vec<u8>> {
        match self.graph.node(id) {
            Node::Text(blob) => Some(self.graph.blob(blob).to_vec()),
            Node::Str(blob) => Some(self.graph.blob(blob).iter().map(|&byte| char::from(byte)).collect::<String>().into_bytes()),
            _ => None,
        }
    }

    /// The shortest two's complement, little-endian, that is never empty.
    fn integer(&self, id: NodeId) -> Option<Vec<u8>> {
        let bytes = match self.graph.node(id) {
            Node::Bool(value) => vec![u8::from(value)],
            Node::Int(value) => value.to_le_bytes().to_vec(),
            Node::Long(blob) => self.graph.blob(blob).to_vec(),
            Node::LongText(blob) => of_decimal(self.graph.blob(blob)),
            Node::Float(value) if value.is_finite() && value.fract() == 0.0 => of_whole(value),
            _ => return None,
        };
        Some(shortest(bytes))
    }

    /// A value that has a hash, without numbers.
    fn flat(&self, id: NodeId) -> String {
        match self.graph.node(id) {
            Node::Tuple(items) => format!("({})", items.iter().map(|&item| self.flat(item)).collect::<Vec<_>>().join(" ")),
            Node::FrozenSet(items) => {
                let mut flat: Vec<String> = self.once(items).into_iter().map(|item| self.flat(item)).collect();
                flat.sort();
                format!("|{}|", flat.join(" "))
            }
            _ => self.atom(id).expect("a value that has a hash"),
        }
    }

    /// The same text for keys that are equal in Python.
    fn key(&self, id: NodeId) -> String {
        match self.graph.node(id) {
            Node::Tuple(items) => format!("({})", items.iter().map(|&item| self.key(item)).collect::<Vec<_>>().join(" ")),
            Node::FrozenSet(items) => {
                let keys: BTreeSet<String> = items.iter().map(|&item| self.key(item)).collect();
                format!("|{}|", keys.into_iter().collect::<Vec<_>>().join(" "))
            }
            Node::Float(value) if value.is_nan() => format!("nan {id:?}"),
            _ => match self.integer(id) {
                Some(bytes) => format!("i{}", hex(&bytes)),
                None => self.atom(id).expect("a value that has a hash"),
            },
        }
    }

    fn once(&self, items: &[NodeId]) -> Vec<NodeId> {
        let mut seen = HashSet::new();
        items.iter().copied().filter(|&item| seen.insert(self.key(item))).collect()
    }

    fn as_python_keeps(&self, pairs: &[(NodeId, NodeId)]) -> Vec<NodeId> {
        let mut kept: Vec<NodeId> = Vec::new();
        let mut places = HashMap::new();
        for &(key, value) in pairs {
            match places.get(&self.key(key)) {
                Some(&at) => kept[at] = value,
                None => {
                    places.insert(self.key(key), kept.len() + 1);
                    kept.extend([key, value]);
                }
            }
        }
        kept
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn shortest(mut bytes: Vec<u8>) -> Vec<u8> {
    while let [.., next, top] = bytes[..] {
        if top != (if next & 0x80 == 0 { 0 } else { 0xff }) {
            break;
        }
        bytes.pop();
    }
    if bytes.is_empty() { vec![0] } else { python_width(bytes) }
}

/// Python's `int.bit_length() // 8 + 1` is one byte more than is needed for -128, -32768 and their like.
fn python_width(mut bytes: Vec<u8>) -> Vec<u8> {
    if let [rest @ .., 0x80] = &bytes[..]
        && rest.iter().all(|&byte| byte == 0)
    {
        bytes.push(0xff);
    }
    bytes
}

fn negated(bytes: &mut [u8]) {
    let mut carry = true;
    for byte in bytes {
        (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
    }
}

fn of_decimal(text: &[u8]) -> Vec<u8> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let mut bytes = vec![0u8];
    for digit in digits {
        let mut carry = u32::from(digit - b'0');
        for byte in &mut bytes {
            let sum = u32::from(*byte) * 10 + carry;
            (*byte, carry) = (sum as u8, sum >> 8);
        }
        if carry > 0 {
            bytes.push(carry as u8);
        }
    }
    bytes.push(0);
    if digits.len() < text.len() {
        negated(&mut bytes);
    }
    bytes
}

fn of_whole(value: f64) -> Vec<u8> {
    let exponent = (value.to_bits() >> 52 & 0x7ff) as i32 - 1075;
    let mantissa = if value == 0.0 { 0 } else { (value.to_bits() & ((1 << 52) - 1)) | 1 << 52 };
    let (shift, mantissa) =
        if exponent < 0 { (0, mantissa.checked_shr(exponent.unsigned_abs()).unwrap_or(0)) } else { (exponent as usize, mantissa) };
    let mut bytes = vec![0; shift / 8];
    bytes.extend((u128::from(mantissa) << (shift % 8)).to_le_bytes());
    if value < 0.0 {
        negated(&mut bytes);
    }
    bytes
}
