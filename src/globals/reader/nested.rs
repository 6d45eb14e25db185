//! Torch files nested in the bytes of a pickle: how tensors go through `pickle.dump`.

use crate::container;
use crate::error::{Code, Error, Result};
use crate::globals::NESTED_LOADER;
use crate::globals::reader::Reader;
use crate::globals::value::{Call, StorageView, Value};
use crate::pickle::NodeId;
use crate::source::Region;
use crate::storage::{self, Content, Referred};

impl Reader<'_> {
    /// Reads every torch file that the pickle loads from bytes, also where it drops the result: what is in it must be seen.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub(crate) fn load_all_nested(&mut self) -> Result<()> {
        let graph = self.graph();
        for id in graph.ids() {
            let callable = graph.object(id).and_then(|object| graph.global(object.callable));
            if callable.is_some_and(|global| global.path() == NESTED_LOADER) {
                self.value(id)?;
            }
        }
        Ok(())
    }

    /// The storage of a whole torch file in the bytes of `node`, as `torch.storage._load_from_bytes` reads it. Each file
    /// is read once, however often it is loaded.
    pub(crate) fn nested_storage(&mut self, call: &Call, node: NodeId) -> Result<Value> {
        if let Some(view) = self.nested.get(&node) {
            return Ok(Value::Storage(*view));
        }
        let place = self.place(node);
        self.options.limits.nesting(self.nesting + 1).map_err(|e| e.at(&place))?;
        let Value::Bytes(content, _) = self.value(node)? else {
            return Err(self.bad_call(call, "has an argument that is not bytes"));
        };
        let region = match content {
            Content::Plain(region) => region,
            Content::Latin1(text) => {
                let mut bytes = Vec::new();
                storage::decode_latin1(&text.bytes()?, &mut |chunk| {
                    bytes.extend_from_slice(chunk);
                    Ok(())
                })
                .map_err(|e| e.at(&place))?;
                Region::memory(bytes.into())
            }
            Content::Deflated { .. } | Content::Joined(_) | Content::Meta => unreachable!("values of nodes are never archive members"),
        };
        let mut document = match container::open(&region, &place.nested(), self.options) {
            Ok(document) => document,
            Err(broken) => {
                // What it would run must not be lost with it.
                self.nested_pickles.extend(broken.graphs);
                return Err(broken.error);
            }
        };
        self.nested_findings.append(&mut document.findings);
        container::check_stored(&document.members, self.options)?;
        let mut inner = Reader::new(&document, self.options);
        inner.nesting = self.nesting + 1;
        let root = inner.load_all_nested().and_then(|()| inner.value(document.graph.root()));
        let mut found = inner.finish();
        self.nested_findings.append(&mut found.nested_findings);
        self.nested_pickles.append(&mut found.nested_pickles);
        self.nested_pickles.append(&mut document.side_pickles);
        let storage = match &root {
            Ok(Value::Storage(view)) => Some((*view, document.referred(&found.storages[view.id.index()]))),
            _ => None,
        };
        self.nested_pickles.push(document.graph);
        root?;
        let Some((view, storage)) = storage else {
            return Err(Error::new(Code::TensorUnsupported, "a nested torch file holds something else than one storage").at(&place));
        };
        let id = self.push_storage(Referred::Own(Box::new(storage)))?;
        let view = StorageView { id, ..view };
        self.nested.insert(node, view);
        Ok(Value::Storage(view))
    }
}
