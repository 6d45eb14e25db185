//! Outer formats: bytes to a [`Document`]. Detected by content, never by the file's name.
//!
//! To add one: a file here, a row in [`SNIFF`]. A container finds the pickle and the storages, and judges nothing.

mod bare_pickle;
mod foreign;
mod persistent_id;
mod storage_class;
mod torch_legacy;
mod torch_zip;
mod zip_directory;

use std::collections::HashMap;

use crate::error::{Code, Error};
use crate::finding::Finding;
use crate::limits::ReadOptions;
use crate::pickle::{Broken, Graph};
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
}

impl Kind {
    /// The name in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::TorchZip => "torch-zip",
            Kind::TorchLegacy => "torch-legacy",
            Kind::BarePickle => "bare-pickle",
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
    /// The pickle that describes the checkpoint.
    pub graph: Graph,
    /// The bytes of that pickle's stream.
    pub stream: Region,
    /// The byte buffers by the key that persistent ids use.
    pub storages: HashMap<String, Storage>,
    /// The members of an archive, in its order; empty for other containers.
    pub members: Vec<Member>,
    /// Other pickles that loading the file runs, such as the four small ones of a legacy file.
    pub side_pickles: Vec<Graph>,
    /// What the container itself gives reason to say.
    pub findings: Vec<Finding>,
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
const SNIFF: &[(Sniff, Open)] =
    &[(torch_zip::sniff, torch_zip::open), (torch_legacy::sniff, torch_legacy::open), (bare_pickle::sniff, bare_pickle::open)];

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
