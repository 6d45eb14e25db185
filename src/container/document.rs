//! What a container is read into: a graph of all pickles, the buffers they refer to, and what the container says itself.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::container::{Kind, Member, Outcome, Space, StorageClass};
use crate::error::Result;
use crate::finding::Finding;
use crate::numpy::RawArray;
use crate::pickle::{Breaks, Graph, NodeId};
use crate::place::Place;
use crate::source::{Region, Source};
use crate::storage::{Referred, Storage};
use crate::tensor::Dtype;

/// What a container holds, before anything in it is understood.
#[derive(Debug)]
pub struct Document {
    /// The outer format.
    pub kind: Kind,
    /// What the file says of its producer, in a fixed order: `byteorder`, `format_version` ...
    pub facts: Vec<(&'static str, String)>,
    /// What the pickles say, as one graph.
    pub graph: Graph,
    /// The roots of the pickles that were put together, each with what stood beside it.
    pub roots: Vec<NodeId>,
    /// For each stream of the graph its bytes, and which of the `spaces` its persistent ids mean.
    pub streams: Vec<StreamSource>,
    /// Byte buffers by the key that persistent ids use.
    pub spaces: Vec<Space>,
    /// What stands where the graph has a value of the container.
    pub given: HashMap<NodeId, Given>,
    /// The members of an archive, in its order; empty for other containers.
    pub members: Arc<Vec<Member>>,
    /// Classes of TorchScript, as `module.name`, whose objects code in the archive makes of their states.
    pub remade: HashSet<String>,
    /// Files beside it in a bundle that are no checkpoints, with their sizes.
    pub others: Vec<(String, u64)>,
    /// Other files that it is spread over.
    pub companions: Vec<Arc<Source>>,
    /// Other pickles that loading the file runs, such as the four small ones of a legacy file.
    pub side_pickles: Vec<Graph>,
    /// What the container itself gives reason to say.
    pub findings: Vec<Finding>,
}

/// The bytes of a stream, and where its persistent ids lead.
#[derive(Debug, Clone)]
pub struct StreamSource {
    pub bytes: Region,
    /// An index into the spaces of the document.
    pub space: usize,
}

/// A value that a container holds itself.
#[derive(Debug, Clone)]
pub enum Given {
    /// An array in numpy's form.
    Array(RawArray),
    /// A tensor in torch's form.
    Tensor(GivenTensor),
    /// A storage, by its key.
    Storage(String, StorageClass),
}

/// A tensor over a storage of the document.
#[derive(Debug, Clone)]
pub struct GivenTensor {
    /// The key of the storage.
    pub storage: String,
    /// The type of its elements.
    pub class: StorageClass,
    /// The dtype, when it is not that of the storage.
    pub dtype: Option<Dtype>,
    /// All in elements, as the file gives them.
    pub shape: Vec<i64>,
    pub strides: Vec<i64>,
    pub offset: i64,
}

impl Document {
    /// A document of one pickle.
    pub(crate) fn of_pickle(kind: Kind, graph: Graph, stream: Region) -> Self {
        Document {
            kind,
            facts: Vec::new(),
            roots: vec![graph.root()],
            graph,
            streams: vec![StreamSource { bytes: stream, space: 0 }],
            spaces: vec![Space::default()],
            given: HashMap::new(),
            members: Arc::default(),
            remade: HashSet::new(),
            others: Vec::new(),
            companions: Vec::new(),
            side_pickles: Vec::new(),
            findings: Vec::new(),
        }
    }

    /// A document of arrays, without a pickle: one, or a dict of several.
    pub(crate) fn of_arrays(kind: Kind, start: &Place, keys: Option<&[String]>, arrays: Vec<RawArray>) -> Result<Self> {
        let (graph, values) = Graph::given(start, keys)?;
        let mut document = Document::of_pickle(kind, graph, Region::memory(Default::default()));
        document.given = values.into_iter().zip(arrays.into_iter().map(Given::Array)).collect();
        Ok(document)
    }

