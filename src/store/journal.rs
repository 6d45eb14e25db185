//! What earlier runs did: the report of the last one that came to its end, and the journal of one that did not. Every file that is done
//! is a line of the journal; the report takes its place at the end.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

#[cfg(unix)]
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{self, Error, Result};
use crate::output;
use crate::store::part::Part;
use crate::store::record::{REPORT_VERSION, Report, Row, Version};

/// Where the report of a store is, and its journal.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub report: PathBuf,
    journal: PathBuf,
}

impl Files {
    /// Those in `folder`; each part of a store has its own.
    pub fn new(folder: &Path, part: Option<Part>) -> Files {
        let part = part.map(|part| format!(".{}", part.in_name())).unwrap_or_default();
        Files { report: folder.join(format!("depickle-report{part}.json")), journal: folder.join(format!(".depickle-journal{part}.jsonl")) }
    }

    /// Whether a run was killed before it came to its end.
    pub fn has_journal(&self) -> bool {
        self.journal.exists()
    }
}

/// What is known of a store that was converted with the same options.
#[derive(Debug, Default)]
pub(crate) struct History {
    rows: HashMap<String, (Row, bool)>,
    /// What runs with other options made: it may be replaced.
    others: HashMap<String, Row>,
    /// Whether the journal may go on as it is.
    goes_on: bool,
}

/// The first line of a journal.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Head {
    report_version: u32,
    tool: String,
    options: Value,
}

impl Head {
    fn new(options: &Value) -> Head {
        Head { report_version: REPORT_VERSION, tool: env!("CARGO_PKG_VERSION").to_owned(), options: options.clone() }
    }
}

impl History {
    /// What became of a file, and whether this version of the program did it.
    pub fn get(&self, name: &str) -> Option<(&Row, bool)> {
        self.rows.get(name).map(|(row, same_version)| (row, *same_version))
    }

    /// What became of each file.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values().map(|(row, _)| row)
    }

    /// What any run made of a file, with these options or others.
    pub fn any(&self, name: &str) -> Option<&Row> {
        self.get(name).map(|(row, _)| row).or_else(|| self.others.get(name))
    }

    fn add_others(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.others.extend(rows.into_iter().map(|row| (row.path.clone(), row)));
    }

    fn add(&mut self, rows: impl IntoIterator<Item = Row>, tool: &str) {
        let same_version = tool == env!("CARGO_PKG_VERSION");
        self.rows.extend(rows.into_iter().map(|row| (row.path.clone(), (row, same_version))));
    }

    /// Reads both files. What is not a report, or is one with other options, is as good as none.
    pub fn read(files: &Files, options: &Value) -> History {
        let mut history = History::default();
        let report = read_file(&files.report).and_then(|text| serde_json::from_slice::<Report>(&text).ok());
        match report.filter(|report| report.report_version == REPORT_VERSION) {
            Some(report) if report.options == *options => history.add(report.inputs, &report.tool.version),
            Some(report) => history.add_others(report.inputs),
            None => {}
        }
        let Some(journal) = read_file(&files.journal) else { return history };
        // Of a run that was killed the last line may be cut.
        let mut lines = journal.split(|&byte| byte == b'\n');
        let head = lines.next().and_then(|line| serde_json::from_slice::<Head>(line).ok());
        let rows = lines.filter_map(|line| serde_json::from_slice(line).ok());
        match head.filter(|head| head.report_version == REPORT_VERSION) {
            Some(head) if head.options == *options => {
                history.add(rows, &head.tool);
                history.goes_on = head == Head::new(options);
            }
            Some(_) => history.add_others(rows),
            None => {}
        }
        history
    }
}

/// The bytes of a regular file; reading a pipe would wait for its writer.
fn read_file(path: &Path) -> Option<Vec<u8>> {
    path.metadata().is_ok_and(|metadata| metadata.is_file()).then(|| std::fs::read(path).ok()).flatten()
}

/// Whether a file starts like a journal.
fn is_head(text: &[u8]) -> bool {
    text.split(|&byte| byte == b'\n').next().is_some_and(|line| serde_json::from_slice::<Head>(line).is_ok())
}

/// Opens a file to write to, or makes it; never one that a link leads to, nor one that has another name too.
fn open_own(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    #[cfg(unix)]
    let is_shared = std::os::unix::fs::MetadataExt::nlink(&metadata) > 1;
    #[cfg(not(unix))]
    let is_shared = false;
    match metadata.is_file() && !is_shared {
        true => Ok(file),
        false => Err(std::io::Error::other("it is not a file of its own")),
    }
}

/// The journal of this run.
#[derive(Debug)]
pub(crate) struct Journal {
    files: Files,
    file: Mutex<File>,
}

impl Journal {
    /// Starts it, or goes on with that of a run that was killed.
    ///
    /// # Errors
    /// `io`; `usage` when another run is at work on the same outputs.
    pub fn start(files: &Files, options: &Value, history: &History) -> Result<Journal> {
        let failed = |e| error::io("write", &files.journal, &e);
        let mut file = open_own(&files.journal).map_err(failed)?;
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            let message = format!("another run is at work here: it holds {}", files.journal.display());
            return Err(Error::usage(message).help("wait for its end, or share the store by parts with --shard"));
        }
        let is_new = file.metadata().is_ok_and(|metadata| metadata.len() == 0);
        let is_journal = || read_file(&files.journal).is_some_and(|text| is_head(&text));
        if !is_new && !is_journal() {
            return Err(error::not_ours(&files.journal));
        }
        let start = match history.goes_on {
            true => file.seek(SeekFrom::End(0)),
            false => file.set_len(0).and_then(|()| file.rewind()).map(|()| 0),
        };
        // The last line of a run that was killed may have no end.
        let text = if start.map_err(failed)? > 0 { "\n".to_owned() } else { line(&Head::new(options)) };
        let journal = Journal { files: files.clone(), file: Mutex::new(file) };
        journal.write(&text)?;
        if !history.goes_on {
            for (row, _) in history.rows.values() {
                journal.add(row)?;
            }
        }
        Ok(journal)
    }

    /// Notes that a file is done.
    ///
    /// # Errors
    /// `io`
    pub fn add(&self, row: &Row) -> Result<()> {
        self.write(&line(row))
    }

    fn write(&self, text: &str) -> Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(text.as_bytes()).map_err(|e| error::io("write", &self.files.journal, &e))
    }

    /// Puts the report in its place, unless it is there already.
    ///
    /// # Errors
    /// `io`
    pub fn end(self, report: &Report) -> Result<()> {
        write_report(&self.files.report, report)?;
        // The report says all that it says.
        std::fs::remove_file(&self.files.journal).map_err(|e| error::io("remove", &self.files.journal, &e))
    }
}

/// Checks that what is at the place of a report is one, or nothing.
///
/// # Errors
/// `usage` for another file.
pub(crate) fn check_report(path: &Path) -> Result<()> {
    let is_report = || read_file(path).is_some_and(|text| serde_json::from_slice::<Version>(&text).is_ok());
    match path.symlink_metadata().is_err() || is_report() {
        true => Ok(()),
        false => Err(error::not_ours(path)),
    }
}

/// Writes a report to a file, unless it is there already.
///
/// # Errors
/// `io`
pub(crate) fn write_report(path: &Path, report: &Report) -> Result<()> {
    check_report(path)?;
    output::publish_alone(path, true, |out| {
        serde_json::to_writer_pretty(&mut *out, report)?;
        out.write_all(b"\n")
    })
}

fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|e| unreachable!("a row has only text keys: {e}")) + "\n"
}
