//! One report of the reports of its parts, when several machines shared a store.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::error::{self, Error, Result};
use crate::filenames::{self, Identity, folder_of};
use crate::output;
use crate::store::journal::write_report;
use crate::store::record::{REPORT_VERSION, Report, Row, Totals, Version};
use crate::text::{count, quoted, thousands};

/// How every report starts; what starts otherwise is somebody's file.
const REPORT_START: &[u8] = b"{\n  \"report_version\"";

/// Numbers of missing parts that an error lists.
const MAX_LISTED: usize = 50;

/// A report, and the file that it is in.
#[derive(Debug, Clone)]
pub struct Found {
    /// The file.
    pub path: PathBuf,
    /// What it says.
    pub report: Report,
}

impl Found {
    /// Reads a report.
    ///
    /// # Errors
    /// `io` when it cannot be read; `usage` when it is no report, one of a newer version, or one whose totals are not those of its rows.
    pub fn read(path: &Path) -> Result<Found> {
        let text = std::fs::read(path).map_err(|e| error::io("read", path, &e))?;
        let no_report = |e: serde_json::Error| Error::usage(format!("{} is no report of a store: {e}", shown(path)));
        let Version { report_version } = serde_json::from_slice(&text).map_err(no_report)?;
        if report_version != REPORT_VERSION {
            let message =
                format!("{} is a report of version {report_version}, and this program reads version {REPORT_VERSION}", shown(path));
            return Err(Error::usage(message));
        }
        let report: Report = serde_json::from_slice(&text).map_err(no_report)?;
        if report.totals != Totals::of(&report.inputs) {
            return Err(Error::usage(format!("{} contradicts itself: its totals are not those of its rows", shown(path)))
                .help("it was changed since it was written; convert again, which writes it anew"));
        }
        Ok(Found { path: path.to_owned(), report })
    }
}

/// Whether a file is called as the report of a part is.
pub fn is_part_name(name: &str) -> bool {
    let part = name.strip_prefix("depickle-report.").and_then(|name| name.strip_suffix(".json"));
    part.and_then(|part| part.split_once("-of-")).is_some_and(|(index, of)| [index, of].iter().all(|n| n.parse::<u64>().is_ok()))
}

/// Which parts of a store a report is about: `3/16`, or `1,3/16` for what was merged of a few.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Parts {
    numbers: BTreeSet<u64>,
    of: u64,
}

impl Parts {
    fn parse(text: &str) -> Option<Parts> {
        let (numbers, of) = text.split_once('/')?;
        let numbers = numbers.split(',').map(|number| number.parse().ok()).collect::<Option<BTreeSet<u64>>>()?;
        let of = of.parse().ok()?;
        numbers.iter().all(|number| (1..=of).contains(number)).then_some(Parts { numbers, of })
    }

    /// How many are missing.
    fn n_missing(&self) -> u64 {
        self.of - self.numbers.len() as u64
    }

    /// The first of those.
    fn missing(&self) -> impl Iterator<Item = u64> {
        (1..=self.of).filter(|number| !self.numbers.contains(number)).take(MAX_LISTED)
    }

    fn text(&self) -> String {
        let numbers: Vec<String> = self.numbers.iter().map(u64::to_string).collect();
        format!("{}/{}", numbers.join(","), self.of)
    }
}

/// The report of all parts, for a file in the folder `home`. With `partial`, parts may be missing, and the report says which it has.
///
/// # Errors
/// `usage` when two parts are not of the same store, converted in the same way, when both have a file, or when one is missing.
pub fn merge(found: Vec<Found>, home: &Path, partial: bool) -> Result<Report> {
    check_alike(&found)?;
    let part = parts(&found)?;
    check_apart(&found)?;
    let part = part.filter(|part| part.n_missing() > 0);
    if let (Some(part), false) = (&part, partial) {
        let (n, listed): (_, Vec<String>) = (part.n_missing(), part.missing().map(|number| number.to_string()).collect());
        let more = if n > listed.len() as u64 { ", ..." } else { "" };
        let verb = if n == 1 { "is" } else { "are" };
        let message = format!("of {}, {} {verb} missing: {}{more}", count(part.of, "part"), thousands(n), listed.join(", "));
        return Err(Error::usage(message).help("run those parts, or pass --partial for a report of the others"));
    }
    let Some(first) = found.first() else { return Err(Error::usage("no report is named")) };
    let (store, options) = (seen_from(&first.report.store, folder_of(&first.path), home), first.report.options.clone());
    let mut tools = found.iter().map(|found| &found.report.tool);
    // What another version refused is looked at again, so that is what it has to say when they differ.
    let other = tools.find(|tool| tool.version != env!("CARGO_PKG_VERSION")).cloned();
    let rows = found.into_iter().flat_map(|Found { path, report }| {
        let prefix = filenames::relative(folder_of(&path), home);
        report.inputs.into_iter().map(move |row| moved(row, &prefix))
    });
    let mut report = Report::new(store, options, part.map(|part| part.text()), rows.collect());
    if let Some(tool) = other {
        report.tool = tool;
    }
    Ok(report)
}

