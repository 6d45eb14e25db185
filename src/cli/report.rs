//! `depickle report`

use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Subcommand};
use depickle::Error;
use depickle::filenames::folder_of;
use depickle::report::{html, store as text};
use depickle::store::merge::{self, Found};
use depickle::text::printable;

use super::sandbox::{self, Access};

/// Work with the reports of stores: merge those of the parts of one, or make a page of one
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Merge(MergeArgs),
    Html(HtmlArgs),
}

/// Merge the reports of the parts of a store, which several machines converted, into one
#[derive(Debug, ClapArgs)]
struct MergeArgs {
    /// Reports of parts: depickle-report.1-of-16.json ...; or the folder that they are in
    #[arg(required = true, value_name = "PART")]
    parts: Vec<PathBuf>,

    /// The merged report; best in the folder of the outputs, as depickle-report.json
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Write it as a page for people too
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Merge what is there although parts are missing; the report says which it has
    #[arg(long)]
    partial: bool,

    /// Replace files that are there and are no reports
    #[arg(long)]
    force: bool,
}

/// Write a report as one page for people, which needs no network
#[derive(Debug, ClapArgs)]
struct HtmlArgs {
    /// A report of a store: depickle-report.json
    report: PathBuf,

    /// The page
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Replace a file that is there and is no such page
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: &Args, sandboxed: bool) -> u8 {
    let (subject, done) = match &args.command {
        Command::Merge(args) => (Path::new("report merge"), merge(args, sandboxed)),
        Command::Html(args) => (&*args.report, page(args, sandboxed)),
    };
    match done {
        Ok(said) => super::say_ok(&said),
        Err(error) => super::report(subject, &error),
    }
}

fn merge(args: &MergeArgs, sandboxed: bool) -> depickle::Result<String> {
    let parts = parts(&args.parts)?;
    let mut access = Access::default();
    parts.iter().for_each(|part| access.read(part));
    access.output(&args.output);
    if let Some(html) = &args.html {
        // For the manifests.
        parts.iter().for_each(|part| access.read(folder_of(part)));
        access.output(html);
    }
    sandbox::enter(sandboxed, &access);
    if let Some(html) = &args.html {
        html::check(html, args.force)?;
    }
    let home = folder_of(&args.output);
    let found = parts.iter().map(|part| Found::read(part)).collect::<depickle::Result<_>>()?;
    let report = merge::merge(found, home, args.partial)?;
    merge::write(&args.output, &report, &parts, args.force)?;
    if let Some(html) = &args.html {
        html::write(html, &report, home, args.force)?;
    }
    let part = report.part.as_ref().map(|part| format!("parts are missing: it has {}\n", printable(part))).unwrap_or_default();
    Ok(text::summary(&report, 0, Some(&args.output)) + &part + &html_said(args.html.as_deref()))
}

/// The reports that are named, and those of parts in folders that are.
fn parts(named: &[PathBuf]) -> depickle::Result<Vec<PathBuf>> {
    let mut parts = Vec::new();
    for path in named {
        if !path.is_dir() {
            parts.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        let entries = entries.map_err(|e| Error::usage(format!("cannot list {}: {e}", path.display())))?;
        let mut found: Vec<PathBuf> =
            entries.iter().filter(|entry| merge::is_part_name(&entry.file_name().to_string_lossy())).map(std::fs::DirEntry::path).collect();
        if found.is_empty() {
            return Err(Error::usage(format!("there is no report of a part in {}", path.display())));
        }
        found.sort();
        parts.extend(found);
    }
    Ok(parts)
}

fn page(args: &HtmlArgs, sandboxed: bool) -> depickle::Result<String> {
    let home = folder_of(&args.report);
    let mut access = Access::default();
    // With the manifests beside it.
    access.read(home);
    access.output(&args.output);
    sandbox::enter(sandboxed, &access);
    let Found { report, .. } = Found::read(&args.report)?;
    html::write(&args.output, &report, home, args.force)?;
    Ok(text::summary(&report, 0, None) + &html_said(Some(&args.output)))
}

/// The line that says where the page is.
pub(super) fn html_said(page: Option<&Path>) -> String {
    page.map(|page| format!("its page is {}\n", printable(&page.to_string_lossy()))).unwrap_or_default()
}
