//! What earlier runs did: the report of the last one that came to its end, and the journal of one that did not. Every file that is done
//! is a line of the journal; the report takes its place at the end.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{self, Error, Result};
use crate::output;
use crate::store::part::Part;
use crate::store::record::{REPORT_VERSION, Report, Row};

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

    fn add(&mut self, rows: impl IntoIterator<Item = Row>, tool: &str) {
        let same_version = tool == env!("CARGO_PKG_VERSION");
        self.rows.extend(rows.into_iter().map(|row| (row.path.clone(), (row, same_version))));
    }

    /// Reads both files. What is not a report, or is one with other options, is as good as none.
    pub fn read(files: &Files, options: &Value) -> History {
        let mut history = History::default();
        let report = std::fs::read(&files.report).ok().and_then(|text| serde_json::from_slice::<Report>(&text).ok());
        if let Some(report) = report.filter(|report| report.report_version == REPORT_VERSION && report.options == *options) {
            history.add(report.inputs, &report.tool.version);
        }
        let Ok(journal) = std::fs::read(&files.journal) else { return history };
        // Of a run that was killed the last line may be cut.
        let mut lines = journal.split(|&byte| byte == b'\n');
        let head = lines.next().and_then(|line| serde_json::from_slice::<Head>(line).ok());
        if let Some(head) = head.filter(|head| head.report_version == REPORT_VERSION && head.options == *options) {
            history.add(lines.filter_map(|line| serde_json::from_slice(line).ok()), &head.tool);
            history.goes_on = head == Head::new(options);
        }
        history
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
        let mut file = File::options().create(true).truncate(false).write(true).open(&files.journal).map_err(failed)?;
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            let message = format!("another run is at work here: it holds {}", files.journal.display());
            return Err(Error::usage(message).help("wait for its end, or share the store by parts with --shard"));
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

/// Writes a report to a file, unless it is there already.
///
/// # Errors
/// `io`
pub(crate) fn write_report(path: &Path, report: &Report) -> Result<()> {
    output::publish_alone(path, true, |out| {
        serde_json::to_writer_pretty(&mut *out, report)?;
        out.write_all(b"\n")
    })
}

fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|e| unreachable!("a row has only text keys: {e}")) + "\n"
}
