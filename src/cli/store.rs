//! `depickle convert` for folders: a whole store.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use clap::{Args, ValueEnum};
use depickle::filenames::{Identity, resolved};
use depickle::jobs::Jobs;
use depickle::progress::Progress;
use depickle::report::{html, json, store as report};
use depickle::store::record::{Row, State};
use depickle::store::{Entry, Link, Listener, Part, Roots, Store, StoreOptions};
use depickle::{ConvertOptions, Error};

use super::convert;
use super::progress::{Board, stop_requested};
use super::sandbox::{self, Access};

/// Arguments for folders.
#[derive(Debug, Args)]
#[command(next_help_heading = "For folders, with all files in them")]
pub(super) struct StoreArgs {
    /// Put the outputs beside the originals
    #[arg(long, conflicts_with = "output")]
    in_place: bool,

    /// Bring along the files that are no checkpoints, so that OUT is a whole store
    #[arg(long, conflicts_with = "in_place")]
    copy_rest: bool,

    /// How an output gets its other names where links of the store lead to one file
    #[arg(long, value_enum, default_value_t = LinkArg::Hard)]
    link: LinkArg,

    /// Look only at files whose path in the folder matches; may be given several times
    #[arg(long, value_name = "GLOB")]
    include_files: Vec<String>,

    /// Do not look at files whose path in the folder matches; may be given several times
    #[arg(long, value_name = "GLOB")]
    exclude_files: Vec<String>,

    /// Only the files that LIST names, one a line (or separated by NUL), by their paths in the folder; - reads standard input
    #[arg(long, value_name = "LIST")]
    files_from: Option<PathBuf>,

    /// Only part I of N, always the same files; env takes it from the environment of a Slurm array or a Kubernetes indexed job, env/N
    /// where that does not say N
    #[arg(long, value_name = "I/N")]
    shard: Option<String>,

    /// Compare what earlier runs did with its digests again
    #[arg(long)]
    recheck: bool,

    /// Write the report as a page for people too, which needs no network
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    html: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LinkArg {
    Hard,
    Symbolic,
    Copy,
}

impl StoreArgs {
    /// Whether only some files of a store are asked for.
    fn is_choice(&self) -> bool {
        self.files_from.is_some() || !self.include_files.is_empty() || !self.exclude_files.is_empty()
    }

    /// Whether the inputs are a store.
    pub(super) fn is_store(&self, inputs: &[PathBuf]) -> bool {
        self.files_from.is_some() || inputs.iter().any(|input| input.is_dir())
    }

