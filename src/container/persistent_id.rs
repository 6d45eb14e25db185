//! torch's persistent ids: how a pickle refers to bytes that are kept outside it.
//!
//! zip: `('storage', StorageType, key, location, numel)`; legacy adds `view_metadata`, which is `None` or
//! `(view_key, offset, view_size)` in elements. Defined by `torch/serialization.py` (`persistent_id`).

use std::borrow::Cow;

use crate::container::storage_class::{StorageClass, storage_class};
use crate::error::{self, Result};
use crate::pickle::{Graph, Node, NodeId};

/// A key is a number, a location the name of a device. Any number of tensors may repeat them.
const MAX_KEY_BYTES: u64 = 1_024;

/// A storage as a persistent id names it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StorageRef<'a> {
    pub class: StorageClass,
    pub key: Cow<'a, str>,
    /// The device it was on: `cpu`, `cuda:0`, `meta` ...
    pub location: Cow<'a, str>,
    /// Elements of the whole storage.
    pub n_elements: u64,
    /// First element and number of elements, when only a part of the storage is meant.
    pub view: Option<(u64, u64)>,
    /// The key of that part, by which torch knows it again.
    pub view_key: Option<&'a str>,
}

impl<'a> StorageRef<'a> {
    /// Bytes of the whole storage.
    pub fn n_bytes(&self) -> u128 {
        u128::from(self.n_elements) * u128::from(self.class.item_bytes())
    }

    /// Reads the persistent id at `pid`. `Ok(None)` for `('module', ...)` ids, which wrap a class reference.
    ///
    /// # Errors
    /// `tensor-invalid` when the id has another form.
    pub fn read(graph: &'a Graph, pid: NodeId) -> Result<Option<StorageRef<'a>>> {
        let place = || graph.place(pid);
        let is_opaque = |&id: &NodeId| matches!(graph.node(id), Node::Object(_) | Node::Dynamic(..));
        let opaque = graph.tuple(pid).is_some_and(|items| items.iter().any(is_opaque));
        let bad = |what: &str| {
            let error = error::tensor_invalid(&place(), format!("a persistent id {what}"));
            if opaque { error::for_an_opaque_value(&error).at(&place()) } else { error }
        };
        let items = graph.tuple(pid).ok_or_else(|| bad("is not a tuple"))?;
        let tag = items.first().filter(|&&tag| graph.text_bytes(tag) <= MAX_KEY_BYTES);
        let tag = tag.and_then(|&tag| graph.str_or_ascii(tag)).ok_or_else(|| bad("does not start with a word"))?;
        let is_long = |id: NodeId| graph.text_bytes(id) > MAX_KEY_BYTES;
        match (tag, items) {
            ("module", _) => Ok(None),
            ("storage", [_, class, key, location, n_elements, rest @ ..]) if rest.len() <= 1 => {
                if is_long(*key) {
                    return Err(bad("has a key that is longer than any that torch writes"));
                }
                let global = graph.global(*class).ok_or_else(|| bad("names no storage class"))?;
                let class = storage_class(&global.module, &global.name)
                    .ok_or_else(|| bad(&format!("names {}, which is no storage class", crate::text::quoted(&global.path(), 100))))?;
                let count = |id: NodeId, what: &str| -> Result<u64> {
                    graph.int(id).and_then(|n| u64::try_from(n).ok()).ok_or_else(|| bad(&format!("has no valid {what}")))
                };
                let (view, view_key) = match rest.first() {
                    None => (None, None),
                    Some(&view) if graph.node(view) == Node::None => (None, None),
                    Some(&view) => match graph.tuple(view) {
                        Some(&[key, offset, size]) => {
                            let key = graph
                                .str(key)
                                .filter(|key| key.len() as u64 <= MAX_KEY_BYTES)
                                .ok_or_else(|| bad("names a part of a storage by a key that is no text"))?;
                            (Some((count(offset, "view offset")?, count(size, "view size")?)), Some(key))
                        }
                        _ => return Err(bad("has view metadata of another form than (key, offset, size)")),
                    },
                };
                Ok(Some(StorageRef {
                    class,
                    key: match graph.int(*key) {
                        Some(number) => number.to_string().into(), // as torch.package writes it
                        // Bytes are another key than text, to torch too.
                        None => graph.str(*key).ok_or_else(|| bad("has no key"))?.into(),
                    },
                    location: match is_long(*location) {
                        true => graph.beginning(*location, MAX_KEY_BYTES as usize),
                        false => graph.str_or_ascii(*location).unwrap_or_default().into(),
                    },
                    n_elements: count(*n_elements, "number of elements")?,
                    view,
                    view_key,
                }))
            }
            _ => Err(bad(&format!("is neither a storage nor a module: {} with {} items", crate::text::quoted(tag, 40), items.len()))),
        }
    }
}
