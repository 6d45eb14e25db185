//! Outer formats: bytes to a [`Document`]. Detected by content, never by the file's name.
//!
//! To add one: a file here, a row in [`SNIFF`]. A container finds the pickle and the storages, and judges nothing.

mod bare_pickle;
mod foreign;
mod npy;
mod npz;
mod persistent_id;
mod storage_class;
mod torch_legacy;
mod torch_zip;
mod zip;
mod zip_directory;
mod zip_member;

use std::collections::HashMap;

use crate::error::{Code, Error, Result};
use crate::finding::Finding;
use crate::limits::ReadOptions;
use crate::numpy::RawArray;
use crate::pickle::{Broken, Graph, NodeId};
use crate::place::Place;
use crate::source::Region;
use crate::storage::Storage;

pub(crate) use persistent_id::StorageRef;
pub(crate) use storage_class::{StorageClass, storage_class};
pub(crate) use zip_directory::{check_crc, check_stored, inflate};

/// The outer format of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// `torch.save` since 1.6: a zip with `data.pkl` and one member for each storage.
    TorchZip,
    /// `torch.save` before 1.6: five pickles and the storages one after another.
    TorchLegacy,
    /// `pickle.dump`.
    BarePickle,
    /// `numpy.save`.
    Npy,
    /// `numpy.savez`.
    Npz,
}

impl Kind {
    /// The name in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::TorchZip => "torch-zip",
            Kind::TorchLegacy => "torch-legacy",
            Kind::BarePickle => "bare-pickle",
            Kind::Npy => "npy",
            Kind::Npz => "npz",
        }
    }
}

/// What a container holds, before anything in it is understood.
#[derive(Debug)]
pub struct Document {
    /// The outer format.
    pub kind: Kind,
    /// What the file says of its producer, in a fixed order: `byteorder`, `format_version` ...
    pub facts: Vec<(&'static str, String)>,
    /// What the pickles say, as one graph.
    pub graph: Graph,
    /// For each stream of the graph its bytes, and which of the `spaces` its persistent ids mean.
    pub streams: Vec<StreamSource>,
    /// Byte buffers by the key that persistent ids use.
    pub spaces: Vec<HashMap<String, Storage>>,
    /// What stands where the graph has a value of the container.
    pub given: HashMap<NodeId, Given>,
    /// Further values beside the root, and the name of each.
    pub beside: Vec<(String, NodeId)>,
    /// The members of an archive, in its order; empty for other containers.
    pub members: Vec<Member>,
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
}

impl Document {
    /// A document of one pickle.
    pub(crate) fn of_pickle(kind: Kind, graph: Graph, stream: Region) -> Self {
        Document {
            kind,
            facts: Vec::new(),
            graph,
            streams: vec![StreamSource { bytes: stream, space: 0 }],
            spaces: vec![HashMap::new()],
            given: HashMap::new(),
            beside: Vec::new(),
            members: Vec::new(),
            side_pickles: Vec::new(),
            findings: Vec::new(),
        }
    }

    /// A document of arrays, without a pickle: one, or a dict of several.
    pub(crate) fn of_arrays(kind: Kind, start: &Place, keys: Option<&[String]>, arrays: Vec<RawArray>) -> Self {
        let (graph, values) = Graph::given(start, keys);
        let mut document = Document::of_pickle(kind, graph, Region::memory(Default::default()));
        document.given = values.into_iter().zip(arrays.into_iter().map(Given::Array)).collect();
        document
    }

    /// Takes over all that `other` holds, except its facts, and returns the value that was its root.
    ///
    /// # Errors
    /// The limit on memory, when there are more nodes than can be counted.
    pub(crate) fn adopt(&mut self, other: Document) -> Result<NodeId> {
        let (nodes, spaces) = (self.graph.len(), self.spaces.len());
        let root = self.graph.adopt(other.graph)?;
        self.streams.extend(other.streams.into_iter().map(|stream| StreamSource { space: stream.space + spaces, ..stream }));
        self.spaces.extend(other.spaces);
        self.given.extend(other.given.into_iter().map(|(id, given)| (id.moved(nodes), given)));
        self.beside.extend(other.beside.into_iter().map(|(name, id)| (name, id.moved(nodes))));
        self.members.extend(other.members);
        self.side_pickles.extend(other.side_pickles);
        self.findings.extend(other.findings);
        Ok(root)
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

    /// The values that a walk starts from.
    pub fn roots(&self) -> impl Iterator<Item = NodeId> + '_ {
        std::iter::once(self.graph.root()).chain(self.beside.iter().map(|(_, id)| *id))
    }

    /// All pickles of the file, in its order.
    pub fn pickles(&self) -> impl Iterator<Item = &Graph> {
        self.side_pickles.iter().chain([&self.graph])
    }
}

/// One member of an archive.
#[derive(Debug, Clone)]
pub struct Member {
    pub name: String,
    /// Bytes once decompressed.
    pub len: u64,
    /// Where its stored bytes are.
    pub stored: Region,
    pub deflated: bool,
    /// The recorded CRC-32. torch writes 0 when it was told not to compute it.
    pub crc: u32,
    /// The key, when the member is a storage.
    pub storage_key: Option<String>,
    /// Whether the member has a part in the format other than as a storage.
    pub structural: bool,
}

/// A document, or why there is none together with what a broken pickle had built until then.
pub type Outcome = Result<Document, Box<Broken>>;

type Sniff = fn(&[u8]) -> bool;
type Open = fn(&Region, &Place, &ReadOptions) -> Outcome;

/// How each container is recognised, first match wins.
const SNIFF: &[(Sniff, Open)] = &[
    (zip::sniff, zip::open),
    (npy::sniff, npy::open),
    (torch_legacy::sniff, torch_legacy::open),
    (bare_pickle::sniff, bare_pickle::open),
];

/// Bytes of the head that recognition may look at.
const HEAD_BYTES: u64 = 1024;

/// Recognises and opens the container in `region`, whose first byte is at `start`.
///
/// # Errors
/// `empty-file`, `unsupported-container` for formats known by name, `unknown-format`, and whatever is wrong inside.
pub fn open(region: &Region, start: &Place, options: &ReadOptions) -> Outcome {
    let mut head = vec![0; region.len().min(HEAD_BYTES) as usize];
    region.read_at(0, &mut head)?;
    if head.is_empty() {
        return Err(Error::new(Code::EmptyFile, "the file is empty").help("the download or copy was not completed; repeat it").into());
    }
    if let Some((_, open)) = SNIFF.iter().find(|(sniff, _)| sniff(&head)) {
        return open(region, start, options);
    }
    Err(foreign::error(&head).into())
}
