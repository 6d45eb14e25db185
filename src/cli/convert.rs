//! `depickle convert`

use std::collections::HashSet;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use clap::Args as ClapArgs;
use depickle::convert::{Prepared, prepare_input, prepare_packaged};
use depickle::error::Code;
use depickle::filenames::{bundle_output, default_output, existing_folder_of, folder_of, is_index, packaged_output, resolved};
use depickle::input::Input;
use depickle::ledger::FindingRecord;
use depickle::report::{json, text};
use depickle::{ConvertOptions, Error};

use super::options::{DenyArg, InputArgs, parse_size};
use super::progress::{Bar, stop_requested};
use super::sandbox::{self, Access};

/// Convert checkpoints to safetensors, verify the result and write its manifest
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// Checkpoint files, archives of them, or the index of a set of shards (pytorch_model.bin.index.json)
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,

    /// The output file, or a folder for the outputs; default: beside each input. An archive of checkpoints becomes a folder,
    /// with an output for each; with the name of a file, one output with all of them
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,

    /// Split what has more bytes of tensors than this, such as 5GB or 500MiB, into files that an index lists, by the rule of the
    /// Hugging Face libraries; of a set of shards new files are made
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_shard_size: Option<NonZeroU64>,

    #[command(flatten)]
    input: InputArgs,

    /// Write everything that is no tensor to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(super) extras: Option<PathBuf>,

    /// Findings that refuse a file
    #[arg(long, value_enum, default_value_t = DenyArg::Dangerous)]
    deny: DenyArg,

    /// Leave the digest of each tensor out of the manifest, which takes less time; source and output still have theirs
    #[arg(long)]
    no_tensor_hashes: bool,

    /// Threads that read, digest and write; default: as many as the machine runs at once
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// Say what would be written, and write nothing
    #[arg(long)]
    pub(super) dry_run: bool,

    /// Replace outputs that exist
    #[arg(long)]
    pub(super) force: bool,

    /// Print one JSON object a file
    #[arg(long)]
    pub(super) json: bool,

    /// Print errors only
    #[arg(short, long)]
    pub(super) quiet: bool,
}

pub(super) fn run(args: &Args, sandboxed: bool) -> u8 {
    let mut options = match args.input.options(args.deny, args.extras.clone(), args.force) {
        Ok(options) => options,
        Err(error) => return super::report(Path::new("convert"), &error),
    };
    options.no_tensor_hashes = args.no_tensor_hashes;
    options.threads = args.threads;
    options.max_shard_size = args.max_shard_size;
    let folder = match folder(args) {
        Ok(folder) => folder,
        Err(error) => return super::report(Path::new("convert"), &error),
    };
    options.sandbox = sandbox::enter(sandboxed, &access(args, folder.as_deref()));
    let inputs: HashSet<PathBuf> = args.inputs.iter().filter_map(|input| resolved(input)).collect();
    let mut run = Run { args, options: &options, inputs, targets: HashSet::new() };
    let mut worst = 0;
    for input in &args.inputs {
        worst = worst.max(run.convert(input, folder.as_deref()));
        if stop_requested().load(Ordering::Relaxed) {
            break;
        }
    }
    worst
}

pub(super) struct Run<'a> {
    pub args: &'a Args,
    pub options: &'a ConvertOptions,
    inputs: HashSet<PathBuf>,
    /// The outputs so far.
    targets: HashSet<PathBuf>,
}

