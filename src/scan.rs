//! What loading a file would run, for any file and without converting it: every pickle in it is read and judged, wherever it
//! is. A file that cannot be read to its end is reported with what was found until then.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::checkpoint::Checkpoint;
use crate::container::{self, Document, Kind};
use crate::coverage;
use crate::error::{Code, Error};
use crate::filenames;
use crate::finding::{Finding, Severity, limited};
use crate::input::Input;
use crate::limits::ReadOptions;
use crate::pickle::{Graph, OddityKind};
use crate::rules;
use crate::select::{Purpose, Root, Selection};

/// What was found in one file.
#[derive(Debug)]
#[non_exhaustive]
pub struct Scanned {
    /// The file, as it was named.
    pub path: PathBuf,
    /// The outer format, where it is known.
    pub container: Option<Kind>,
    /// Pickles that were read and judged.
    pub pickles: u64,
    /// In the order in which they were found.
    pub findings: Vec<Finding>,
    /// What could not be read of it, and why.
    pub errors: Vec<Error>,
    /// Why it is taken for a file that holds no pickle; `None` for every other file.
    pub no_checkpoint: Option<Error>,
    /// For members that stand in the file as they are and that a finding is about, where they start.
    starts: HashMap<String, u64>,
}

/// The most errors of one file that are listed.
const MAX_ERRORS: usize = 1_000;

/// In a few words, what is to be said of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// It holds no pickle.
    NoCheckpoint,
    /// All of it was read, and nothing in it is unknown.
    Clean,
    /// It calls something or has a class that is not known.
    Unrecognized,
    /// Not all of it could be read, and nothing dangerous was found.
    Unreadable,
    /// Loading it runs code, touches files or reaches the network.
    Dangerous,
}

impl Verdict {
    /// The word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::NoCheckpoint => "no-checkpoint",
            Verdict::Clean => "clean",
            Verdict::Unrecognized => "unrecognized",
            Verdict::Unreadable => "unreadable",
            Verdict::Dangerous => "dangerous",
        }
    }
}

impl Scanned {
    /// What is to be said of the file.
    pub fn verdict(&self) -> Verdict {
        match self.worst() {
            Some(Severity::Dangerous) => Verdict::Dangerous,
            _ if !self.errors.is_empty() => Verdict::Unreadable,
            Some(Severity::Unrecognized) => Verdict::Unrecognized,
            _ if self.no_checkpoint.is_some() => Verdict::NoCheckpoint,
            _ => Verdict::Clean,
        }
    }

    /// The highest severity of its findings.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }

    /// The offset of a finding in the file itself, where its member is not compressed.
    pub fn file_offset(&self, finding: &Finding) -> Option<u64> {
        let start = if finding.place.member.is_empty() { Some(&0) } else { self.starts.get(&*finding.place.member) };
        start.and_then(|start| start.checked_add(finding.place.offset))
    }

    /// A file of which nothing could be read.
    pub fn unreadable(path: &Path, error: Error) -> Scanned {
        Scanned { errors: vec![error], ..Scanned::new(path) }
    }

    fn new(path: &Path) -> Scanned {
        Scanned {
            path: path.to_owned(),
            container: None,
            pickles: 0,
            findings: Vec::new(),
            errors: Vec::new(),
            no_checkpoint: None,
            starts: HashMap::new(),
        }
    }

    /// Judges a pickle, and those in the bytes that it holds, which are dropped again.
    fn judge(&mut self, graph: &Graph, options: &ReadOptions) {
        self.judge_alone(graph);
        let before = options.memory();
        container::in_bytes(graph, options).iter().for_each(|inside| self.judge_alone(inside));
        options.forget_memory(before);
    }

    fn judge_alone(&mut self, graph: &Graph) {
        self.pickles += 1;
        self.findings.extend(rules::judge(graph));
        let unread = graph.oddities().iter().filter_map(|oddity| match &oddity.what {
            OddityKind::Unread(reason) => Some(Error::unread(&oddity.place, reason)),
            _ => None,
        });
        for error in unread {
            self.fail(error);
        }
    }

    /// Keeps what could not be read; of thousands in one file the first ones say enough.
    fn fail(&mut self, error: Error) {
        match self.errors.len() {
            0..MAX_ERRORS => self.errors.push(error),
            MAX_ERRORS => self.errors.push(Error::new(error.code(), "more of the file cannot be read than is listed here")),
            _ => {}
        }
    }

    fn understand(&mut self, document: Document, options: &ReadOptions) {
        let before = self.findings.len();
        self.findings.extend(document.findings.iter().cloned());
        for graph in document.side_pickles.iter().chain([&document.graph]) {
            self.judge(graph, options);
        }
        self.findings.extend(rules::sources::judge(&document, options));
        let (nested, members) = match Checkpoint::of(document, options) {
            Ok(mut checkpoint) => {
                self.findings.extend(checkpoint.findings.iter().cloned());
                self.findings.extend(coverage::findings(&checkpoint));
                let nested = std::mem::take(&mut checkpoint.nested_pickles);
                checkpoint.forget_pickles();
                let all = Selection { root: Root::Whole, ..Selection::default() };
                if let Ok(selected) = all.apply(&checkpoint, options, Purpose::Inspect) {
                    self.findings.extend(selected.confusable());
                }
                (nested, checkpoint.document.members)
            }
            Err(failed) => {
                // What this program does not know to write is no matter here: its pickles were read.
                if !matches!(failed.error.code(), Code::OpaqueResult | Code::TensorUnsupported | Code::NoTensors | Code::ObjectArray) {
                    self.fail(failed.error);
                }
                (failed.nested_pickles, failed.members)
            }
        };
        for graph in &nested {
            self.judge(graph, options);
        }
        let named: HashSet<&str> = self.findings[before..].iter().map(|finding| &*finding.place.member).collect();
        if named.iter().any(|name| !name.is_empty()) {
            for member in members.iter().filter(|member| !member.deflated) {
                let (name, start) = (member.place().member, member.stored().file_offset());
                self.starts.extend(start.filter(|_| named.contains(&*name)).map(|start| (name.to_string(), start)));
            }
        }
    }
}