/// Checks that the reports are of one store, converted in one way.
fn check_alike(found: &[Found]) -> Result<()> {
    let Some(first) = found.first() else { return Ok(()) };
    for other in &found[1..] {
        let pair = || format!("{} and {}", shown(&first.path), shown(&other.path));
        if other.report.store != first.report.store {
            let stores = format!("{} and {}", quoted(&first.report.store, 300), quoted(&other.report.store, 300));
            return Err(Error::usage(format!("{} are reports of different stores: {stores}", pair())));
        }
        if other.report.options != first.report.options {
            let options = format!("{} and {}", first.report.options, other.report.options);
            return Err(Error::usage(format!("{} are reports of conversions with different options: {options}", pair())));
        }
    }
    Ok(())
}

/// Checks that no file is in two reports.
fn check_apart(found: &[Found]) -> Result<()> {
    let mut rows: Vec<(&str, usize)> =
        found.iter().enumerate().flat_map(|(part, found)| found.report.inputs.iter().map(move |row| (&*row.path, part))).collect();
    rows.sort_unstable();
    match rows.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => {
            let (path, one, other) = (quoted(pair[0].0, 300), shown(&found[pair[0].1].path), shown(&found[pair[1].1].path));
            Err(Error::usage(format!("the file {path} is in {one} and in {other}")))
        }
        None => Ok(()),
    }
}

/// Which parts are there; `None` when none of the reports is of a numbered part.
fn parts(found: &[Found]) -> Result<Option<Parts>> {
    let mut all: Option<Parts> = None;
    for Found { path, report } in found {
        let Some(text) = &report.part else { continue };
        let parts = Parts::parse(text).ok_or_else(|| Error::usage(format!("{} is part {} of a store", shown(path), quoted(text, 100))))?;
        let all = all.get_or_insert_with(|| Parts { of: parts.of, ..Parts::default() });
        if all.of != parts.of {
            let message = format!("{} is one of {} parts, and another report one of {}", shown(path), parts.of, all.of);
            return Err(Error::usage(message));
        }
        all.numbers.extend(parts.numbers);
    }
    match found.iter().find(|found| found.report.part.is_none()) {
        Some(whole) if all.is_some() => Err(Error::usage(format!("{} is no part of a store, and others are", shown(&whole.path)))),
        _ => Ok(all),
    }
}

/// A row with its outputs as they are seen from the folder of another report.
fn moved(mut row: Row, prefix: &str) -> Row {
    if !prefix.is_empty() {
        for output in &mut row.outputs {
            for path in [Some(&mut output.path), output.manifest.as_mut()].into_iter().flatten() {
                *path = format!("{prefix}/{path}");
            }
        }
    }
    row
}

/// The text of a path in a report in `folder`, for one in `home`.
fn seen_from(path: &str, folder: &Path, home: &Path) -> String {
    match Identity::of(folder) == Identity::of(home) {
        true => path.to_owned(),
        false => filenames::relative(&folder.join(path), home),
    }
}

/// Writes a merged report to a file; `replace` also what is no report.
///
/// # Errors
/// `io`; `output-exists`; `usage` when the file is one of the parts.
pub fn write(path: &Path, report: &Report, parts: &[PathBuf], replace: bool) -> Result<()> {
    let own = Identity::of(path);
    if parts.iter().any(|part| Identity::of(part) == own) {
        return Err(error::same_file("the output", "one of the parts", path));
    }
    output::check_free(path, REPORT_START, replace)?;
    let _folders = output::NewFolders::make(path)?;
    write_report(path, report)
}

