//! `depickle convert`

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use clap::Args as ClapArgs;
use depickle::convert::prepare;
use depickle::filenames::{default_output, manifest_path, resolved};
use depickle::ledger::FindingRecord;
use depickle::report::{json, text};
use depickle::{ConvertOptions, Error};

use super::options::{DenyArg, InputArgs};
use super::progress::{Bar, stop_requested};

/// Convert checkpoints to safetensors, verify the result and write its manifest
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// Checkpoint files
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,

    /// The output file, or a folder for the outputs; default: beside each input
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,

    #[command(flatten)]
    input: InputArgs,

    /// Write everything that is no tensor to this file, as JSON
    #[arg(long, value_name = "FILE")]
    extras: Option<PathBuf>,

    /// Findings that refuse a file
    #[arg(long, value_enum, default_value_t = DenyArg::Dangerous)]
    deny: DenyArg,

    /// Say what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,

    /// Replace outputs that exist
    #[arg(long)]
    force: bool,

    /// Print one JSON object a file
    #[arg(long)]
    json: bool,

    /// Print errors only
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn run(args: &Args) -> u8 {
    let options = match args.input.options(args.deny, args.extras.clone(), args.force) {
        Ok(options) => options,
        Err(error) => return super::report(Path::new("convert"), &error),
    };
    let folder = match folder(args) {
        Ok(folder) => folder,
        Err(error) => return super::report(Path::new("convert"), &error),
    };
    let inputs: HashSet<PathBuf> = args.inputs.iter().filter_map(|input| resolved(input)).collect();
    let mut targets = HashSet::new();
    let mut worst = 0;
    for input in &args.inputs {
        let output = match (&folder, &args.output) {
            (Some(folder), _) => folder.join(default_output(input).file_name().unwrap_or_default()),
            (None, Some(output)) => output.clone(),
            (None, None) => default_output(input),
        };
        let target = resolved(&output).unwrap_or_else(|| output.clone());
        let code = if inputs.contains(&target) && args.inputs.len() > 1 {
            let message = format!("the output {} is also an input", output.display());
            refused(input, args, &Error::usage(message))
        } else if targets.insert(target) {
            convert(input, &output, args, &options)
        } else {
            let message = format!("{} is the output of two inputs; convert them into different folders", output.display());
            refused(input, args, &Error::usage(message))
        };
        worst = worst.max(code);
        if stop_requested().load(Ordering::Relaxed) {
            break;
        }
    }
    worst
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

fn convert(input: &Path, output: &Path, args: &Args, options: &ConvertOptions) -> u8 {
    let prepared = match prepare(input, output, options) {
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
                super::say(&text::converted(input, output, &manifest_path(output), converted.manifest.ledger()));
            }
            0
        }
        Err(error) => refused(input, args, &error),
    }
}

fn refused(input: &Path, args: &Args, error: &Error) -> u8 {
    if args.json {
        let findings: Vec<FindingRecord> = error.findings().iter().map(FindingRecord::from).collect();
        super::print(&(json::line(&json::Conversion::refused(input, error, &findings)) + "\n"));
    }
    super::report(input, error)
}
