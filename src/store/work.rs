//! What is done with one file of a store, and the row of the report that comes of it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::batch::{self, Outcome, Target};
use crate::container;
use crate::convert::{ConvertOptions, Converted};
use crate::digest;
use crate::error::{self, Code, Error};
use crate::filenames;
use crate::finding::Severity;
use crate::index::ShardIndex;
use crate::ledger::{FindingRecord, Ledger};
use crate::manifest;
use crate::progress::Progress;
use crate::scan;
use crate::set;
use crate::store::StoreOptions;
use crate::store::links;
use crate::store::record::{OutputRow, Reason, Row, State, note_source};
use crate::store::tree::{Entry, slashed};
use crate::store::units::{TargetName, Unit, What, is_index, is_named_like_a_checkpoint};

/// The word for files that are no checkpoints.
pub(crate) const NO_CHECKPOINT: &str = "no-checkpoint";

/// Works on the units of one store.
pub(crate) struct Worker<'a> {
    pub options: &'a StoreOptions,
    /// The folder of outputs.
    pub home: &'a Path,
    /// The outputs of this run so far.
    claimed: Mutex<HashSet<PathBuf>>,
}

impl<'a> Worker<'a> {
    pub fn new(options: &'a StoreOptions, home: &'a Path) -> Self {
        Worker { options, home, claimed: Mutex::default() }
    }

    /// Checks that what is at `output` may be replaced: nothing, what an earlier run made of the same file, or anything when asked.
    fn check_free(&self, output: &Path, before: Option<&Row>, is_ours: impl FnOnce() -> bool) -> crate::Result<()> {
        let name = slashed(output.strip_prefix(self.home).unwrap_or(output));
        let known = || before.is_some_and(|before| before.outputs.iter().any(|output| output.path == name));
        match output.symlink_metadata().is_err() || self.options.convert.force || known() || is_ours() {
            true => Ok(()),
            false => Err(error::output_exists(output)),
        }
    }

    /// Whether an output is nobody's yet in this run.
    fn claim(&self, output: &Path) -> bool {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner).insert(output.to_owned())
    }
}

impl Worker<'_> {
    /// Writes the index of a set, whose files became `outputs` by their names in the old one.
    pub fn index(&self, unit: &Unit, index: &ShardIndex, outputs: &[(String, PathBuf)], before: Option<&Row>) -> Row {
        let target = &unit.targets[0].file;
        let path = self.home.join(target);
        let mut work = Work { worker: self, unit, before, row: blank(unit), is_full: false };
        work.row.container = Some("torch-index".to_owned());
        let may_replace =
            self.options.convert.force || before.is_some_and(|before| before.outputs.iter().any(|output| output.path == *target));
        if self.options.dry_run {
            match index.check_shards() {
                Ok(()) => (work.row.state, work.row.outputs) = (State::Planned, vec![OutputRow::plain(target.clone(), 0, None)]),
                Err(error) => work.fail(&error, None),
            }
            return work.row;
        }
        let written = index.check_shards().and_then(|()| set::publish(index, outputs, &path, may_replace));
        match written.and_then(|published| Ok((published, path.metadata().map_err(|e| error::io("read", &path, &e))?.len()))) {
            Ok((_, bytes)) => work.row.outputs.push(OutputRow::plain(target.clone(), bytes, None)),
            Err(error) => work.fail(&error, None),
        }
        work.row
    }
}

/// What came of a file.
pub(crate) struct Ended {
    pub row: Row,
    /// Whether the disk is full, so that going on makes no sense.
    pub is_full: bool,
}

impl Worker<'_> {
    /// Does what is to be done with a file, of which `before` is what earlier runs made.
    pub fn work(&self, unit: &Unit, before: Option<&Row>, options: &ConvertOptions, progress: &dyn Progress) -> Ended {
        let mut work = Work { worker: self, unit, before, row: blank(unit), is_full: false };
        match &unit.what {
            What::Checkpoint => work.convert(options, progress),
            What::Other => work.bring_along(progress),
            What::Set(_) => unreachable!("a set is indexed when its files are done"),
            // A tree must not lead around in a circle; what is behind the link is looked at where it is.
            What::Unreadable(error) if unit.entry().is_link && unit.entry().path.is_dir() => {
                let reason = work.reason(error, None);
                work.row.give(reason, State::Skipped);
            }
            What::Unreadable(error) => work.fail(error, None),
        }
        let Work { mut row, is_full, .. } = work;
        if row.state == State::Failed {
            row.outputs.retain(|output| self.home.join(&output.path).exists());
        }
        Ended { row, is_full }
    }
}

