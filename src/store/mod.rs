//! A tree of checkpoints becomes a tree of safetensors files: unattended, on all cores, and with a report of every file. What is done is
//! noted at once, so that a run that is killed is finished by the next one, and one that has nothing to do is over in a moment.
//!
//! The order: [`Roots::walk`] finds the files by their names; [`Store::open`] looks at the first bytes of each, names the outputs, and
//! sees what earlier runs have done; [`Store::run`] does the rest.

mod journal;
mod links;
pub mod merge;
mod part;
pub mod record;
mod settings;
mod tree;
mod units;
mod work;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::convert::ConvertOptions;
use crate::digest;
use crate::error::{self, Code, Result};
use crate::filenames;
use crate::index::ShardIndex;
use crate::jobs::{self, Jobs, OnTurn};
use crate::limits::Limits;
use crate::manifest;
use crate::output;
use crate::progress::Progress;
use crate::verify;
use journal::{Files, History, Journal};
use record::{Report, Row, State};
use units::{Unit, What};
use work::{Ended, Worker};

pub use links::Link;
pub use part::Part;
pub use record::Totals;
pub use tree::{Entry, Roots};

/// How a store is converted.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// How each checkpoint is.
    pub convert: ConvertOptions,
    /// How many at once.
    pub jobs: Jobs,
    /// Whether files that are no checkpoints are brought along.
    pub copy_rest: bool,
    /// How one output gets several names.
    pub link: Link,
    /// Whether what earlier runs did is compared with its digests again.
    pub recheck: bool,
    /// The part of the store that is converted.
    pub part: Option<Part>,
    /// Whether the outputs are beside the originals.
    pub in_place: bool,
    /// Whether only some files of the store are looked at; of the others the report keeps what it says.
    pub is_choice: bool,
    /// Say what would be done, and write nothing.
    pub dry_run: bool,
}

/// Hears of what happens in a store; called from several threads.
pub trait Listener: Sync {
    /// Work on a file starts.
    fn file<'a>(&'a self, name: &str, bytes: u64) -> Box<dyn Progress + Send + 'a>;
    /// Work on a file has ended.
    fn ended(&self, row: &Row);
    /// Whether the work is no longer wanted.
    fn cancelled(&self) -> bool;
}

/// A store that was looked at.
pub struct Store {
    options: StoreOptions,
    settings: Value,
    root: PathBuf,
    home: PathBuf,
    name: String,
    files: Files,
    history: History,
    units: Vec<Unit>,
    /// For each unit, what became of it, if nothing is left to do.
    done: Vec<Option<Row>>,
}

impl Store {
    /// Looks at the files of a store, whose outputs go to the folder `home`. `store` is what the report calls it.
    ///
    /// # Errors
    /// None of a single file, each of which has a row of the report.
    pub fn open(entries: Vec<Entry>, store: &Path, home: &Path, options: StoreOptions) -> Result<Store> {
        let settings = settings::of(&options.convert);
        let files = Files::new(home, options.part);
        let history = History::read(&files, &settings);
        let entries = if options.in_place { without_products(entries) } else { entries };
        let known = |entry: &Entry| {
            let row = history.get(&entry.name).map(|(row, _)| row).filter(|_| !options.recheck)?;
            let is_there = || row.outputs.iter().all(|output| home.join(&output.path).is_file());
            // What is about to be read, or copied, is looked at again.
            match row.bytes == entry.bytes && row.modified.is_some() && row.modified == entry.modified && is_there() {
                true if row.state == State::Converted => Some(true),
                true if row.state == State::Copied => Some(false),
                true if row.reasons.iter().any(|reason| reason.reason == work::NO_CHECKPOINT) && !options.copy_rest => Some(false),
                _ => None,
            }
        };
        let split = options.convert.max_shard_size.is_some();
        let mut units = units::units(entries, &known, split, &options.convert.read.limits);
        units::name_targets(&mut units, split, &|_| options.copy_rest || options.in_place);
        if let Some(part) = options.part {
            // The files of a set stay together.
            let keys = units::keys(&units);
            units.retain(|unit| part.has(keys.get(unit.name()).map_or(unit.name(), String::as_str)));
        }
        let name = filenames::relative(store, home);
        let root = store.to_owned();
        let mut store = Store { options, settings, root, home: home.to_owned(), name, files, history, units, done: Vec::new() };
        store.done = store.units.iter().map(|unit| store.is_done(unit)).collect();
        Ok(store)
    }

