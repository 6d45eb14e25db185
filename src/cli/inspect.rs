//! `depickle inspect`

use std::path::PathBuf;

use clap::Args as ClapArgs;
use depickle::filenames::is_index;
use depickle::inspect::inspect;
use depickle::report::{json, text};

use super::options::{DenyArg, InputArgs};
use super::sandbox::{self, Access};

/// Show what a checkpoint holds and what would be written; reads only its directory and pickles
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// A checkpoint file, or the index of a set of shards
    file: PathBuf,

    #[command(flatten)]
    input: InputArgs,

    /// Print the record as JSON, as the manifest would hold it but without digests
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, sandboxed: bool) -> u8 {
    let mut access = Access::default();
    match is_index(&args.file) {
        true => access.set(&args.file),
        false => access.input(&args.file),
    }
    access.temporary();
    let inspected = args.input.options(DenyArg::None, None, false).and_then(|mut options| {
        options.sandbox = sandbox::enter(sandboxed, &access);
        inspect(&args.file, &options)
    });
    match inspected {
        Ok(prepared) if args.json => super::print(&(json::line(&prepared.ledger) + "\n")),
        Ok(prepared) => super::print(&text::inspected(&args.file, &prepared.ledger)),
        Err(error) => super::report(&args.file, &error),
    }
}