fn shown(path: &Path) -> String {
    quoted(&path.to_string_lossy(), 300)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::record::{OutputRow, State};

    fn row(path: &str) -> Row {
        let output = OutputRow { manifest: Some(format!("{path}.m")), ..OutputRow::plain(format!("{path}.s"), 5, None) };
        serde_json::from_value(json!({ "path": path, "bytes": 10, "state": State::Converted, "outputs": [output] })).unwrap()
    }

    fn part(file: &str, part: Option<&str>, paths: &[&str]) -> Found {
        let rows = paths.iter().map(|path| row(path)).collect();
        Found { path: file.into(), report: Report::new("store".into(), json!({}), part.map(str::to_owned), rows) }
    }

    fn merged(found: Vec<Found>, partial: bool) -> Result<Report> {
        merge(found, Path::new(""), partial)
    }

    #[test]
    fn parts_become_one_report_in_order() {
        let report = merged(vec![part("b", Some("2/2"), &["b", "d"]), part("a", Some("1/2"), &["a", "c"])], false).unwrap();
        assert_eq!(report.inputs.iter().map(|row| &*row.path).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
        assert_eq!((report.part, report.totals.inputs, report.totals.input_bytes, report.totals.outputs), (None, 4, 40, 4));
    }

    #[test]
    fn reports_of_parts_are_known_by_their_names() {
        assert!(is_part_name("depickle-report.3-of-16.json"));
        for name in [
            "depickle-report.json",
            "depickle-report.html",
            "depickle-report.a-of-b.json",
            "report.1-of-2.json",
            "depickle-report.1-of-2.json.x",
        ] {
            assert!(!is_part_name(name), "{name}");
        }
    }

    #[test]
    fn a_missing_part_is_named_and_a_report_of_the_others_says_which_it_has() {
        let some = || vec![part("a", Some("1/4"), &["a"]), part("c", Some("3/4"), &["c"])];
        assert_eq!(merged(some(), false).unwrap_err().message(), "of 4 parts, 2 are missing: 2, 4");
        let partial = Found { path: "some".into(), report: merged(some(), true).unwrap() };
        assert_eq!(partial.report.part.as_deref(), Some("1,3/4"));
        let all = merged(vec![partial, part("b", Some("2/4"), &["b"]), part("d", Some("4/4"), &["d"])], false).unwrap();
        assert_eq!((all.part, all.totals.inputs), (None, 4));
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let with = |mut found: Found, change: &dyn Fn(&mut Report)| {
            change(&mut found.report);
            found
        };
        let one = || part("one", Some("1/2"), &["a"]);
        let cases = [
            (part("two", Some("2/2"), &["a"]), "the file \"a\" is in \"one\" and in \"two\""),
            (part("two", Some("2/3"), &["b"]), "\"two\" is one of 3 parts, and another report one of 2"),
            (part("two", None, &["b"]), "\"two\" is no part of a store, and others are"),
            (part("two", Some("3/2"), &["b"]), "\"two\" is part \"3/2\" of a store"),
            (
                with(part("two", Some("2/2"), &["b"]), &|report| report.store = "other".into()),
                "\"one\" and \"two\" are reports of different stores: \"store\" and \"other\"",
            ),
            (
                with(part("two", Some("2/2"), &["b"]), &|report| report.options = json!({ "root": "." })),
                "\"one\" and \"two\" are reports of conversions with different options: {} and {\"root\":\".\"}",
            ),
        ];
        for (two, message) in cases {
            assert_eq!(merged(vec![one(), two], false).unwrap_err().message(), message);
        }
    }

    #[test]
    fn outputs_in_another_folder_are_found_from_the_merged_report() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("node1")).unwrap();
        let found = part(folder.path().join("node1/report").to_str().unwrap(), None, &["a"]);
        let report = merge(vec![found], folder.path(), false).unwrap();
        assert_eq!((&*report.inputs[0].outputs[0].path, report.inputs[0].outputs[0].manifest.as_deref()), ("node1/a.s", Some("node1/a.m")));
    }

    #[test]
    fn what_another_version_did_is_looked_at_again() {
        let mut old = part("b", None, &["b"]);
        old.report.tool.version = "0.0.1".into();
        assert_eq!(merged(vec![part("a", None, &["a"]), old], false).unwrap().tool.version, "0.0.1");
    }
}
