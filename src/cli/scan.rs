//! `depickle scan`

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use clap::{Args as ClapArgs, ValueEnum};
use depickle::filenames::resolved;
use depickle::limits::ReadOptions;
use depickle::report::scanned::Summary;
use depickle::report::{json, sarif, scanned};
use depickle::scan::{Expected, Found, Scanned, discover, scan};

use super::options::{DenyArg, LimitArgs};
use super::progress::stop_requested;
use super::sandbox::{self, Access};

/// Show what loading files would run, without loading or converting them; reads every pickle, wherever it is
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// Files, or folders with files at any depth
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// text for people, json with one object a file, or one sarif log (2.1.0)
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,

    /// Findings that end the run with exit code 3
    #[arg(long, value_enum, default_value_t = DenyArg::Dangerous)]
    deny: DenyArg,

    /// Show clean files, files that are no checkpoints, and notes too
    #[arg(short, long)]
    verbose: bool,

    /// Print nothing but the findings and errors
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    limit: LimitArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    Sarif,
}

pub(super) fn run(args: &Args, sandboxed: bool) -> u8 {
    let options = match options(args) {
        Ok(options) => options,
        Err(error) => return super::report(std::path::Path::new("scan"), &error),
    };
    let format = if args.json { Format::Json } else { args.format };
    let (mut worst, mut summary, mut kept) = (0, Summary::default(), Vec::new());
    stop_requested();
    let found = discover(&args.paths);
    sandbox::enter(sandboxed, &access(args, &found));
    for Found { path, expected, error } in found {
        let scanned = match error {
            Some(error) => Scanned::unreadable(&path, error),
            None => scan(&path, expected, &options),
        };
        worst = worst.max(code(&scanned, args.deny));
        summary.add(&scanned);
        let printed = match format {
            Format::Text => super::print(&scanned::file(&scanned, args.verbose || (expected == Expected::Checkpoint && !args.quiet))),
            Format::Json => super::print(&(json::line(&json::Scan::of(&scanned)) + "\n")),
            Format::Sarif => {
                kept.push(scanned);
                0
            }
        };
        worst = worst.max(printed);
        if stop_requested().load(Ordering::Relaxed) {
            super::say("error: interrupted\n");
            worst = worst.max(1);
            break;
        }
    }
    let printed = match format {
        Format::Sarif => super::print(&(json::line(&sarif::log(&kept)) + "\n")),
        Format::Text if !args.quiet => super::print(&summary.line()),
        Format::Text | Format::Json => 0,
    };
    worst.max(printed)
}

/// What is named, and what links in folders lead to.
fn access(args: &Args, found: &[Found]) -> Access {
    let mut access = Access::default();
    access.temporary();
    for path in &args.paths {
        match path.is_dir() {
            true => access.read(path),
            false => access.input(path),
        }
    }
    let roots: Vec<PathBuf> = args.paths.iter().filter_map(|path| resolved(path)).collect();
    let linked = found.iter().filter_map(|found| resolved(&found.path)).filter(|path| !roots.iter().any(|root| path.starts_with(root)));
    linked.for_each(|path| access.read(&path));
    access
}

fn options(args: &Args) -> depickle::Result<ReadOptions> {
    let mut options = ReadOptions::default();
    options.limits = args.limit.limits()?;
    Ok(options)
}

fn code(scanned: &Scanned, deny: DenyArg) -> u8 {
    let denied = scanned.worst().is_some_and(|worst| deny.meant().from().is_some_and(|from| worst >= from));
    match (denied, scanned.errors.is_empty()) {
        (true, _) => 3,
        (false, false) => 1,
        (false, true) => 0,
    }
}
