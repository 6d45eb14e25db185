//! `torch.save` before 1.6, and since then with `_use_new_zipfile_serialization=False`.
//!
//! Five pickles (a magic number, the protocol 1001, facts of the machine, the object, the sorted storage keys), then
//! for each key a 64-bit count of elements and the bytes. The size of an element is that of the first persistent id
//! with the key. Defined by `_legacy_save` and `_legacy_load` in `torch/serialization.py`; the bytes are little-endian
//! on every host (`torch/csrc/serialization.cpp`).

use std::borrow::Cow;
use std::collections::HashMap;

use crate::container::bare_pickle::protocol;
use crate::container::space::RunSpace;
use crate::container::{Document, Kind, Outcome, Space, StorageRef, run, trailing};
use crate::error::{self, Result};
use crate::finding::Finding;
use crate::limits::{Limits, ReadOptions};
use crate::pickle::{Broken, Decoder, Graph, Node, NodeId, Op};
use crate::place::Place;
use crate::source::Region;

/// 0x1950a86a20f9469cfc6c, little-endian, as `LONG1` holds it.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// The same as protocols 0 and 1 write it.
const MAGIC_TEXT: &[u8] = b"119547037146038801333356";
const PROTOCOL_VERSION: i64 = 1001;

/// Whether the first pickle is the magic number and nothing else.
pub(super) fn sniff(head: &[u8]) -> bool {
    let limits = Limits::default();
    let mut decoder = Decoder::new(head, &Place::start_of(""), &limits);
    loop {
        match decoder.next_op() {
            Ok((_, Op::Proto(_) | Op::Frame)) => {}
            Ok((_, Op::Long(bytes))) => return bytes == MAGIC,
            Ok((_, Op::LongText(digits))) => return digits == MAGIC_TEXT,
            _ => return false,
        }
    }
}

/// What the five pickles are.
const PICKLES: [&str; 5] = ["the magic number", "the protocol version", "the system facts", "the object", "the storage keys"];

pub(super) fn open(region: &Region, start: &Place, options: &ReadOptions) -> Outcome {
    let bytes = region.bytes()?;
    let mut at = 0u64;
    let mut pickles = Vec::new();
    for what in PICKLES {
        let place = start.advanced(at);
        let read = match at == bytes.len() as u64 {
            true => Err(error::truncated(&place, what, 1, 0).into()),
            false => run(&bytes.slice(at as usize..), &place, options),
        };
        match read {
            Ok(graph) => {
                at += graph.end();
                pickles.push(graph);
            }
            Err(broken) => return Err(broken.after(pickles)),
        }
    }
    let pickles: [Graph; 5] = pickles.try_into().unwrap_or_else(|_| unreachable!("each of the five was read"));
    let [magic, version, system, graph, keys] = &pickles;
    let read = check(&pickles).and_then(|()| storages(region, start, at, graph, keys));
    // What the pickles would run must not be lost when the rest of the file is broken.
    let (storages, end) = match read {
        Ok(storages) => storages,
        Err(error) => return Err(Box::<Broken>::from(error).after(pickles.into())),
    };
    let mut findings = Vec::new();
    let mut facts = vec![("pickle_protocol", protocol(&bytes).to_string())];
    match little_endian(system) {
        Some(true) => facts.push(("byteorder", "little".to_owned())),
        Some(false) => {
            facts.push(("byteorder", "big".to_owned()));
            let message = "the file says it comes from a big-endian machine; torch writes legacy storages little-endian on every machine";
            findings.push(Finding::note("byteorder", system.start().clone(), message));
        }
        None => {}
    }
    match trailing::read(&bytes.slice(end as usize..), &start.advanced(end), options) {
        Ok(trailing) => findings.extend(trailing),
        Err(broken) => return Err(broken.after(pickles.into())),
    }
    let made = |pickle: &&Graph| pickle.ids().find(|&id| pickle.object(id).is_some()).map(|id| pickle.place(id));
    if let Some(place) = [magic, version, system, keys].iter().find_map(made) {
        let message = "a pickle beside the object makes something, where torch writes only numbers and names";
        return Err(Box::<Broken>::from(error::legacy(&place, message)).after(pickles.into()));
    }
    let stream = region.slice(graph.start().offset - start.offset, graph.end()).unwrap_or_else(|| region.clone());
    let [magic, version, system, graph, keys] = pickles;
    let side_pickles = vec![magic, version, system, keys];
    Ok(Document { facts, spaces: vec![storages], side_pickles, findings, ..Document::of_pickle(Kind::TorchLegacy, graph, stream) })
}

/// Whether the first two pickles are what torch writes.
fn check([magic, version, ..]: &[Graph; 5]) -> Result<()> {
    let is_magic = match magic.node(magic.root()) {
        Node::Long(blob) => magic.blob(blob) == MAGIC,
        Node::LongText(blob) => magic.blob(blob) == MAGIC_TEXT,
        _ => false,
    };
    if !is_magic {
        return Err(error::legacy(magic.start(), "the first pickle is not torch's magic number"));
    }
    if version.int(version.root()) != Some(PROTOCOL_VERSION) {
        return Err(error::legacy(version.start(), format!("the second pickle is not torch's protocol version {PROTOCOL_VERSION}")));
    }
    Ok(())
}