    /// What only makes sense for a store, for the error when there is none.
    pub(super) fn first_given(&self) -> Option<&'static str> {
        let given = [
            ("--in-place", self.in_place),
            ("--copy-rest", self.copy_rest),
            ("--include-files", !self.include_files.is_empty()),
            ("--exclude-files", !self.exclude_files.is_empty()),
            ("--shard", self.shard.is_some()),
            ("--recheck", self.recheck),
            ("--html", self.html.is_some()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }
}

/// Converts a store.
pub(super) fn run(args: &convert::Args, options: ConvertOptions, sandboxed: bool) -> u8 {
    match try_run(args, options, sandboxed) {
        Ok(code) => code,
        Err(error) => super::report(args.inputs.first().map_or(Path::new("convert"), |input| input), &error),
    }
}

fn try_run(args: &convert::Args, convert: ConvertOptions, sandboxed: bool) -> depickle::Result<u8> {
    stop_requested();
    let (home, roots) = (home(args)?, roots(args)?);
    let entries = Roots { without: Some(home.clone()).filter(|_| !args.store.in_place), ..roots }.walk()?;
    let force = convert.force;
    let mut options = StoreOptions {
        convert,
        jobs: Jobs::new(args.jobs, args.threads),
        copy_rest: args.store.copy_rest,
        link: match args.store.link {
            LinkArg::Hard => Link::Hard,
            LinkArg::Symbolic => Link::Symbolic,
            LinkArg::Copy => Link::Copy,
        },
        recheck: args.store.recheck,
        part: args.store.shard.as_deref().map(|part| Part::parse(part, |name| std::env::var(name).ok())).transpose()?,
        in_place: args.store.in_place,
        // With several roots it is not known which one a row is of.
        is_choice: args.inputs.len() == 1 && args.store.is_choice(),
        dry_run: args.dry_run,
    };
    if let Some(page) = &args.store.html {
        html::check(page, force)?;
    }
    options.convert.sandbox = sandbox::enter(sandboxed, &access(args, &home, &entries));
    let of = if args.inputs.len() == 1 { args.inputs[0].clone() } else { PathBuf::from(".") };
    let store = Store::open(entries, &of, &home, options)?;
    let ((files, bytes), before, report_path) = (store.to_do(), store.n_done(), store.report_path().to_owned());
    let screen =
        Screen { board: Board::new("converting", files, bytes, args.quiet || args.json || args.dry_run), args, worst: Mutex::new(0) };
    if args.json {
        super::print(&(json::line(&json::StoreEvent::Start { files, bytes, done_before: before }) + "\n"));
    }
    let report = store.run(&screen)?;
    if let Some(page) = &args.store.html {
        html::write(page, &report, &home, force)?;
    }
    let place = Some(report_path.as_path()).filter(|_| !args.dry_run);
    drop(screen.board);
    let printed = screen.worst.into_inner().unwrap_or_else(PoisonError::into_inner);
    if args.json {
        let report_path = place.map(|place| place.to_string_lossy().into_owned());
        super::print(&(json::line(&json::StoreEvent::End { totals: &report.totals, report: report_path }) + "\n"));
    } else if !args.quiet {
        super::say(&(report::summary(&report, before, place) + &super::report::html_said(args.store.html.as_deref())));
    }
    Ok(report.exit_code().max(printed))
}

/// The folder of the outputs.
fn home(args: &convert::Args) -> depickle::Result<PathBuf> {
    match (&args.output, args.store.in_place, &args.inputs[..]) {
        (Some(output), _, _) if output.is_file() => {
            Err(Error::usage(format!("-o {} is a file; the outputs of a folder need a folder", output.display())))
        }
        (Some(output), _, inputs) => {
            let home = Identity::of(output);
            match inputs.iter().any(|input| Identity::of(input) == home) {
                true => {
                    Err(Error::usage("the folder of outputs is that of the inputs").help("write --in-place to put them beside each other"))
                }
                false => Ok(output.clone()),
            }
        }
        (None, true, [root]) if root.is_dir() => Ok(root.clone()),
        (None, true, _) => Err(Error::usage("--in-place takes one folder; run it once for each")),
        (None, false, [input, ..]) => Err(Error::usage(format!("{} is a folder, and its outputs have no place", input.display()))
            .help("name a folder for them with -o OUT, or write --in-place to put them beside the originals")),
        (None, false, []) => Err(Error::usage("no input is named")),
    }
}

fn roots(args: &convert::Args) -> depickle::Result<Roots> {
    let files = args.store.files_from.as_deref().map(listed).transpose()?;
    let StoreArgs { include_files, exclude_files, .. } = &args.store;
    Ok(Roots { paths: args.inputs.clone(), files, include: include_files.clone(), exclude: exclude_files.clone(), without: None })
}

/// The paths in a list.
fn listed(list: &Path) -> depickle::Result<Vec<PathBuf>> {
    let mut bytes = Vec::new();
    let read = if list == Path::new("-") {
        io::stdin().lock().read_to_end(&mut bytes).map(drop)
    } else {
        std::fs::read(list).map(|read| bytes = read)
    };
    read.map_err(|e| Error::usage(format!("cannot read the list of files {}: {e}", list.display())))?;
    let text = String::from_utf8(bytes).map_err(|_| Error::usage(format!("the list of files {} is not UTF-8", list.display())))?;
    let separator = if text.contains('\0') { '\0' } else { '\n' };
    Ok(text
        .split(separator)
        .map(|line| line.strip_suffix('\r').unwrap_or(line))
        .filter(|line| !line.is_empty())
        .map(PathBuf::from)
        .collect())
}

/// The store, what its links lead to, and the folder of the outputs.
fn access(args: &convert::Args, home: &Path, entries: &[Entry]) -> Access {
    let mut access = Access::default();
    args.inputs.iter().for_each(|input| access.read(input));
    let roots: Vec<PathBuf> = args.inputs.iter().filter_map(|input| resolved(input)).collect();
    let targets = entries.iter().filter(|entry| entry.is_link()).filter_map(|entry| resolved(&entry.path));
    targets.filter(|target| !roots.iter().any(|root| target.starts_with(root))).for_each(|target| access.read(&target));
    match args.dry_run {
        true => {
            access.read(home);
            access.temporary();
        }
        false => access.store(home),
    }
    if let Some(page) = &args.store.html {
        access.output(page);
    }
    access
}

/// What is shown while a store is converted.
struct Screen<'a> {
    board: Board,
    args: &'a convert::Args,
    worst: Mutex<u8>,
}

impl Listener for Screen<'_> {
    fn file<'a>(&'a self, name: &str, bytes: u64) -> Box<dyn Progress + Send + 'a> {
        Box::new(self.board.file(name, bytes))
    }

    fn ended(&self, row: &Row) {
        // Of several threads one prints at a time.
        let mut worst = self.worst.lock().unwrap_or_else(PoisonError::into_inner);
        let printed = self.board.aside(|| {
            if self.args.json {
                return super::print(&(json::line(&json::StoreEvent::File(row)) + "\n"));
            }
            // Where bars show how far it is, lines are for what went wrong.
            let only_errors = self.args.quiet || self.board.is_wanted();
            let text = match only_errors && !matches!(row.state, State::Refused | State::Failed) {
                true => String::new(),
                false => report::row(row),
            };
            if self.args.dry_run { super::print(&text) } else { super::say_ok(&text) }
        });
        *worst = printed.max(*worst);
    }

    fn cancelled(&self) -> bool {
        stop_requested().load(Ordering::Relaxed)
    }
}
