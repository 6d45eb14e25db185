//! Outer formats: bytes to a [`Document`]. Detected by content, never by the file's name.
//!
//! To add one: a file here, a row in [`SNIFF`]. A container finds the pickle and the storages, and judges nothing.

mod bare_pickle;
mod bundle;
mod compressed;
mod document;
mod foreign;
mod hidden;
mod joblib;
mod member;
mod npy;
mod npz;
mod persistent_id;
mod polyglot;
mod pt2;
mod space;
mod storage_class;
mod tar;
mod torch_archive;
mod torch_legacy;
mod torch_package;
mod torch_tar;
mod torch_zip;
mod torchscript;
mod torchscript_json;
mod trailing;
mod zip;
mod zip_directory;
mod zip_end;
mod zip_entry;
mod zip_fields;
mod zip_member;

use std::path::Path;

use ::bytes::Bytes;

use crate::error::{Code, Error, Result};
use crate::limits::ReadOptions;
use crate::pickle::{self, Broken, Graph};
use crate::place::Place;
use crate::source::{Region, Source};

pub use document::{Document, Given, GivenTensor};
pub use member::Member;
pub use space::Space;

pub(crate) use bundle::{Bundle, Contents, Packaged, is_named_like_a_checkpoint, join, merge, no_checkpoints, stem};
pub(crate) use hidden::in_bytes;
pub(crate) use persistent_id::StorageRef;
pub(crate) use storage_class::{StorageClass, storage_class};
pub(crate) use zip_member::{check_crc, check_stored, inflate};

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
    /// `joblib.dump`.
    Joblib,
    /// `torch.save` before 0.1.10: a tar archive.
    TorchTar,
    /// `torch.jit.save`.
    TorchScript,
    /// `torch.package`.
    TorchPackage,
    /// `torch.export.save`.
    Pt2,
    /// Several files that an index lists.
    TorchIndex,
    /// A tar archive of files.
    Tar,
    /// A zip archive of files.
    Zip,
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
            Kind::Joblib => "joblib",
            Kind::TorchTar => "torch-tar",
            Kind::TorchScript => "torchscript",
            Kind::TorchPackage => "torch-package",
            Kind::Pt2 => "pt2",
            Kind::TorchIndex => "torch-index",
            Kind::Tar => "tar",
            Kind::Zip => "zip",
        }
    }
}

/// A document, or why there is none together with what a broken pickle had built until then.
pub type Outcome = Result<Document, Box<Broken>>;

type Sniff = fn(&[u8]) -> bool;

/// How a container is opened.
enum Open {
    /// One checkpoint.
    Document(fn(&Region, &Place, &ReadOptions) -> Outcome),
    /// What may hold others: the last argument is how many it is inside of.
    Outer(fn(&Region, &Place, &ReadOptions, u64) -> Result<Inner>),
}

/// What a file is, before its pickles are read.
pub enum Inner {
    /// One checkpoint, and how to read it.
    Document(Box<dyn FnOnce() -> Outcome>),
    /// An archive of files.
    Bundle(Bundle),
}

/// How each container is recognised, first match wins.
const SNIFF: &[(Sniff, Open)] = &[
    (zip::sniff, Open::Outer(zip::peek)),
    (npy::sniff, Open::Document(npy::open)),
    (torch_legacy::sniff, Open::Document(torch_legacy::open)),
    (compressed::sniff, Open::Outer(compressed::peek)),
    (tar::sniff, Open::Outer(tar::peek)),
    (bare_pickle::sniff, Open::Document(bare_pickle::open)),
];

/// Bytes of the head that recognition may look at.
const HEAD_BYTES: u64 = 1024;

/// Recognises the container in `region`, whose first byte is at `start`, and opens it: of a bundle only its directory.
///
/// # Errors
/// `empty-file`, `unsupported-container` for formats known by name, `unknown-format`, and whatever is wrong with its structure.
pub fn recognise(region: &Region, start: &Place, options: &ReadOptions) -> Result<Inner> {
    peek(region, start, options, 0)
}

/// Opens a file that is one checkpoint.
///
/// # Errors
/// Those of [`recognise`], whatever is wrong inside, and `unsupported-container` for a bundle.
pub fn open(region: &Region, start: &Place, options: &ReadOptions) -> Outcome {
    match recognise(region, start, options)? {
        Inner::Document(open) => open(),
        Inner::Bundle(bundle) => {
            let what = format!("a {} archive of files", bundle.kind.as_str());
            Err(crate::error::unsupported_container(&what, "extract it and convert the checkpoints inside").into())
        }
    }
}

/// The same for what is inside of `depth` others.
fn peek(region: &Region, start: &Place, options: &ReadOptions, depth: u64) -> Result<Inner> {
    options.limits.nesting(depth)?;
    let head = head(region)?;
    if head.is_empty() {
        return Err(Error::new(Code::EmptyFile, "the file is empty").help("the download or copy was not completed; repeat it"));
    }
    if polyglot::is_two(&head, region, start, options) {
        return Ok(polyglot::refuse(&head, region, start, options, depth));
    }
    let zip = if zip::sniff(&head) { None } else { zip_end::archive_at_the_end(region) };
    let inner = match (sniffed(&head).next(), zip) {
        (Some(Open::Document(open)), _) => {
            let (region, start, options) = (region.clone(), start.clone(), options.clone());
            Inner::Document(Box::new(move || open(&region, &start, &options)))
        }
        (Some(Open::Outer(peek)), _) => peek(region, start, options, depth)?,
        (None, Some(at)) => return Ok(polyglot::prefixed(region, start, at, options)),
        (None, None) => return Err(foreign::error(&head)),
    };
    Ok(match (inner, zip) {
        (Inner::Document(open), Some(at)) => {
            let (region, start, options) = (region.clone(), start.clone(), options.clone());
            Inner::Document(Box::new(move || polyglot::before_a_zip(open(), &region, &start, at, &options)))
        }
        (inner, _) => inner,
    })
}