/// The row of a file of which nothing is known.
fn blank(unit: &Unit) -> Row {
    let entry = unit.entry();
    Row {
        path: entry.name.clone(),
        also: unit.names[1..].iter().map(|entry| entry.name.clone()).collect(),
        bytes: unit.bytes(),
        modified: unit.modified(),
        state: State::Converted,
        sha256: None,
        container: None,
        outputs: Vec::new(),
        reasons: Vec::new(),
        findings: Vec::new(),
        more_findings: 0,
    }
}

struct Work<'a> {
    worker: &'a Worker<'a>,
    unit: &'a Unit,
    before: Option<&'a Row>,
    row: Row,
    is_full: bool,
}

impl Work<'_> {
    fn fail(&mut self, error: &Error, member: Option<String>) {
        let state = match error.code() {
            Code::Denied => State::Refused,
            // Of a bundle that holds other checkpoints it is a pickle beside them.
            Code::NoTensors | Code::ObjectArray => State::Skipped,
            _ => State::Failed,
        };
        self.is_full |= error.is_disk_full();
        self.row.find(error.findings().iter().map(FindingRecord::from));
        let reason = self.reason(error, member);
        self.row.give(reason, state);
    }

    /// What an error says, with files called as they are in the store, so that a report does not tell where the store was.
    fn reason(&self, error: &Error, member: Option<String>) -> Reason {
        let mut reason = Reason::of(error, member);
        let home = format!("{}/", self.worker.home.display());
        for entry in &self.unit.names {
            reason.message = reason.message.replace(&*entry.path.to_string_lossy(), &entry.name);
        }
        reason.message = reason.message.replace(&home, "");
        reason
    }

    fn bring_along(&mut self, progress: &dyn Progress) {
        if !self.worker.options.copy_rest {
            return self.no_checkpoint();
        }
        if self.worker.options.dry_run {
            self.row.state = State::Planned;
            let bytes = self.row.bytes;
            let planned = self.unit.names.iter().map(|entry| OutputRow::plain(entry.name.clone(), bytes, None));
            return self.row.outputs.extend(planned);
        }
        if let Err(error) = self.copy(progress) {
            self.row.outputs.clear();
            self.fail(&error, None);
        }
    }

    fn no_checkpoint(&mut self) {
        let message = "it is no checkpoint".to_owned();
        self.row.give(Reason { member: None, reason: NO_CHECKPOINT.to_owned(), message, place: None, help: None }, State::Skipped);
    }

    fn copy(&mut self, progress: &dyn Progress) -> crate::Result<()> {
        // A copy has the name of its original, also when that looked like a checkpoint at first.
        let outputs: Vec<PathBuf> = self.unit.names.iter().map(|entry| self.worker.home.join(&entry.name)).collect();
        let entry = self.unit.entry();
        for output in &outputs {
            if !self.worker.claim(output) {
                return Err(Error::outputs_collide(output));
            }
            self.worker.check_free(output, self.before, || same_content(&entry.path, output, progress))?;
        }
        let (bytes, sha256) = links::copy(&entry.path, &outputs[0], progress)?;
        for other in &outputs[1..] {
            links::file(&outputs[0], other, self.worker.options.link, progress)?;
        }
        self.row.state = State::Copied;
        self.row.sha256 = Some(sha256.clone());
        let rows = self.unit.names.iter().map(|entry| OutputRow::plain(entry.name.clone(), bytes, Some(sha256.clone())));
        self.row.outputs.extend(rows);
        Ok(())
    }

    fn convert(&mut self, options: &ConvertOptions, progress: &dyn Progress) {
        let (entry, home) = (self.unit.entry(), self.worker.home);
        let TargetName { file, folder } = &self.unit.targets[0];
        let target = Target { file: home.join(file), folder: Some(home.join(folder)) };
        let mut options = options.clone();
        options.force |= self.is_ours(&target);
        let mut failed = Vec::new();
        let (worker, before) = (self.worker, self.before);
        let may_write = |output: &PathBuf| match worker.claim(output) {
            true => worker.check_free(output, before, || made_of(output, entry)),
            false => Err(Error::outputs_collide(output)),
        };
        let claim = |outputs: &[PathBuf]| outputs.iter().map(may_write).collect();
        batch::convert(&entry.path, &target, &options, self.worker.options.dry_run, claim, progress, &mut |done| {
            let member = done.input.strip_prefix(&entry.path).ok().filter(|member| !member.as_os_str().is_empty()).map(slashed);
            match &done.outcome {
                Outcome::Converted(converted) => {
                    note_source(&mut self.row, converted);
                    for file in &converted.files {
                        self.wrote(&file.output, file.manifest.ledger());
                    }
                    self.row.find(converted.ledger().findings.iter().cloned());
                    let named = self.wrote_index(converted).and_then(|()| self.give_names(converted, progress));
                    named.unwrap_or_else(|error| self.fail(&error, member));
                }
                Outcome::Planned(ledger) => {
                    self.row.container = Some(ledger.source.container.clone());
                    self.row.state = self.row.state.max(State::Planned);
                    for number in 0..ledger.outputs.len() {
                        let name = &ledger.outputs[number].path;
                        self.wrote(&done.output.with_file_name(name), &ledger.of_file(number));
                    }
                    self.row.find(ledger.findings.iter().cloned());
                }
                Outcome::Indexed(_) | Outcome::IndexPlanned(_) => unreachable!("in a store the files of a set are by themselves"),
                Outcome::Skipped(error) => self.row.reasons.push(self.reason(error, member)),
                Outcome::Refused(error) => failed.push((error.clone(), member)),
            }
        });
        if let [(error, None)] = &failed[..]
            && self.row.outputs.is_empty()
            && is_something_else(entry, error)
        {
            return self.bring_along(progress);
        }
        failed.iter().for_each(|(error, member)| self.fail(error, member.clone()));
    }

    /// Notes an output, and under each name of the input.
    fn wrote(&mut self, output: &Path, ledger: &Ledger) {
        for index in 0..self.unit.targets.len() {
            let output = self.output(output, index);
            let (name, manifest) = (self.name_of(&output), self.name_of(&filenames::manifest_path(&output)));
            self.row.outputs.push(OutputRow::converted(name, manifest, ledger));
        }
    }

    /// Notes the index of several outputs.
    fn wrote_index(&mut self, converted: &Converted) -> crate::Result<()> {
        let Some(path) = &converted.index else { return Ok(()) };
        let bytes = path.metadata().map_err(|e| error::io("read", path, &e))?.len();
        for index in 0..self.unit.targets.len() {
            let name = self.name_of(&self.output(path, index));
            self.row.outputs.push(OutputRow::plain(name, bytes, None));
        }
        Ok(())
    }

    /// The name of an output in reports.
    fn name_of(&self, output: &Path) -> String {
        slashed(output.strip_prefix(self.worker.home).unwrap_or(output))
    }

    /// The output of the input under its name number `index`, where the first one has `output`.
    fn output(&self, output: &Path, index: usize) -> PathBuf {
        let (first, other) = (&self.unit.targets[0], &self.unit.targets[index]);
        match output.strip_prefix(self.worker.home.join(&first.folder)) {
            Ok(inside) => self.worker.home.join(&other.folder).join(inside),
            Err(_) if output == self.worker.home.join(&first.file) => self.worker.home.join(&other.file),
            // A file of a split, whose name follows from that of the whole, which all names have in common.
            Err(_) => self.worker.home.join(&other.file).with_file_name(output.file_name().unwrap_or_default()),
        }
    }

    /// Whether what is there was made of this file by an earlier run, so that it may be replaced.
    fn is_ours(&self, target: &Target) -> bool {
        let entry = self.unit.entry();
        let ours = |output: &Path| {
            output.symlink_metadata().is_ok() && self.worker.check_free(output, self.before, || made_of(output, entry)).is_ok()
        };
        let is_split = self.worker.options.convert.max_shard_size.is_some();
        let in_folder = || target.folder.as_deref().and_then(first_output).is_some_and(|output| ours(&output));
        ours(&target.file)
            || in_folder()
            || (is_split && files_of_split(&target.file).is_some_and(|files| files.iter().all(|file| ours(file))))
    }

    /// Gives all outputs their other names.
    fn give_names(&self, converted: &Converted, progress: &dyn Progress) -> crate::Result<()> {
        for (index, entry) in self.unit.names.iter().enumerate().skip(1) {
            for file in &converted.files {
                let output = self.output(&file.output, index);
                self.worker.check_free(&output, self.before, || made_of(&output, entry))?;
                links::give_name(file, &entry.path, &output, self.worker.options.link, progress)?;
            }
            if let Some(path) = &converted.index {
                links::file(path, &self.output(path, index), self.worker.options.link, progress)?;
            }
        }
        Ok(())
    }
}

