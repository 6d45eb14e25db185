//! torch before 0.1.10: a tar archive of `sys_info`, `storages`, `tensors` and `pickle`.
//!
//! `storages`: a pickled count, for each one a pickled `(key, location, class)`, a 64-bit count of elements and the bytes; then
//! a pickled list of views `(key, key of the whole, offset, elements)`. `tensors`: a pickled count, for each one a pickled
//! `(key, key of the storage, class)`, a 32-bit rank, 4 bytes of padding, 64-bit sizes and strides, and a 64-bit offset.
//! `pickle`: the object, whose persistent ids are the keys of tensors and storages. Defined by `_load` in
//! `torch/serialization.py`, which still reads it.

use std::collections::HashMap;

use ::bytes::Bytes;

use crate::container::tar::TarMember;
use crate::container::{Document, Given, GivenTensor, Kind, Outcome, Space, StorageClass, hidden, run, storage_class};
use crate::error::{self, Code, Error, Result};
use crate::limits::ReadOptions;
use crate::pickle::{Broken, Graph, Node, NodeId};
use crate::place::Place;
use crate::source::Region;
use crate::storage::{Content, Storage};

/// Whether these are the members of such a checkpoint.
pub(super) fn is_torch_tar(members: &[TarMember]) -> bool {
    let has = |name: &str| members.iter().any(|member| member.name == name);
    has("pickle") && has("storages")
}

/// The members that are read.
const PARTS: &[&str] = &["pickle", "storages", "tensors"];

pub(super) fn open(members: &[TarMember], options: &ReadOptions) -> Outcome {
    let mut side_pickles = Vec::new();
    // torch looks at no other member; somebody else may.
    let others = members.iter().filter(|member| !PARTS.contains(&member.name.as_str()));
    let hidden: Vec<Graph> = others.flat_map(|member| hidden::in_region(&member.content, &member.place, options, 1)).collect();
    let opened = read(members, options, &mut side_pickles);
    side_pickles.extend(hidden);
    match opened {
        Ok(document) => Ok(Document { side_pickles, ..document }),
        Err(broken) => Err(broken.after(side_pickles)),
    }
}

fn read(members: &[TarMember], options: &ReadOptions, side_pickles: &mut Vec<Graph>) -> Outcome {
    let object = find(members, "pickle", "describes the checkpoint")?;
    let graph = run(&object.content.bytes()?, &object.place, options)?;
    // What the object would run must not be lost when the rest of the file is broken.
    match data(members, options, side_pickles, &graph) {
        Ok((storages, given)) => Ok(Document {
            spaces: vec![Space::listed(storages.by_key)],
            given,
            ..Document::of_pickle(Kind::TorchTar, graph, object.content.clone())
        }),
        Err(error) => Err(Box::<Broken>::from(error).after(vec![graph])),
    }
}

/// The storages, and what stands for the persistent ids of the object.
fn data(
    members: &[TarMember],
    options: &ReadOptions,
    side_pickles: &mut Vec<Graph>,
    graph: &Graph,
) -> Result<(Storages, HashMap<NodeId, Given>)> {
    let mut storages = Storages::default();
    {
        let mut stream = Stream::new(find(members, "storages", "holds the data")?, options, side_pickles)?;
        storages.read(&mut stream)?;
    }
    let tensors = {
        let mut stream = Stream::new(find(members, "tensors", "says what the tensors are")?, options, side_pickles)?;
        tensors(&mut stream, &storages)?
    };
    let mut given = HashMap::new();
    for id in graph.ids() {
        let Node::Persistent(pid) = graph.node(id) else { continue };
        // A tuple is a class with its source.
        let Some(key) = key(graph, pid) else { continue };
        let value = match (tensors.get(&key), storages.classes.get(&key)) {
            (Some(tensor), _) => Given::Tensor(tensor.clone()),
            (None, Some((root, class, ..))) => Given::Storage(root.clone(), *class),
            (None, None) => {
                let what = format!("the checkpoint refers to {}, which is neither a tensor nor a storage", crate::text::quoted(&key, 60));
                return Err(error::legacy(&graph.place(id), what));
            }
        };
        given.insert(id, value);
    }
    Ok((storages, given))
}