    /// Files, and bytes of those, that there is something to do for.
    pub fn to_do(&self) -> (u64, u64) {
        let bytes: Vec<u64> = self.left().map(|unit| self.units[unit].bytes()).collect();
        (bytes.len() as u64, bytes.iter().sum())
    }

    /// Files of which nothing is left to do.
    pub fn n_done(&self) -> u64 {
        self.done.iter().flatten().count() as u64
    }

    /// The report's place.
    pub fn report_path(&self) -> &Path {
        &self.files.report
    }

    fn left(&self) -> impl Iterator<Item = usize> + '_ {
        self.done.iter().enumerate().filter(|(_, done)| done.is_none()).map(|(unit, _)| unit)
    }

    /// What became of a unit, if nothing is left to do.
    fn is_done(&self, unit: &Unit) -> Option<Row> {
        if self.options.recheck || self.options.dry_run { None } else { self.recorded(unit) }
    }

    /// What the record says of a unit, if it is about the file as it is now, and its outputs are there.
    fn recorded(&self, unit: &Unit) -> Option<Row> {
        let (row, same_version) = self.history.get(unit.name())?;
        let others = || unit.names[1..].iter().map(|entry| &entry.name).eq(&row.also);
        if !is_same(row, unit) || !others() {
            return None;
        }
        let in_place = |path: &str, bytes: Option<u64>| {
            self.home.join(path).metadata().is_ok_and(|there| there.is_file() && bytes.is_none_or(|bytes| there.len() == bytes))
        };
        let is_there = || {
            row.outputs.iter().all(|output| {
                in_place(&output.path, Some(output.bytes)) && output.manifest.as_ref().is_none_or(|manifest| in_place(manifest, None))
            })
        };
        // Named as it would be now.
        let is_named = || match (&row.outputs[..], &unit.what) {
            ([first, ..], What::Checkpoint) if first.member.is_none() => {
                let whole = &unit.targets[0].file;
                first.path == *whole || first.path.starts_with(&format!("{}-00001-of-", whole.trim_end_matches(".safetensors")))
            }
            ([first, ..], What::Set(_)) => first.path == unit.targets[0].file,
            ([first, ..], What::Checkpoint) => first.path.starts_with(&format!("{}/", unit.targets[0].folder)),
            _ => true,
        };
        let is_done = match (row.state, &unit.what) {
            (State::Converted, What::Checkpoint | What::Set(_)) => is_named() && is_there(),
            (State::Copied, What::Other) => self.options.copy_rest && is_there(),
            (State::Skipped, What::Other) => !self.options.copy_rest && !row.reasons.is_empty(),
            // Another version may read it, and another day the disk.
            (State::Skipped | State::Refused | State::Failed, What::Checkpoint) => {
                let code = |code: Option<Code>| !matches!(code, Some(Code::Io | Code::OutputExists | Code::Mismatch));
                same_version && !row.reasons.is_empty() && row.reasons.iter().all(|reason| code(reason.code())) && is_there()
            }
            _ => false,
        };
        is_done.then(|| row.clone())
    }

    /// What the record says of a unit, if all digests in it are still those of the files.
    fn rechecked(&self, unit: &Unit, progress: &dyn Progress) -> Option<Row> {
        let row = self.recorded(unit)?;
        let is_same = match row.state {
            State::Converted => row
                .outputs
                .iter()
                .filter_map(|output| output.manifest.as_ref())
                .all(|manifest| verify::check_manifest(&self.home.join(manifest), progress).is_ok_and(|report| report.source_checked)),
            State::Copied => {
                let copies = row.outputs.iter().map(|output| self.home.join(&output.path));
                let mut files = copies.chain([unit.entry().path.clone()]);
                files.all(|file| digest::file(&file, progress).is_ok_and(|sha| Some(sha.to_string()) == row.sha256))
            }
            _ => false,
        };
        is_same.then_some(row)
    }

    /// Does what is left to do, and gives the report, which is written unless this is a dry run.
    ///
    /// # Errors
    /// `io` when journal or report cannot be written, or the disk is too small for what is left; `usage` when another run is at work;
    /// `interrupted`, with everything that was done until then in its place.
    pub fn run(mut self, listener: &dyn Listener) -> Result<Report> {
        let left: Vec<usize> = self.left().collect();
        // A journal that is there is that of a run that was killed, perhaps when all was done but the report. Indexes need none: they are
        // made in a moment, and again when they are there.
        let was_killed = self.files.has_journal();
        let needs_journal = was_killed || left.iter().any(|&unit| !matches!(self.units[unit].what, What::Set(_)));
        let journal = match self.options.dry_run || !needs_journal {
            true => None,
            false => {
                let _folders = output::NewFolders::make(&self.files.report)?;
                journal::check_report(&self.files.report)?;
                self.check_room()?;
                Some(Journal::start(&self.files, &self.settings, &self.history)?)
            }
        };
        let mut rows = std::mem::take(&mut self.done);
        self.convert_files(&left, &mut rows, journal.as_ref(), listener)?;
        self.index_sets(&left, &mut rows, journal.as_ref(), listener)?;
        let n_left = rows.iter().filter(|row| row.is_none()).count();
        if n_left > 0 {
            return Err(error::disk_full(n_left as u64));
        }
        let part = self.options.part.map(|part| part.to_string());
        let rows = rows.into_iter().flatten().chain(self.not_chosen()).collect();
        let report = Report::new(self.name.clone(), self.settings.clone(), part, rows);
        match journal {
            Some(journal) => {
                // Another machine may be about to write to them, and beside originals they may be anybody's.
                if was_killed && self.options.part.is_none() && !self.options.in_place {
                    self.remove_empty_folders(&report);
                }
                journal.end(&report)?;
            }
            // Files may have gone since.
            None if !self.options.dry_run && self.home.is_dir() => journal::write_report(&self.files.report, &report)?,
            None => {}
        }
        Ok(report)
    }

    /// What is known of files that are there and were not chosen this time.
    fn not_chosen(&self) -> impl Iterator<Item = Row> + '_ {
        let chosen: HashSet<&str> = self.units.iter().flat_map(|unit| &unit.names).map(|entry| &*entry.name).collect();
        let is_there = |row: &&Row| self.root.join(&row.path).is_file();
        self.history.rows().filter(move |row| self.options.is_choice && !chosen.contains(&*row.path)).filter(is_there).cloned()
    }

    /// Converts the files that are left, side by side, and puts what became of them in `rows`. When the disk is full some have none.
    fn convert_files(&self, left: &[usize], rows: &mut [Option<Row>], journal: Option<&Journal>, listener: &dyn Listener) -> Result<()> {
        let left: Vec<usize> = left.iter().copied().filter(|&unit| !matches!(self.units[unit].what, What::Set(_))).collect();
        let (is_full, mut trouble) = (AtomicBool::new(false), None);
        let worker = Worker::new(&self.options, &self.home);
        let weigh = |index: usize| jobs::useful_threads(self.units[left[index]].bytes());
        let work = |index: usize, turn: jobs::Turn<'_>| {
            let unit = &self.units[left[index]];
            if is_full.load(Ordering::Relaxed) || listener.cancelled() {
                return Ok(None);
            }
            let mut options = self.options.convert.clone();
            options.threads = turn.threads();
            let progress = OnTurn::new(listener.file(unit.name(), unit.bytes()), turn);
            if self.options.recheck
                && let Some(row) = self.rechecked(unit, &progress)
            {
                return Ok(Some(row));
            }
            let Ended { row, is_full: full } = worker.work(unit, self.before(unit), &options, &progress);
            drop(progress);
            is_full.fetch_or(full, Ordering::Relaxed);
            // What was stopped is not what became of it.
            let stopped = row.state == State::Failed && listener.cancelled();
            if stopped { Ok(None) } else { note(row, journal, listener).map(Some) }
        };
        self.options.jobs.run(left.len(), weigh, work, |index, row: Result<Option<Row>>| match row {
            Ok(row) => rows[left[index]] = row,
            Err(error) => trouble = Some(error),
        });
        match trouble {
            Some(error) => Err(error),
            None if listener.cancelled() => Err(error::interrupted().help("run the same command again to go on")),
            None => Ok(()),
        }
    }

    /// Writes the indexes of sets, now that their files are done.
    fn index_sets(&self, left: &[usize], rows: &mut [Option<Row>], journal: Option<&Journal>, listener: &dyn Listener) -> Result<()> {
        let left: HashSet<usize> = left.iter().copied().collect();
        let by_name = units::by_name(&self.units);
        let worker = Worker::new(&self.options, &self.home);
        for (number, unit) in self.units.iter().enumerate() {
            let What::Set(index) = &unit.what else { continue };
            let files: Vec<(String, Option<(usize, usize)>)> =
                index.shard_names().iter().map(|file| (file.clone(), by_name.get(&*units::sibling(unit.name(), file)).copied())).collect();
            let in_part = |file: &Option<(usize, usize)>| file.is_none_or(|(unit, _)| !left.contains(&unit));
            if !left.contains(&number) && files.iter().all(|(_, file)| in_part(file)) {
                continue;
            }
            let output = |unit: usize, name: usize| {
                let row = rows[unit].as_ref().filter(|row| matches!(row.state, State::Converted | State::Planned))?;
                Some(self.home.join(&row.outputs.get(name)?.path))
            };
            let outputs: Vec<_> = files
                .into_iter()
                .filter_map(|(file, at)| at.and_then(|(unit, name)| output(unit, name)).map(|output| (file, output)))
                .collect();
            rows[number] = Some(note(worker.index(unit, index, &outputs, self.before(unit)), journal, listener)?);
        }
        Ok(())
    }

    /// What became of a file in earlier runs.
    fn before(&self, unit: &Unit) -> Option<&Row> {
        self.history.any(unit.name())
    }

    /// Removes folders that a run made for outputs that never came, and could not remove because it was killed.
    fn remove_empty_folders(&self, report: &Report) {
        let without: HashSet<&str> = report.inputs.iter().filter(|row| row.state != State::Converted).map(|row| &*row.path).collect();
        let units = self.units.iter().filter(|unit| matches!(unit.what, What::Checkpoint) && without.contains(unit.name()));
        for target in units.flat_map(|unit| &unit.targets) {
            output::remove_empty(&self.home.join(&target.folder));
            let folders = Path::new(&target.file).ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
            // Fails for a folder with something in it, which is what is wanted.
            folders.for_each(|folder| drop(std::fs::remove_dir(self.home.join(folder))));
        }
    }

    /// Checks that the disk has room for the outputs. Most are as large as their inputs; only when that is too much the plans are asked.
    fn check_room(&self) -> Result<()> {
        let left = || self.left().map(|unit| &self.units[unit]).filter(|unit| !self.options.recheck || self.recorded(unit).is_none());
        let bytes = left().map(Unit::bytes).sum();
        let Some(free) = output::free_bytes_in(&self.home).filter(|free| *free < bytes) else { return Ok(()) };
        let needed: u64 = left().map(|unit| self.planned_bytes(unit)).sum();
        match needed > free {
            true => Err(error::no_room(&self.home, needed, free)),
            false => Ok(()),
        }
    }

    fn planned_bytes(&self, unit: &Unit) -> u64 {
        if let What::Set(_) = unit.what {
            return 0;
        }
        let options = StoreOptions { dry_run: true, ..self.options.clone() };
        let Ended { row, .. } = Worker::new(&options, &self.home).work(unit, None, &options.convert, &());
        let links = if options.link == Link::Copy { row.outputs.len() } else { row.outputs.len().div_ceil(unit.names.len()) };
        row.outputs.iter().take(links).map(|output| output.bytes).sum()
    }
}