/// Whether a file is a copy of another one, as a run leaves it that does not come to note it.
fn same_content(one: &Path, other: &Path, progress: &dyn Progress) -> bool {
    let digest = |path: &Path| digest::file(path, progress);
    match (one.metadata(), other.metadata()) {
        (Ok(a), Ok(b)) if a.len() == b.len() => digest(one).is_ok_and(|a| digest(other).is_ok_and(|b| a == b)),
        _ => false,
    }
}

/// Whether an output that is there was made of this file.
fn made_of(output: &Path, entry: &Entry) -> bool {
    let manifest = filenames::manifest_path(output);
    manifest::source_of(&manifest).is_some_and(|source| filenames::Identity::of(&source) == entry.identity)
}

/// The files beside an output that are called as those that it would be split into; `None` when there are none.
fn files_of_split(output: &Path) -> Option<Vec<PathBuf>> {
    let name = output.file_stem()?.to_string_lossy().into_owned() + "-";
    let beside = std::fs::read_dir(filenames::folder_of(output)).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let is_file = |path: &PathBuf| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        file.strip_prefix(&*name).is_some_and(|rest| rest.contains("-of-") && rest.ends_with(".safetensors"))
    };
    let files: Vec<PathBuf> = beside.filter(is_file).collect();
    (!files.is_empty()).then_some(files)
}