fn find<'a>(members: &'a [TarMember], name: &str, wanted_by: &str) -> Result<&'a TarMember> {
    members.iter().find(|member| member.name == name).ok_or_else(|| error::missing_entry(name, wanted_by))
}

/// A key as text: they are addresses, written as integers or as text.
fn key(graph: &Graph, id: NodeId) -> Option<String> {
    match graph.node(id) {
        Node::Int(key) => Some(key.to_string()),
        Node::Long(blob) => Some(format!("0x{}", graph.blob(blob).iter().rev().map(|byte| format!("{byte:02x}")).collect::<String>())),
        _ => graph.str_or_ascii(id).map(str::to_owned),
    }
}

/// A member that is pickles with other bytes between them.
struct Stream<'a> {
    bytes: Bytes,
    region: &'a Region,
    start: &'a Place,
    at: u64,
    options: &'a ReadOptions,
    pickles: &'a mut Vec<Graph>,
}

impl<'a> Stream<'a> {
    fn new(member: &'a TarMember, options: &'a ReadOptions, pickles: &'a mut Vec<Graph>) -> Result<Self> {
        Ok(Stream { bytes: member.content.bytes()?, region: &member.content, start: &member.place, at: 0, options, pickles })
    }

    fn place(&self) -> Place {
        self.start.advanced(self.at)
    }

    fn bad(&self, what: &str) -> Error {
        error::legacy(&self.place(), what)
    }

    /// The next pickle, which makes only numbers, names and tuples of them. The last one is kept to be judged.
    fn pickle(&mut self) -> Result<&Graph> {
        let before = self.options.memory();
        let graph = run(&self.bytes.slice(self.at as usize..), &self.place(), self.options).map_err(|broken| {
            let Broken { error, graphs, .. } = *broken;
            self.pickles.extend(graphs);
            error
        })?;
        if let Some(id) = graph.ids().find(|&id| graph.object(id).is_some()) {
            let place = graph.place(id);
            self.pickles.push(graph);
            return Err(error::legacy(&place, "a pickle beside the object makes something, where torch writes only numbers and names"));
        }
        self.at += graph.end();
        // Those that are kept are few: one that holds nothing but what was just checked is not worth its memory.
        self.pickles.truncate(1);
        self.options.forget_memory(before);
        self.pickles.push(graph);
        Ok(&self.pickles[self.pickles.len() - 1])
    }

    fn take(&mut self, len: u64, what: &str) -> Result<Region> {
        let left = self.region.len() - self.at;
        let taken = self.region.slice(self.at, len).ok_or_else(|| error::truncated(&self.place(), what, len, left))?;
        self.at += len;
        Ok(taken)
    }

    fn i64(&mut self, what: &str) -> Result<i64> {
        let mut bytes = [0; 8];
        self.take(8, what)?.read_at(0, &mut bytes)?;
        Ok(i64::from_le_bytes(bytes))
    }

    /// A pickled count of records, each of at least one byte.
    fn count(&mut self) -> Result<u64> {
        let left = self.region.len();
        let graph = self.pickle()?;
        let count = graph.int(graph.root()).and_then(|n| u64::try_from(n).ok()).filter(|&n| n <= left);
        count.ok_or_else(|| self.bad("the number of records is no number, or larger than the file"))
    }

    /// A pickled `(key, second, class)`.
    fn record(&mut self) -> Result<(String, String, String, String)> {
        let graph = self.pickle()?;
        let record = || {
            let &[first, second, class] = graph.tuple(graph.root())? else { return None };
            let class = graph.global(class)?;
            Some((key(graph, first)?, key(graph, second)?, class.module.clone(), class.name.clone()))
        };
        let record = record();
        record.ok_or_else(|| self.bad("a record is no (key, key, class)"))
    }
}

