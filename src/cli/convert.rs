//! `depickle convert`

use std::collections::HashSet;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use clap::Args as ClapArgs;
use depickle::batch::{self, Done, Outcome, SetPlan, Target};
use depickle::filenames::{Identity, bundle_output, default_output, folder_of, is_index};
use depickle::jobs::{self, Claims, Jobs, OnTurn, Ticket, Turn};
use depickle::ledger::FindingRecord;
use depickle::report::{json, text};
use depickle::{ConvertOptions, Error};

use super::options::{DenyArg, InputArgs, parse_size};
use super::printer::{Printer, Said};
use super::progress::{Board, stop_requested};
use super::sandbox::{self, Access};
use super::store::StoreArgs;

/// Convert checkpoints to safetensors, verify the result and write its manifest
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// Checkpoint files, archives of them, the index of a set of shards (pytorch_model.bin.index.json), or folders of all of these
    #[arg(required = true, value_name = "INPUT")]
    pub(super) inputs: Vec<PathBuf>,

    /// The output file, or a folder for the outputs; default: beside each input. An archive of checkpoints becomes a folder,
    /// with an output for each; with the name of a file, one output with all of them
    #[arg(short, long, value_name = "OUT")]
    pub(super) output: Option<PathBuf>,

    /// Split what has more bytes of tensors than this, such as 5GB or 500MiB, into files that an index lists, by the rule of the
    /// Hugging Face libraries; of a set of shards new files are made
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_shard_size: Option<NonZeroU64>,

    #[command(flatten)]
    input: InputArgs,

    /// Write everything that is no tensor to this file, as JSON
    #[arg(long, value_name = "FILE")]
    extras: Option<PathBuf>,

    /// Findings that refuse a file
    #[arg(long, value_enum, default_value_t = DenyArg::Dangerous)]
    deny: DenyArg,

    /// Leave the digest of each tensor out of the manifest, which takes less time; source and output still have theirs
    #[arg(long)]
    no_tensor_hashes: bool,

    /// Threads that read, digest and write; default: as many as the machine runs at once
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<NonZeroUsize>,

    /// Files that are converted side by side; default: what suits the machine
    #[arg(long, value_name = "N")]
    pub(super) jobs: Option<NonZeroUsize>,

    /// Say what would be written, and write nothing
    #[arg(long)]
    pub(super) dry_run: bool,

    /// Replace outputs that exist
    #[arg(long)]
    force: bool,

    /// Print one JSON object a file
    #[arg(long)]
    pub(super) json: bool,

    /// Print errors only
    #[arg(short, long)]
    pub(super) quiet: bool,

    #[command(flatten)]
    pub(super) store: StoreArgs,
}

pub(super) fn run(args: &Args, sandboxed: bool) -> u8 {
    let mut options = match args.input.options(args.deny, args.extras.clone(), args.force) {
        Ok(options) => options,
        Err(error) => return super::report(Path::new("convert"), &error),
    };
    options.no_tensor_hashes = args.no_tensor_hashes;
    options.threads = args.threads;
    options.max_shard_size = args.max_shard_size;
    if args.store.is_store(&args.inputs) {
        if args.extras.is_some() {
            let error = Error::usage("--extras takes the values of one file; convert it by itself");
            return super::report(Path::new("convert"), &error);
        }
        return super::store::run(args, options, sandboxed);
    }
    if let Some(given) = args.store.first_given() {
        let error = Error::usage(format!("{given} is for folders, and no input is one"));
        return super::report(Path::new("convert"), &error);
    }
    let folder = match folder(args) {
        Ok(folder) => folder,
        Err(error) => return super::report(Path::new("convert"), &error),
    };
    options.sandbox = sandbox::enter(sandboxed, &access(args, folder.as_deref()));
    Run::new(args, &options, folder.as_deref()).run()
}

struct Run<'a> {
    args: &'a Args,
    options: &'a ConvertOptions,
    folder: Option<&'a Path>,
    /// Bytes of each input, as far as they can be told.
    sizes: Vec<u64>,
    inputs: HashSet<Identity>,
    claims: Claims,
    board: Board,
    printer: Printer,
}

impl<'a> Run<'a> {
    fn new(args: &'a Args, options: &'a ConvertOptions, folder: Option<&'a Path>) -> Self {
        let sizes: Vec<u64> = args.inputs.iter().map(|input| input.metadata().map_or(0, |metadata| metadata.len())).collect();
        Run {
            args,
            options,
            folder,
            inputs: args.inputs.iter().map(|input| Identity::of(input)).collect(),
            claims: Claims::default(),
            board: Board::new("converting", sizes.len() as u64, sizes.iter().sum(), args.quiet || args.json || args.dry_run),
            printer: Printer::default(),
            sizes,
        }
    }

    fn run(&self) -> u8 {
        let jobs = Jobs::new(self.args.jobs, self.args.threads);
        let weigh = |index: usize| jobs::useful_threads(self.sizes[index]);
        let mut worst = 0;
        jobs.run(self.args.inputs.len(), weigh, |index, turn| self.convert(index, turn), |_, code: u8| worst = worst.max(code));
        worst
    }

    /// Converts one input.
    fn convert(&self, index: usize, turn: Turn<'_>) -> u8 {
        let ticket = self.claims.ticket(index);
        let converted = match stop_requested().load(Ordering::Relaxed) {
            true => 0,
            false => self.convert_with(index, turn, ticket),
        };
        converted.max(self.board.aside(|| self.printer.end(index)))
    }

