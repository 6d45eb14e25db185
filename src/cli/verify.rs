//! `depickle verify`

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use depickle::filenames::{is_index, manifest_path};
use depickle::index::ShardIndex;
use depickle::report::json;
use depickle::set::check;
use depickle::text::{bytes, count, printable};
use depickle::verify::{Sources, check_manifest_of};
use depickle::{Error, Limits};

use super::progress::Board;
use super::sandbox::{self, Access};

/// Compare outputs with their manifests, and with their sources where those are still there
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// Outputs, manifests, indexes of sets, or folders with manifests and indexes in them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Print one JSON object a manifest
    #[arg(long)]
    json: bool,

    /// Print errors only
    #[arg(short, long)]
    quiet: bool,
}

const ENDING: &str = ".manifest.json";

pub(super) fn run(args: &Args, sandboxed: bool) -> u8 {
    // Manifests say where their sources are, which may be anywhere; nothing is written.
    let mut access = Access::default();
    access.read(Path::new("/"));
    sandbox::enter(sandboxed, &access);
    let (mut worst, mut sources) = (0, Sources::default());
    for path in &args.paths {
        if is_index(path) {
            worst = worst.max(verify_set(path, args, &mut sources));
            continue;
        }
        let manifests = if path.is_dir() { in_folder(path) } else { Ok(vec![manifest_of(path)]) };
        let code = match manifests {
            Ok(manifests) if manifests.is_empty() => {
                super::say(&format!("error: there is no manifest in {}\n", printable(&path.to_string_lossy())));
                1
            }
            Ok(paths) => {
                let of = |path: &PathBuf| if is_index(path) { verify_listed(path, args) } else { verify(path, args, &mut sources) };
                paths.iter().map(of).max().unwrap_or(0)
            }
            Err(e) => {
                super::say(&format!("error: cannot list {}: {e}\n", printable(&path.to_string_lossy())));
                1
            }
        };
        worst = worst.max(code);
    }
    worst
}

fn manifest_of(path: &Path) -> PathBuf {
    if path.to_string_lossy().ends_with(ENDING) { path.to_owned() } else { manifest_path(path) }
}

/// Each file that an index lists, with its manifest, and then the index.
fn verify_set(path: &Path, args: &Args, sources: &mut Sources) -> u8 {
    match ShardIndex::read(path, &Limits::default()) {
        Ok(index) => {
            let files = index.shards().iter().map(|file| verify(&manifest_path(file), args, sources)).max().unwrap_or(0);
            files.max(verify_index(path, args))
        }
        Err(error) => failed(path, args, &error),
    }
}

/// An index whose files are verified by the manifests that are there: each must have one.
fn verify_listed(path: &Path, args: &Args) -> u8 {
    let without = ShardIndex::read(path, &Limits::default())
        .map(|index| index.shards().into_iter().find(|file| file.is_file() && !manifest_path(file).is_file()));
    match without {
        Ok(Some(file)) => {
            super::say(&format!("error: there is no manifest of {}\n", printable(&file.to_string_lossy())));
            1
        }
        _ => verify_index(path, args),
    }
}

/// Whether each tensor is listed in exactly the file that has it.
fn verify_index(path: &Path, args: &Args) -> u8 {
    match ShardIndex::read(path, &Limits::default()).and_then(|index| check(&index)) {
        Ok(checked) if args.json => super::print(&(json::line(&json::VerifiedIndex::same(path, &checked)) + "\n")),
        Ok(checked) => {
            if !args.quiet {
                let (tensors, files) = (count(checked.tensors, "tensor"), count(checked.files.len() as u64, "file"));
                super::say(&format!(
                    "verified {}: {tensors}, each in the one of {files} that it lists\n",
                    printable(&path.to_string_lossy())
                ));
            }
            0
        }
        Err(error) => failed(path, args, &error),
    }
}

fn failed(index: &Path, args: &Args, error: &Error) -> u8 {
    if args.json {
        super::print(&(json::line(&json::VerifiedIndex::failed(index, error)) + "\n"));
    }
    super::report(index, error)
}

/// The indexes of safetensors files are checked too; others stand beside sources.
fn is_output_index(name: &str) -> bool {
    name.ends_with(".safetensors.index.json")
}

/// The manifests in a folder and in the folders below it, by name, and the indexes of what was written.
fn in_folder(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let is_named = |name: &str| name.ends_with(ENDING) || is_output_index(name);
    let mut manifests = Vec::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            // Links are not followed: a folder must not lead out of itself or around in a circle.
            let kind = entry.file_type()?;
            if kind.is_dir() {
                pending.push(entry.path());
            } else if kind.is_file() && is_named(&entry.file_name().to_string_lossy()) {
                manifests.push(entry.path());
            }
        }
    }
    // The index of files without manifests is somebody else's.
    let folders: HashSet<PathBuf> =
        manifests.iter().filter(|path| !is_index(path)).filter_map(|path| Some(path.parent()?.to_owned())).collect();
    manifests.retain(|path| !is_index(path) || path.parent().is_some_and(|folder| folders.contains(folder)));
    manifests.sort();
    Ok(manifests)
}

fn verify(manifest: &Path, args: &Args, sources: &mut Sources) -> u8 {
    let result = check_manifest_of(manifest, sources, &Board::new("verifying", 1, 0, args.quiet || args.json).file("", 0));
    match result {
        Ok(report) => {
            if args.json {
                return super::print(&(json::line(&json::Verification::same(&report)) + "\n"));
            }
            if !args.quiet {
                let hashes = if report.tensor_hashes || report.tensors == 0 { "" } else { "no digests of tensors, only of the file; " };
                let source = if report.source_checked { "the source too" } else { "the source is not there" };
                for output in &report.outputs {
                    let output = printable(&output.to_string_lossy()).into_owned();
                    super::say(&format!(
                        "verified {output}: {}, {}; {hashes}{source}\n",
                        count(report.tensors, "tensor"),
                        bytes(report.bytes)
                    ));
                }
            }
            0
        }
        Err(error) => {
            if args.json {
                super::print(&(json::line(&json::Verification::failed(manifest, &error)) + "\n"));
            }
            super::report(manifest, &error)
        }
    }
}