    /// Takes over all that `other` holds, except its facts, and returns the value that was its root.
    ///
    /// # Errors
    /// The limit on memory, when there are more nodes than can be counted.
    pub(crate) fn adopt(&mut self, other: Document) -> Result<NodeId> {
        let (nodes, spaces) = (self.graph.len(), self.spaces.len());
        let root = self.graph.adopt(other.graph)?;
        self.streams.extend(other.streams.into_iter().map(|stream| StreamSource { space: stream.space + spaces, ..stream }));
        let members = self.members.len();
        self.spaces.extend(other.spaces.into_iter().map(|space| space.moved(members)));
        self.roots.extend(other.roots.into_iter().map(|root| root.moved(nodes)));
        self.given.extend(other.given.into_iter().map(|(id, given)| (id.moved(nodes), given)));
        Arc::make_mut(&mut self.members).extend(Arc::unwrap_or_clone(other.members));
        self.remade.extend(other.remade);
        self.companions.extend(other.companions);
        self.side_pickles.extend(other.side_pickles);
        self.findings.extend(other.findings);
        Ok(root)
    }

    /// A storage of one of its spaces.
    fn stored(&self, space: u32, number: u32) -> Storage {
        self.spaces[space as usize].storage(number, &self.members)
    }

    /// A storage that something refers to.
    pub(crate) fn referred(&self, storage: &Referred) -> Storage {
        match storage {
            Referred::Stored(space, number) => self.stored(*space, *number),
            Referred::Own(storage) => Storage::clone(storage),
        }
    }

    /// The key of a storage that something refers to.
    pub(crate) fn key_of(&self, storage: &Referred) -> String {
        match storage {
            Referred::Stored(space, number) => self.spaces[*space as usize].key_of(*number, &self.members),
            Referred::Own(storage) => storage.key.clone(),
        }
    }

    /// For each member, whether it is a storage.
    pub(crate) fn are_storages(&self) -> Vec<bool> {
        let all = self.spaces.iter().zip(0..).flat_map(|(space, i)| (0..space.len() as u32).map(move |number| Referred::Stored(i, number)));
        self.are_among(all)
    }

    /// For each member, whether it is one of some storages.
    pub(crate) fn are_among(&self, storages: impl Iterator<Item = impl std::borrow::Borrow<Referred>>) -> Vec<bool> {
        let mut found = vec![false; self.members.len()];
        let mut named: HashSet<Arc<str>> = HashSet::new();
        for storage in storages {
            let name = match storage.borrow() {
                Referred::Stored(space, number) => match self.spaces[*space as usize].member_index(*number) {
                    Some(index) => {
                        found[index] = true;
                        continue;
                    }
                    None => self.stored(*space, *number).place.member,
                },
                Referred::Own(storage) => Arc::clone(&storage.place.member),
            };
            named.insert(name);
        }
        if !named.is_empty() {
            for (member, found) in self.members.iter().zip(&mut found) {
                *found |= named.contains(&member.place().member);
            }
        }
        found
    }

    /// The same without its members, which belong to an archive that is a member itself.
    pub(crate) fn without_members(mut self) -> Self {
        let members = std::mem::take(&mut self.members);
        self.spaces = self.spaces.into_iter().map(|space| space.without(&members)).collect();
        self
    }

    /// Puts `other` in the place of one of its values.
    ///
    /// # Errors
    /// Those of [`Document::adopt`].
    pub(crate) fn put(&mut self, place: NodeId, other: Document) -> Result<()> {
        let root = self.adopt(other)?;
        self.graph.link(place, root);
        Ok(())
    }

    /// All that loading the file runs.
    pub(crate) fn into_graphs(mut self) -> Vec<Graph> {
        self.side_pickles.push(self.graph);
        self.side_pickles
    }

    /// The document, if none of the pickles that it was made of is broken.
    ///
    /// # Errors
    /// The first of `breaks`; what the whole pickles would run is kept to be judged.
    pub(crate) fn unless(self, breaks: Breaks) -> Outcome {
        match breaks.into_first() {
            Some(broken) => Err(broken.after(self.into_graphs())),
            None => Ok(self),
        }
    }

    /// The space in which the persistent ids of a node are looked up. What shares a space was written together.
    pub(crate) fn space_of(&self, id: NodeId) -> usize {
        self.streams[self.graph.stream_of(id)].space
    }

    /// Takes over another pickle whose persistent ids mean what those of the first one mean.
    ///
    /// # Errors
    /// The limit on memory, when there are more nodes than can be counted.
    pub(crate) fn adopt_pickle(&mut self, graph: Graph, stream: Region) -> Result<NodeId> {
        let root = self.graph.adopt(graph)?;
        self.streams.push(StreamSource { bytes: stream, space: 0 });
        Ok(root)
    }
}
