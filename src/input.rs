//! What a user names as input: a file that is one checkpoint, a bundle of several, or the index of several that are one.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::checkpoint;
use crate::container::{self, Contents, Document, Inner, Kind, Outcome, Packaged};
use crate::digest::Sha;
use crate::error::Result;
use crate::filenames;
use crate::finding::{Finding, limited_to};
use crate::index::ShardIndex;
use crate::limits::ReadOptions;
use crate::pickle::{Breaks, Broken, Graph};
use crate::place::Place;
use crate::source::{Region, Source};

/// An open input, recognised and not yet read.
pub struct Input {
    pub(crate) source: Arc<Source>,
    read: ReadOptions,
    form: Form,
    /// The digest of the source, once it is known: a bundle is hashed once, not once for each checkpoint.
    pub(crate) sha256: Arc<OnceLock<Sha>>,
}

/// What a document takes beside its pickles.
const DOCUMENT_BYTES: u64 = 2_048;

enum Form {
    Checkpoint(Box<dyn FnOnce() -> Outcome>),
    Bundle(Bundle),
    Set(Set),
}

/// The files of an index, which are one checkpoint.
struct Set {
    index: ShardIndex,
    shards: Vec<Arc<Source>>,
}

struct Bundle {
    kind: Kind,
    facts: Vec<(&'static str, String)>,
    contents: Contents,
    around: OnceLock<Around>,
}

/// What the record of each checkpoint of a bundle says of the rest of it.
struct Around {
    others: Vec<(String, u64)>,
    findings: Vec<Finding>,
    judged: Vec<Finding>,
}

/// Lines that the records of all checkpoints of a bundle may have of the rest of it, whatever is there: each repeats them.
const MAX_AROUND: usize = 200_000;
/// Lines that the record of each may have in any case.
const MIN_AROUND: usize = 20;

impl Around {
    /// `judge` says what a pickle between the checkpoints would run.
    fn of(contents: &Contents, judge: fn(&Graph) -> Vec<Finding>) -> Around {
        let most = (MAX_AROUND / contents.checkpoints.len().max(1)).max(MIN_AROUND);
        let mut findings = contents.findings.clone();
        if let Some(more) = contents.others.len().checked_sub(most).filter(|more| *more > 0) {
            let message = format!("the bundle has {} that are not listed here", crate::text::count(more as u64, "more file"));
            findings.push(Finding::note("unreferenced-entry", Place::start_of(&contents.others[most].0), message));
        }
        let judged = contents.side_pickles.iter().flat_map(judge).collect();
        Around {
            others: contents.others.iter().take(most).cloned().collect(),
            findings: limited_to(most, findings),
            judged: limited_to(most, judged),
        }
    }
}

/// The file that a document was read from.
pub(crate) struct Origin {
    pub source: Arc<Source>,
    /// How it was read, and what that has cost.
    pub read: ReadOptions,
    pub sha256: Arc<OnceLock<Sha>>,
}

/// A document, and where in a bundle it comes from.
pub(crate) struct Read {
    pub document: Document,
    /// The path in the bundle, when it is one of several files.
    pub member: Option<String>,
    /// Whether the document is several checkpoints by name.
    pub merged: bool,
    /// What was found in pickles around it.
    pub judged: Vec<Finding>,
    /// The index of the files that it was read from.
    pub set: Option<Arc<ShardIndex>>,
}

impl Input {
    /// Opens a file, or the files of a set by their index.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`of_set`](Self::of_set), and those of the index.
    pub fn open_any(path: &Path, options: &ReadOptions, scratch: Option<&Path>) -> Result<Input> {
        match filenames::is_index(path) {
            true => Input::of_set(ShardIndex::read(path, &options.limits)?, options, scratch),
            false => Input::open(path, options, scratch),
        }
    }