    fn convert_with(&self, index: usize, turn: Turn<'_>, ticket: Ticket<'_>) -> u8 {
        let input = &self.args.inputs[index];
        let mut options = self.options.clone();
        options.threads = turn.threads();
        // -o with the name of a file asks for one file.
        let to_one_file = self.folder.is_none() && self.args.output.is_some();
        let bundle = (!to_one_file).then(|| bundle_output(input, self.folder));
        let target = Target { file: output_of(input, self.args, self.folder), folder: bundle };
        let claim = |outputs: &[PathBuf]| {
            let ticket = ticket;
            outputs.iter().map(|output| self.claim(&ticket, output)).collect()
        };
        let progress = OnTurn::new(self.board.file(&input.to_string_lossy(), self.sizes[index]), turn);
        let mut worst = 0;
        batch::convert(input, &target, &options, self.args.dry_run, claim, &progress, &mut |done| {
            let said = self.told(&done);
            worst = worst.max(self.board.aside(|| self.printer.print(index, said)));
        });
        worst
    }

    /// Notes an output, which no other input may have.
    fn claim(&self, ticket: &Ticket<'_>, output: &Path) -> depickle::Result<()> {
        if self.args.inputs.len() > 1 && self.inputs.contains(&Identity::of(output)) {
            return Err(Error::usage(format!("the output {} is also an input", output.display())));
        }
        if !ticket.claim(output) {
            let message = format!("{} is the output of two inputs; convert them into different folders", output.display());
            return Err(Error::usage(message));
        }
        Ok(())
    }

    /// What is to be said of a checkpoint.
    fn told(&self, done: &Done) -> Said {
        let Done { input, output, outcome } = done;
        let (json, quiet) = (self.args.json, self.args.quiet);
        let mut said = Said::default();
        match outcome {
            Outcome::Converted(converted) if json => said.data = json::line(&json::Conversion::done(input, converted)) + "\n",
            Outcome::Converted(_) if quiet => {}
            Outcome::Converted(converted) => {
                said.message = text::converted(input, converted);
            }
            Outcome::Planned(ledger) if json => said.data = json::line(&json::Conversion::planned(input, ledger)) + "\n",
            Outcome::Planned(ledger) => said.data = text::planned(input, output, ledger),
            Outcome::Indexed(published) if json => said.data = json::line(&json::Conversion::indexed(input, published)) + "\n",
            Outcome::Indexed(_) if quiet => {}
            Outcome::Indexed(published) => said.message = text::indexed(input, published),
            Outcome::IndexPlanned(SetPlan { tensors, notes, .. }) if json => {
                said.data = json::line(&json::Conversion::would_index(input, *tensors, notes)) + "\n";
            }
            Outcome::IndexPlanned(SetPlan { tensors, files, notes }) => {
                said.data = text::would_index(input, output, *tensors, *files, notes);
            }
            Outcome::Skipped(error) if json => said.data = json::line(&json::Conversion::skipped(input, error)) + "\n",
            Outcome::Skipped(_) if quiet => {}
            Outcome::Skipped(error) => said.message = text::skipped(input, error),
            Outcome::Refused(error) => {
                if json {
                    let findings: Vec<FindingRecord> = error.findings().iter().map(FindingRecord::from).collect();
                    said.data = json::line(&json::Conversion::refused(input, error, &findings)) + "\n";
                }
                said.message = super::described(input, error);
                said.code = error.exit_code();
            }
        }
        said
    }
}

/// The output of an input that is one checkpoint; in `folder`, if the outputs go to one.
fn output_of(input: &Path, args: &Args, folder: Option<&Path>) -> PathBuf {
    match (folder, &args.output) {
        (Some(folder), _) => folder.join(default_output(input).file_name().unwrap_or_default()),
        (None, Some(output)) => output.clone(),
        (None, None) => default_output(input),
    }
}

/// The files that the command needs.
fn access(args: &Args, folder: Option<&Path>) -> Access {
    let mut access = Access::default();
    for input in &args.inputs {
        match is_index(input) {
            true => access.set(input),
            false => access.input(input),
        }
        let output = output_of(input, args, folder);
        match args.dry_run {
            // To see whether what is there is a manifest.
            true => access.read(folder_of(&output)),
            // The folder of a bundle is made where this file would be.
            false => access.output(&output),
        }
    }
    if args.dry_run {
        access.temporary();
    } else if let Some(extras) = &args.extras {
        access.output(extras);
    }
    access
}

/// The folder for the outputs; `None` when there is none or `-o` names a file.
fn folder(args: &Args) -> depickle::Result<Option<PathBuf>> {
    if args.extras.is_some() && args.inputs.len() > 1 {
        return Err(Error::usage("--extras takes the values of one file; convert the inputs one by one"));
    }
    let Some(output) = &args.output else { return Ok(None) };
    let ends_as_folder = output.as_os_str().to_string_lossy().ends_with(std::path::is_separator);
    match output.is_dir() || ends_as_folder {
        true => Ok(Some(output.clone())),
        false if args.inputs.len() == 1 => Ok(None),
        false => {
            let message =
                format!("-o {} must be a folder for several inputs; write it with a slash at its end to make one", output.display());
            Err(Error::usage(message))
        }
    }
}