/// The containers that a file starts like.
fn sniffed(head: &[u8]) -> impl Iterator<Item = &'static Open> + '_ {
    SNIFF.iter().filter(|(sniff, _)| sniff(head)).map(|(_, open)| open)
}

/// Whether a file starts like one of the containers, or ends as a zip archive does, which some readers open wherever it starts.
///
/// # Errors
/// `io`
pub(crate) fn looks_like_a_checkpoint(path: &Path) -> Result<bool> {
    let region = Region::file(&Source::open(path)?);
    Ok(sniffed(&head(&region)?).next().is_some() || zip_end::ends_with_an_archive(&region))
}

/// Whether a file ends as a zip archive does and starts otherwise.
pub(crate) fn is_before_an_archive(path: &Path) -> bool {
    let region = Source::open(path).map(|source| Region::file(&source));
    region.is_ok_and(|region| head(&region).is_ok_and(|head| !zip::sniff(&head)) && zip_end::ends_with_an_archive(&region))
}

/// Whether a file starts like a text, as far as its first bytes tell.
pub(crate) fn may_be_text(path: &Path) -> bool {
    head_of(path).is_ok_and(|head| !has_magic(&head))
}

/// Whether a file is an archive of a form that is not read here, so that nobody knows what is in it.
pub(crate) fn may_hide_pickles(path: &Path) -> bool {
    head_of(path).is_ok_and(|head| foreign::is_archive(&head))
}

fn head_of(path: &Path) -> Result<Vec<u8>> {
    head(&Region::file(&Source::open(path)?))
}

fn head(region: &Region) -> Result<Vec<u8>> {
    let mut head = vec![0; region.len().min(HEAD_BYTES) as usize];
    region.read_at(0, &mut head)?;
    Ok(head)
}

/// Whether a file starts like a container, with bytes that a text does not start with.
fn has_magic(head: &[u8]) -> bool {
    is_sure(head) || bare_pickle::has_magic(head)
}

/// Whether a file starts like one that is more than a pickle.
fn is_sure(head: &[u8]) -> bool {
    SNIFF[..SNIFF.len() - 1].iter().any(|(sniff, _)| sniff(head))
}

/// Runs the pickle at the start of `stream` within what the other pickles of the input have left of the memory budget.
fn run(stream: &Bytes, start: &Place, options: &ReadOptions) -> Result<Graph, Box<Broken>> {
    look_behind(run_only(stream, start, options), stream, start, options)
}

/// The same without a look behind the place where it breaks.
fn run_only(stream: &Bytes, start: &Place, options: &ReadOptions) -> Result<Graph, Box<Broken>> {
    count_memory(pickle::run(stream, start, &options.limits_left()), options)
}

/// What a pickle built, whole or until it broke, as far as it is worth keeping; the memory of what is not is given back.
fn built(graphs: Vec<Graph>, worth: impl Fn(&Graph) -> bool, options: &ReadOptions) -> Vec<Graph> {
    let (kept, dropped): (Vec<Graph>, Vec<Graph>) = graphs.into_iter().partition(worth);
    let given_back = dropped.iter().map(|graph| graph.memory() + GRAPH_BYTES).sum();
    options.forget_memory(options.memory().saturating_sub(given_back));
    kept
}

/// All that was read of a file, whole or until it broke.
fn graphs_of(outcome: Outcome) -> Vec<Graph> {
    match outcome {
        Ok(document) => document.into_graphs(),
        Err(broken) => broken.graphs,
    }
}

impl Inner {
    /// What all pickles in it would run. `start` is where it is, inside of `depth` others.
    fn graphs(self, start: &Place, options: &ReadOptions, depth: u64) -> Vec<Graph> {
        match self {
            Inner::Document(open) => graphs_of(open()),
            Inner::Bundle(bundle) => bundle.graphs(start, options, depth),
        }
    }
}

/// What another reader may reach behind the place where a pickle broke is noted.
fn look_behind(run: Result<Graph, Box<Broken>>, stream: &Bytes, start: &Place, options: &ReadOptions) -> Result<Graph, Box<Broken>> {
    run.map_err(|mut broken| {
        let behind = (stream.len() as u64).saturating_sub(broken.read_to);
        let end = broken.read_to.saturating_add(options.take_behind(behind)) as usize; // within the stream
        broken.look_behind(stream, end, start, &options.limits);
        broken
    })
}

/// What a graph takes that holds next to nothing, with its stream and what is said of its place.
const GRAPH_BYTES: u64 = 4_096;

fn count_memory(run: Result<Graph, Box<Broken>>, options: &ReadOptions) -> Result<Graph, Box<Broken>> {
    let built = match &run {
        Ok(graph) => std::slice::from_ref(graph),
        Err(broken) => &broken.graphs[..],
    };
    options.count_pickle(built.iter().map(|graph| graph.memory() + GRAPH_BYTES).sum(), built.iter().map(Graph::opcodes).sum());
    run
}