/// An output in a folder, or in those below it.
fn first_output(folder: &Path) -> Option<PathBuf> {
    let mut entries: Vec<_> = std::fs::read_dir(folder).ok()?.filter_map(Result::ok).collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    entries.iter().find_map(|entry| match entry.file_type().ok()?.is_dir() {
        true => first_output(&entry.path()),
        false => {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.strip_suffix(".manifest.json").map(|output| folder.join(output))
        }
    })
}

/// Whether a file that could not be read as a checkpoint is none: nobody would call one so, and it holds nothing that could be one.
fn is_something_else(entry: &Entry, error: &Error) -> bool {
    static EVERYTHING: OnceLock<crate::ReadOptions> = OnceLock::new();
    if is_named_like_a_checkpoint(&entry.name)
        || is_index(&entry.name)
        || container::is_before_an_archive(&entry.path)
        || error.findings().iter().any(|finding| finding.severity > Severity::Note)
    {
        return false;
    }
    match error.code() {
        Code::UnknownFormat | Code::UnsupportedContainer | Code::EmptyFile => !container::may_hide_pickles(&entry.path),
        Code::Denied | Code::Io | Code::OutputExists | Code::Mismatch | Code::LimitExceeded | Code::Usage => false,
        // An archive without any pickle.
        Code::NoTensors | Code::ObjectArray => {
            let scanned = scan::scan(&entry.path, scan::Expected::Anything, EVERYTHING.get_or_init(crate::ReadOptions::default));
            scanned.pickles == 0 && scanned.errors.is_empty() && scanned.findings.iter().all(|finding| finding.severity == Severity::Note)
        }
        // A text whose first letters happen to be opcodes.
        _ => container::may_be_text(&entry.path),
    }
}