/// How sure it is that a file should be a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Somebody named it: that it is none is an error.
    Checkpoint,
    /// It lies in a folder, perhaps beside others: that it is none is only said.
    Anything,
}

/// Reads and judges every pickle in `path`.
pub fn scan(path: &Path, expected: Expected, options: &ReadOptions) -> Scanned {
    let mut options = options.clone();
    options.everywhere = true;
    let mut scanned = Scanned::new(path);
    let must_be_one = expected == Expected::Checkpoint || container::is_named_like_a_checkpoint(&path.to_string_lossy());
    match Input::open(path, &options, None) {
        Ok(input) => {
            let options = input.options().clone();
            scanned.container = input.kind();
            input.each(|outcome| match outcome {
                Ok(document) => {
                    scanned.container.get_or_insert(document.kind);
                    scanned.understand(document, &options);
                }
                Err(broken) => {
                    scanned.findings.extend(broken.error.findings().iter().cloned());
                    for graph in &broken.graphs {
                        scanned.judge(graph, &options);
                    }
                    let does_anything = broken.graphs.iter().any(Graph::does_anything);
                    let sure = must_be_one || does_anything || scanned.container.is_some();
                    match broken.error.code() {
                        Code::NoTensors => {}
                        // A text whose first letters happen to be opcodes.
                        code if code != Code::LimitExceeded && !sure && container::may_be_text(path) => {
                            scanned.no_checkpoint = Some(broken.error);
                        }
                        _ => scanned.fail(broken.error),
                    }
                }
            });
        }
        Err(error) => {
            let known = matches!(error.code(), Code::UnknownFormat | Code::UnsupportedContainer | Code::EmptyFile);
            scanned.findings.extend(error.findings().iter().cloned());
            match known && !must_be_one && !container::may_hide_pickles(path) {
                true => scanned.no_checkpoint = Some(error),
                false => scanned.fail(error),
            }
        }
    }
    scanned.findings = limited(scanned.findings);
    scanned
}

/// Whether a path is a link to what is not below any of `roots` anyway.
fn leads_out(path: &Path, roots: &[PathBuf]) -> bool {
    let inside = |target: PathBuf| roots.iter().filter_map(|root| filenames::resolved(root)).any(|root| target.starts_with(root));
    path.is_symlink() && !filenames::resolved(path).is_some_and(inside)
}

/// A file to scan, or why a part of a tree cannot be looked into.
#[derive(Debug)]
pub struct Found {
    /// The file, by the path that leads to it.
    pub path: PathBuf,
    /// Whether somebody named it.
    pub expected: Expected,
    /// Why it cannot be read.
    pub error: Option<Error>,
}

impl Found {
    fn unreadable(path: PathBuf, error: Error) -> Found {
        Found { path, expected: Expected::Anything, error: Some(error) }
    }
}

/// The files at and below `paths`, each once. In folders links to files are followed, links to folders are not: a tree must not
/// lead around in a circle.
pub fn discover(paths: &[PathBuf]) -> Vec<Found> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    for path in paths {
        if !path.is_dir() {
            found.push(Found { path: path.clone(), expected: Expected::Checkpoint, error: None });
            continue;
        }
        let mut pending = vec![path.clone()];
        while let Some(folder) = pending.pop() {
            let entries = std::fs::read_dir(&folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
            let mut entries: Vec<PathBuf> = match entries {
                Ok(entries) => entries,
                Err(e) => {
                    let error = crate::error::io("list", &folder, &e);
                    found.push(Found::unreadable(folder, error));
                    continue;
                }
            };
            entries.sort();
            // The last one in is looked into next.
            pending.extend(entries.iter().rev().filter(|path| path.symlink_metadata().is_ok_and(|m| m.is_dir())).cloned());
            found.extend(entries.into_iter().filter_map(|path| entry(path, paths, &mut seen)));
        }
    }
    found
}

/// What an entry of a folder is to a scan; `None` for a folder, which is looked into by itself, and for a file that was seen.
fn entry(path: PathBuf, roots: &[PathBuf], seen: &mut HashSet<PathBuf>) -> Option<Found> {
    let what = match path.metadata() {
        Ok(metadata) if metadata.is_file() => {
            let new = seen.insert(filenames::resolved(&path).unwrap_or_else(|| path.clone()));
            return new.then_some(Found { path, expected: Expected::Anything, error: None });
        }
        Ok(metadata) if metadata.is_dir() && !leads_out(&path, roots) => return None,
        Ok(metadata) if metadata.is_dir() => "a link to a folder, which is not followed",
        Ok(_) => "no regular file",
        Err(e) => {
            let error = crate::error::io("read", &path, &e);
            return Some(Found::unreadable(path, error));
        }
    };
    let error = Error::usage(format!("{} is {what}", crate::text::quoted(&path.to_string_lossy(), 300)));
    Some(Found::unreadable(path, error))
}