impl Run<'_> {
    /// Converts one input; into `folder`, if the outputs go to one.
    fn convert(&mut self, input: &Path, folder: Option<&Path>) -> u8 {
        let output = output_of(input, self.args, folder);
        // -o with the name of a file asks for one file.
        let one_file = folder.is_none() && self.args.output.is_some();
        if is_index(input) {
            let joined = one_file || self.args.max_shard_size.is_some();
            return if joined { self.join(input, &output) } else { self.convert_set(input, &output, folder) };
        }
        // What only plans leaves the place of the output alone.
        let scratch = (!self.args.dry_run).then(|| existing_folder_of(&output));
        let opened = match Input::open(input, &self.options.read, scratch) {
            Ok(opened) => opened,
            Err(error) => return refused(input, self.args, &error),
        };
        let names: Option<Vec<String>> = opened.checkpoints().map(|names| names.into_iter().map(str::to_owned).collect());
        match names {
            Some(names) if !names.is_empty() && !one_file => self.unpack(input, &opened, &names, &bundle_output(input, folder)),
            _ => match self.claim(&output) {
                Ok(()) => write(input, &output, self.args, self.options, prepare_input(opened, &output, self.options)),
                Err(error) => refused(input, self.args, &error),
            },
        }
    }

    /// Converts every checkpoint of a bundle to a file of its own.
    fn unpack(&mut self, input: &Path, opened: &Input, names: &[String], folder: &Path) -> u8 {
        let (mut worst, mut converted, mut empty) = (0, 0, Vec::new());
        if self.args.extras.is_some() && names.len() > 1 {
            let error =
                Error::usage("--extras takes the values of one checkpoint, and this is a bundle of several; name one output file with -o");
            return refused(input, self.args, &error);
        }
        for (index, name) in names.iter().enumerate() {
            let (shown, output) = (input.join(name), folder.join(packaged_output(name)));
            let claimed = self.claim(&output).map_err(|_| Error::outputs_collide(&output));
            let prepared = claimed.and_then(|()| prepare_packaged(opened, index, &output, self.options));
            match prepared {
                // Beside weights, bundles hold pickles of other things.
                Err(error) if matches!(error.code(), Code::NoTensors | Code::ObjectArray) => empty.push((shown, error)),
                prepared => {
                    let code = write(&shown, &output, self.args, self.options, prepared);
                    converted += u32::from(code == 0);
                    worst = worst.max(code);
                }
            }
            if stop_requested().load(Ordering::Relaxed) {
                return worst;
            }
        }
        for (shown, error) in &empty {
            if converted == 0 && worst == 0 {
                refused(shown, self.args, error);
            } else {
                skipped(shown, self.args, error);
            }
        }
        if converted == 0 && worst == 0 { 1 } else { worst }
    }

    /// Notes an output, which no other input may have.
    pub fn claim(&mut self, output: &Path) -> depickle::Result<()> {
        let target = resolved(output).unwrap_or_else(|| output.to_owned());
        if self.inputs.contains(&target) && self.args.inputs.len() > 1 {
            return Err(Error::usage(format!("the output {} is also an input", output.display())));
        }
        if !self.targets.insert(target) {
            let message = format!("{} is the output of two inputs; convert them into different folders", output.display());
            return Err(Error::usage(message));
        }
        Ok(())
    }
}

/// The output of an input that is one checkpoint; in `folder`, if the outputs go to one.
pub(super) fn output_of(input: &Path, args: &Args, folder: Option<&Path>) -> PathBuf {
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

/// Writes what was prepared, and says what was done; `input` is what to call it.
pub(super) fn write(input: &Path, output: &Path, args: &Args, options: &ConvertOptions, prepared: depickle::Result<Prepared>) -> u8 {
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return refused(input, args, &error),
    };
    if args.dry_run {
        return match args.json {
            true => super::print(&(json::line(&json::Conversion::planned(input, &prepared.ledger)) + "\n")),
            false => super::print(&text::planned(input, output, &prepared.ledger)),
        };
    }
    let bar = Bar::new("converting", args.quiet || args.json);
    let result = prepared.write(output, options, &bar);
    drop(bar);
    match result {
        Ok(converted) if args.json => super::print(&(json::line(&json::Conversion::done(input, &converted)) + "\n")),
        Ok(converted) => {
            if !args.quiet {
                super::say(&text::converted(input, &converted));
            }
            0
        }
        Err(error) => refused(input, args, &error),
    }
}

/// Says that a checkpoint of a bundle was left alone.
fn skipped(input: &Path, args: &Args, error: &Error) {
    if args.json {
        super::print(&(json::line(&json::Conversion::skipped(input, error)) + "\n"));
    } else if !args.quiet {
        super::say(&text::skipped(input, error));
    }
}

pub(super) fn refused(input: &Path, args: &Args, error: &Error) -> u8 {
    if args.json {
        let findings: Vec<FindingRecord> = error.findings().iter().map(FindingRecord::from).collect();
        super::print(&(json::line(&json::Conversion::refused(input, error, &findings)) + "\n"));
    }
    super::report(input, error)
}