#[derive(Default)]
struct Storages {
    by_key: HashMap<String, Storage>,
    /// For each storage or view of one: the key of the whole, the class, and the elements before it and in it.
    classes: HashMap<String, (String, StorageClass, i64, i64)>,
}

impl Storages {
    fn read(&mut self, stream: &mut Stream<'_>) -> Result<()> {
        for _ in 0..stream.count()? {
            let (key, _location, module, name) = stream.record()?;
            let class = storage_class(&module, &name).ok_or_else(|| stream.bad("a storage is of a class that is none of torch's"))?;
            let elements = stream.i64("the size of a storage")?;
            let len = u64::try_from(elements).ok().and_then(|n| n.checked_mul(class.item_bytes().into()));
            let len = len.ok_or_else(|| stream.bad("a storage has a negative or too large size"))?;
            let place = stream.place();
            let content = Content::Plain(stream.take(len, "a storage")?);
            self.classes.insert(key.clone(), (key.clone(), class, 0, elements));
            let storage = Storage { key: key.clone(), len, head: 0, content, place, big_endian: false };
            if self.by_key.insert(key, storage).is_some() {
                return Err(stream.bad("a storage is in the file twice"));
            }
        }
        let graph = stream.pickle()?;
        let views = graph.sequence(graph.root()).map(|views| {
            let view = |&view: &NodeId| match graph.tuple(view) {
                Some(&[target, root, offset, elements]) => {
                    Some((key(graph, target)?, key(graph, root)?, graph.int(offset)?, graph.int(elements)?))
                }
                _ => None,
            };
            views.iter().map(view).collect::<Option<Vec<_>>>()
        });
        let Some(Some(views)) = views else { return Err(stream.bad("the views of storages are no list of (key, key, offset, elements)")) };
        for (target, root, offset, elements) in views {
            // A view may be of a part that is a view itself.
            let Some((whole, class, before, all)) = self.classes.get(&root).cloned() else {
                return Err(stream.bad("a view is of a storage that is not there"));
            };
            let inside = offset >= 0 && elements >= 0 && offset.checked_add(elements).is_some_and(|end| end <= all);
            if !inside {
                return Err(stream.bad("a view reaches beyond its storage"));
            }
            self.classes.insert(target, (whole, class, before + offset, elements));
        }
        Ok(())
    }
}

fn tensors(stream: &mut Stream<'_>, storages: &Storages) -> Result<HashMap<String, GivenTensor>> {
    const MAX_RANK: i64 = 64;
    let mut tensors = HashMap::new();
    for _ in 0..stream.count()? {
        let place = stream.place();
        let (key, storage, module, name) = stream.record()?;
        let rank = stream.i64("the rank of a tensor")? & 0xffff_ffff; // the upper half is padding
        if rank > MAX_RANK {
            return Err(error::legacy(&place, format!("a tensor has {rank} dimensions, at most {MAX_RANK} are possible")));
        }
        let mut dims = |what: &str| (0..rank).map(|_| stream.i64(what)).collect::<Result<Vec<_>>>();
        let (shape, strides) = (dims("the sizes of a tensor")?, dims("the strides of a tensor")?);
        let offset = stream.i64("the offset of a tensor")?;
        let class = name.strip_suffix("Tensor").and_then(|element| storage_class(&module, &format!("{element}Storage")));
        let class = class.ok_or_else(|| error::legacy(&place, "a tensor is of a class that is none of torch's"))?;
        // A tensor that was never given data has no storage.
        let Some((root, stored, before, _)) = storages.classes.get(&storage) else {
            let what = format!("a tensor is of storage {}, which is not there", crate::text::quoted(&storage, 60));
            return Err(Error::new(Code::LegacyMalformed, what).at(&place));
        };
        if *stored != class {
            return Err(error::legacy(&place, "a tensor is of another type than its storage"));
        }
        let offset = offset.checked_add(*before).ok_or_else(|| error::legacy(&place, "a tensor has an offset beyond 63 bits"))?;
        tensors.insert(key, GivenTensor { storage: root.clone(), class, dtype: None, shape, strides, offset });
    }
    Ok(tensors)
}
