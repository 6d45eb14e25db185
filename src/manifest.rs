//! The manifest: a ledger sealed with the digests of a verified output, and the form of its file.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::ser::Formatter;

use crate::digest::Sha;
use crate::filenames;
use crate::finding::Finding;
use crate::ledger::{FindingRecord, Ledger};
use crate::verify::Verified;

/// A ledger with the digests of a verified output. It cannot be made without the proof.
#[derive(Debug, Clone)]
pub struct Manifest(Ledger);

impl Manifest {
    /// Adds the digests of the source and its companions, and of a verified output, and what was found on the way.
    pub(crate) fn seal(mut ledger: Ledger, source: Sha, companions: &[Sha], verified: &Verified, findings: &[Finding]) -> Manifest {
        let written = verified.written();
        ledger.source.sha256 = Some(source.to_string());
        for (record, sha) in ledger.source.companions.iter_mut().zip(companions) {
            record.sha256 = Some(sha.to_string());
        }
        ledger.seal(&written.sha256, &written.tensors);
        ledger.findings.extend(findings.iter().map(FindingRecord::from));
        Manifest(ledger)
    }

    /// The record.
    pub fn ledger(&self) -> &Ledger {
        &self.0
    }

    /// The same for another name of the source and of the output.
    pub(crate) fn named(&self, source: String, output: &str) -> Manifest {
        let mut ledger = self.0.clone();
        ledger.source.path = source;
        for record in &mut ledger.outputs {
            output.clone_into(&mut record.path);
        }
        Manifest(ledger)
    }

    /// Writes the manifest as it stands in its file: a record a line, so that it can be read, searched and compared.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_json(&self, mut out: impl Write) -> io::Result<()> {
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, RecordLines::default());
        self.0.serialize(&mut serializer)?;
        out.write_all(b"\n")
    }
}

/// What a manifest says of its files, without all that it says of tensors.
#[derive(Deserialize)]
struct Names {
    source: Named,
    outputs: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    path: String,
}

impl Names {
    fn read(path: &Path) -> Option<Names> {
        serde_json::from_slice(&crate::source::Source::open(path).ok()?.map().ok()?).ok()
    }
}

/// The source that the manifest in a file names; `None` when it is no manifest.
pub(crate) fn source_of(path: &Path) -> Option<PathBuf> {
    Names::read(path).map(|names| filenames::folder_of(path).join(names.source.path))
}

/// The name of the output that the manifest in a file is about; `None` when it is no manifest.
pub(crate) fn output_of(path: &Path) -> Option<String> {
    Names::read(path)?.outputs.into_iter().next().map(|output| output.path)
}

/// JSON in which the fields of the outermost value and the records in them have lines of their own, and everything
/// inside a record is on its line.
#[derive(Default)]
struct RecordLines {
    depth: usize,
    /// Whether the innermost open value has something in it.
    filled: bool,
}

impl RecordLines {
    /// How deep lines are broken: the fields, and the records in them.
    const BROKEN_DEPTH: usize = 2;

    fn open(&mut self, out: &mut (impl Write + ?Sized), bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.filled = false;
        out.write_all(bracket)
    }

    fn item(&mut self, out: &mut (impl Write + ?Sized), first: bool) -> io::Result<()> {
        if !first {
            out.write_all(b",")?;
        }
        self.break_line(out, self.depth)
    }

    fn close(&mut self, out: &mut (impl Write + ?Sized), bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.filled && self.depth < Self::BROKEN_DEPTH {
            self.break_line(out, self.depth)?;
        }
        self.filled = true;
        out.write_all(bracket)
    }

    fn break_line(&self, out: &mut (impl Write + ?Sized), depth: usize) -> io::Result<()> {
        if self.depth <= Self::BROKEN_DEPTH { write!(out, "\n{:1$}", "", 2 * depth) } else { Ok(()) }
    }
}

impl Formatter for RecordLines {
    fn begin_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b"[")
    }

    fn begin_array_value<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.item(out, first)
    }

    fn end_array_value<W: Write + ?Sized>(&mut self, _out: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }

    fn end_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, b"]")
    }

    fn begin_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b"{")
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.item(out, first)
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(if self.depth <= Self::BROKEN_DEPTH { b": " } else { b":" })
    }

    fn end_object_value<W: Write + ?Sized>(&mut self, _out: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }

    fn end_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, b"}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_their_records_have_lines_of_their_own() {
        let value = serde_json::json!({"a": 1, "b": [{"x": [1, 2], "y": {}}, {"x": []}], "c": [], "d": {"k": "v"}, "e": {}});
        let mut out = Vec::new();
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, RecordLines::default());
        value.serialize(&mut serializer).unwrap();
        let expected = "{\n  \"a\": 1,\n  \"b\": [\n    {\"x\":[1,2],\"y\":{}},\n    {\"x\":[]}\n  ],\n  \"c\": [],\n  \"d\": {\n    \"k\": \"v\"\n  },\n  \"e\": {}\n}";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