/// Notes that a file is done.
fn note(row: Row, journal: Option<&Journal>, listener: &dyn Listener) -> Result<Row> {
    if let Some(journal) = journal {
        journal.add(&row)?;
    }
    listener.ended(&row);
    Ok(row)
}

/// Whether a row is about the file as it is now.
fn is_same(row: &Row, unit: &Unit) -> bool {
    unit.entry().error.is_none() && row.bytes == unit.bytes() && row.modified.is_some() && row.modified == unit.modified()
}

/// The files of a store without what was made of them beside them.
fn without_products(entries: Vec<Entry>) -> Vec<Entry> {
    let has_manifest = |output: &Path| {
        let named = manifest::output_of(&filenames::manifest_path(output));
        named.is_some_and(|name| output.file_name().is_some_and(|file| *file == *name) && name.ends_with(".safetensors"))
    };
    let is_manifest = |path: &Path| {
        let output = path.to_string_lossy().strip_suffix(".manifest.json").map(PathBuf::from);
        output.is_some_and(|output| has_manifest(&output))
    };
    let lists_products = |path: &Path| {
        path.to_string_lossy().ends_with(".safetensors.index.json")
            && ShardIndex::read(path, &Limits::default()).is_ok_and(|index| index.shards().iter().any(|file| has_manifest(file)))
    };
    let is_product = |entry: &Entry| is_manifest(&entry.path) || has_manifest(&entry.path) || lists_products(&entry.path);
    let products: HashSet<String> = entries.iter().filter(|entry| is_product(entry)).map(|entry| entry.name.clone()).collect();
    entries.into_iter().filter(|entry| !products.contains(&entry.name)).collect()
}