    /// Opens and recognises a file. What is compressed is decoded to an unnamed file in `scratch`, if that is a folder.
    ///
    /// # Errors
    /// `io`, `unknown-format`, and whatever is wrong with the outer structure of the file.
    pub fn open(path: &Path, options: &ReadOptions, scratch: Option<&Path>) -> Result<Input> {
        let source = Source::open(path)?;
        let mut read = options.for_input(source.len());
        read.beside.get_or_insert_with(|| filenames::folder_of(path).to_owned());
        if read.scratch.is_none() {
            read.scratch = scratch.filter(|folder| folder.is_dir()).map(Path::to_owned);
        }
        let form = match container::recognise(&Region::file(&source), &Place::start_of(""), &read)? {
            Inner::Document(open) => Form::Checkpoint(open),
            Inner::Bundle(bundle) => {
                // What is beside a bundle belongs to no pickle inside of it.
                read.beside = None;
                let (kind, facts) = (bundle.kind, bundle.facts.clone());
                Form::Bundle(Bundle { kind, facts, contents: bundle.contents(&read), around: OnceLock::new() })
            }
        };
        Ok(Input { source, read, form, sha256: Arc::default() })
    }

    /// The files that an index lists, which are all opened, as one checkpoint.
    ///
    /// # Errors
    /// `set-incomplete`, and `io` when one of them cannot be opened.
    pub fn of_set(index: ShardIndex, options: &ReadOptions, scratch: Option<&Path>) -> Result<Input> {
        index.check_shards()?;
        let shards = index.shards().iter().map(|shard| Source::open(shard)).collect::<Result<Vec<_>>>()?;
        let source = Arc::clone(index.source());
        let mut read = options.for_input(shards.iter().map(|shard| shard.len()).sum::<u64>() + source.len());
        read.beside.get_or_insert_with(|| filenames::folder_of(index.path()).to_owned());
        if read.scratch.is_none() {
            read.scratch = scratch.filter(|folder| folder.is_dir()).map(Path::to_owned);
        }
        Ok(Input { source, read, form: Form::Set(Set { index, shards }), sha256: Arc::default() })
    }

    /// The paths of the files that it is.
    pub(crate) fn sources(&self) -> Vec<&Path> {
        let shards = if let Form::Set(set) = &self.form { set.shards.as_slice() } else { &[] };
        std::iter::once(&self.source).chain(shards).map(|source| source.path()).collect()
    }

    /// The paths of the checkpoints in a bundle; `None` for a file that is one checkpoint, and for a bundle that is refused as a
    /// whole.
    pub fn checkpoints(&self) -> Option<Vec<&str>> {
        match &self.form {
            Form::Bundle(bundle) if bundle.contents.refused.is_none() => {
                Some(bundle.contents.checkpoints.iter().map(|packaged| packaged.name.as_str()).collect())
            }
            _ => None,
        }
    }