fn little_endian(system: &Graph) -> Option<bool> {
    match system.node(system.get(system.root(), "little_endian")?) {
        Node::Bool(little) => Some(little),
        _ => None,
    }
}

/// What the persistent ids say of a storage.
struct Declared {
    n_elements: u64,
    item_bytes: u8,
    /// Whether it is on torch's meta device, which has no data.
    is_meta: bool,
}

impl Declared {
    fn of(storage: &StorageRef<'_>) -> Self {
        Declared { n_elements: storage.n_elements, item_bytes: storage.class.item_bytes(), is_meta: storage.location == "meta" }
    }

    fn n_bytes(&self) -> u128 {
        u128::from(self.n_elements) * u128::from(self.item_bytes)
    }
}

/// The storages that the persistent ids of the object name.
fn declared(graph: &Graph) -> Result<HashMap<Cow<'_, str>, Declared>> {
    let mut declared: HashMap<Cow<'_, str>, Declared> = HashMap::new();
    // torch knows a part of a storage by its key: the first one counts, whatever a second one says.
    let mut views: HashMap<&str, (StorageRef<'_>, NodeId)> = HashMap::new();
    for id in graph.ids() {
        let Node::Persistent(pid) = graph.node(id) else { continue };
        let Some(storage) = StorageRef::read(graph, pid)? else { continue };
        if let Some(key) = storage.view_key {
            let (first, _) = views.entry(key).or_insert_with(|| (storage.clone(), id));
            if *first != storage {
                return Err(error::legacy(&graph.place(id), "two different parts of storages have one key"));
            }
        }
        let this = Declared::of(&storage);
        match declared.get(&storage.key) {
            Some(first) if first.n_bytes() != this.n_bytes() => {
                let message = format!(
                    "storage {} is declared with {} and with {} bytes",
                    crate::text::quoted(&storage.key, 80),
                    first.n_bytes(),
                    this.n_bytes()
                );
                return Err(error::legacy(&graph.place(id), message));
            }
            Some(_) => {}
            None => drop(declared.insert(storage.key, this)),
        }
    }
    match views.iter().find(|(key, _)| declared.contains_key(**key)) {
        Some((_, (_, id))) => Err(error::legacy(&graph.place(*id), "a part of a storage has the key of a whole one")),
        None => Ok(declared),
    }
}

/// The storages of the tail, which starts at `at`, and the offset after the last one.
fn storages(region: &Region, start: &Place, mut at: u64, graph: &Graph, keys: &Graph) -> Result<(Space, u64)> {
    let declared = declared(graph)?;
    let key_ids: &[NodeId] = keys.sequence(keys.root()).ok_or_else(|| error::legacy(keys.start(), "the storage keys are not a list"))?;
    let mut storages = RunSpace::new(region, start);
    for &id in key_ids {
        let bad = |what: &str| error::legacy(&keys.place(id), what);
        let key = keys.str_shared(id).ok_or_else(|| bad("a storage key is not text"))?;
        let key_text = keys.str(id).unwrap_or_default();
        let shown = || crate::text::quoted(key_text, 80);
        let Some(storage) = declared.get(key_text) else {
            return Err(bad(&format!("storage {} is in the file and no tensor declares it", shown())));
        };
        let place = || start.advanced(at);
        let mut count = [0; 8];
        if region.slice(at, 8).is_none() {
            return Err(error::truncated(&place(), &format!("the size of storage {}", shown()), 8, region.len() - at));
        }
        region.read_at(at, &mut count)?;
        let count = u64::from_le_bytes(count);
        if count != storage.n_elements {
            return Err(error::storage_size(&place(), key_text, count.saturating_mul(storage.item_bytes.into()), storage.n_bytes()));
        }
        at += 8;
        let left = region.len() - at;
        let len = u64::try_from(storage.n_bytes()).unwrap_or(u64::MAX);
        if len > left {
            return Err(error::truncated(&start.advanced(at), &format!("storage {}", shown()), len, left));
        }
        if !storages.add(key, at, len) {
            return Err(bad(&format!("storage {} is in the file twice", shown())));
        }
        at += len;
    }
    let missing = declared.iter().filter(|(key, storage)| !storages.has(key.as_bytes()) && !storage.is_meta).map(|(key, _)| key).min();
    if let Some(key) = missing {
        return Err(error::legacy(
            &start.advanced(at),
            format!("storage {} is declared and its bytes are not in the file", crate::text::quoted(key, 80)),
        )
        .help("the file is damaged or was edited; torch would fill this storage with arbitrary memory"));
    }
    Ok((storages.finish(), at))
}