    /// The outer format of a bundle.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match &self.form {
            Form::Checkpoint(_) => None,
            Form::Bundle(bundle) => Some(bundle.kind),
            Form::Set(_) => Some(Kind::TorchIndex),
        }
    }

    /// How it is read.
    pub(crate) fn options(&self) -> &ReadOptions {
        &self.read
    }

    /// Reads every checkpoint by itself, whatever is wrong with another one, and then what is in none of them.
    pub(crate) fn each(self, mut visit: impl FnMut(Outcome)) {
        let Bundle { kind, contents, .. } = match self.form {
            Form::Checkpoint(open) => return visit(open()),
            Form::Set(set) => return visit(set.read(&self.read).map(|(document, _)| document)),
            Form::Bundle(bundle) => bundle,
        };
        for packaged in &contents.checkpoints {
            self.read.forget();
            visit(open(packaged, &self.read));
        }
        let rest = contents.refused.unwrap_or_else(|| container::no_checkpoints(kind)).with_findings(&contents.findings);
        visit(Err(Box::<Broken>::from(rest).after(contents.side_pickles)));
    }

    /// Reads the one checkpoint, or all of a bundle as one: by their paths without endings, where several hold tensors.
    ///
    /// # Errors
    /// Whatever is wrong with one of them.
    pub(crate) fn read(self) -> Result<(Read, Origin), Box<Broken>> {
        let handle = Origin { source: self.source, read: self.read.clone(), sha256: self.sha256 };
        if let Form::Bundle(_) = self.form {
            self.read.forget();
        }
        let bundle = match self.form {
            Form::Checkpoint(open) => {
                return Ok((Read { document: open()?, member: None, merged: false, judged: Vec::new(), set: None }, handle));
            }
            Form::Set(set) => {
                let (document, index) = set.read(&handle.read)?;
                let set = Some(Arc::new(index));
                return Ok((Read { document, member: None, merged: false, judged: Vec::new(), set }, handle));
            }
            Form::Bundle(bundle) => bundle,
        };
        let Bundle { kind, facts, contents, .. } = bundle;
        let Contents { checkpoints, others: other_files, findings, side_pickles, refused } = contents;
        let mut with_tensors: Vec<(String, Document)> = Vec::new();
        let mut others = Vec::new();
        let mut breaks = Breaks::default();
        if let Some(error) = refused {
            breaks.take::<Document>(Err(error.into()));
        }
        for packaged in &checkpoints {
            if let Err(error) = self.read.debit(DOCUMENT_BYTES) {
                breaks.take::<Document>(Err(error.at(&Place::start_of(&packaged.name)).into()));
                break;
            }
            match breaks.take(open(packaged, &self.read)) {
                Some(document) if checkpoint::holds_tensors(&document, &self.read) => with_tensors.push((packaged.name.clone(), document)),
                Some(document) => others.push(document),
                None => {}
            }
        }
        if with_tensors.is_empty() {
            breaks.take::<Document>(Err(container::no_checkpoints(kind).into()));
        }
        if let Some(mut broken) = breaks.into_first() {
            broken.error = broken.error.with_findings(&findings);
            let read = with_tensors.into_iter().map(|(_, document)| document).chain(others);
            return Err(broken.after(read.flat_map(Document::into_graphs).chain(side_pickles).collect()));
        }
        let mut read = if with_tensors.len() == 1 {
            let (name, mut document) = with_tensors.remove(0);
            document.facts.splice(0..0, facts);
            Read { document, member: Some(name), merged: false, judged: Vec::new(), set: None }
        } else {
            let named = with_tensors.into_iter().map(|(name, document)| (container::stem(&name).to_owned(), document)).collect();
            Read { document: container::merge(kind, facts, named)?, member: None, merged: true, judged: Vec::new(), set: None }
        };
        read.document.others = other_files;
        read.document.findings.splice(0..0, findings);
        read.document.side_pickles.extend(side_pickles);
        // Pickles without tensors are judged all the same.
        for mut other in others {
            read.document.findings.append(&mut other.findings);
            read.document.side_pickles.extend(other.into_graphs());
        }
        Ok((read, handle))
    }

    /// Reads the checkpoint number `index` of a bundle. `judge` says what a pickle around it would run; that is asked once.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub(crate) fn read_one(&self, index: usize, judge: fn(&Graph) -> Vec<Finding>) -> Result<(Read, Origin), Box<Broken>> {
        let Form::Bundle(bundle) = &self.form else { unreachable!("only bundles have numbered checkpoints") };
        let around = bundle.around.get_or_init(|| Around::of(&bundle.contents, judge));
        let packaged = &bundle.contents.checkpoints[index];
        self.read.forget();
        let mut document = open(packaged, &self.read).map_err(|mut broken| {
            broken.error = broken.error.with_findings(&around.judged);
            broken
        })?;
        document.facts.splice(0..0, bundle.facts.clone());
        document.others.clone_from(&around.others);
        document.findings.splice(0..0, around.findings.iter().cloned());
        let handle = Origin { source: Arc::clone(&self.source), read: self.read.clone(), sha256: Arc::clone(&self.sha256) };
        Ok((Read { document, member: Some(packaged.name.clone()), merged: false, judged: around.judged.clone(), set: None }, handle))
    }
}

impl Set {
    /// Reads all files; the first that is broken is the error, with what the others would run.
    fn read(self, options: &ReadOptions) -> Result<(Document, ShardIndex), Box<Broken>> {
        let mut breaks = Breaks::default();
        let mut read = Vec::new();
        for (name, shard) in self.index.shard_names().iter().zip(self.shards) {
            let opened = container::open(&Region::file(&shard), &Place::start_of(name), options);
            let opened = opened.map_err(|mut broken| {
                broken.error = broken.error.at(&Place::start_of(name));
                broken
            });
            if let Some(mut document) = breaks.take(opened) {
                document.companions.insert(0, shard);
                read.push((name.clone(), document));
            }
        }
        match breaks.into_first() {
            Some(broken) => Err(broken.after(read.into_iter().flat_map(|(_, document)| document.into_graphs()).collect())),
            None => Ok((container::join(read)?, self.index)),
        }
    }
}

fn open(packaged: &Packaged, options: &ReadOptions) -> Outcome {
    container::open(&packaged.content.clone()?, &Place::start_of(&packaged.name), options)
}
