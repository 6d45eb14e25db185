//! One checkpoint in; a verified safetensors file and its manifest out, or several files and their index. Here it is read and
//! planned; `write.rs` writes it.

mod write;

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::checkpoint::Checkpoint;
use crate::coverage;
use crate::digest::{Checksums, Sha};
use crate::error::{Error, Result};
use crate::filenames;
use crate::finding::{Finding, limited};
use crate::index::ShardIndex;
use crate::input::{Input, Origin, Read};
use crate::ledger::{CompanionRecord, Contents, Ledger, SandboxLevel, SourceRecord, Subject};
use crate::limits::ReadOptions;
use crate::output::Targets;
use crate::pickle::Broken;
use crate::pipeline::{self, Ahead};
use crate::rules::{self, Deny};
use crate::select::{Purpose, Root, Selection};
use crate::source::Source;
use crate::split::Plans;

pub use write::{Converted, ConvertedFile};

/// How a checkpoint is converted.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ConvertOptions {
    /// How the input is read.
    pub read: ReadOptions,
    /// Which tensors are taken, and under which names.
    pub selection: Selection,
    /// Findings from this severity on refuse the file.
    pub deny: Deny,
    /// Where everything that is no tensor is written as JSON.
    pub extras: Option<PathBuf>,
    /// Replace an existing output.
    pub force: bool,
    /// How far the process is shut in; the record says so. The library itself never does that.
    pub sandbox: SandboxLevel,
    /// Leave out the digest of each tensor; those of the files stay.
    pub no_tensor_hashes: bool,
    /// How many threads read, digest and write; as many as the machine runs at once, unless it is given.
    pub threads: Option<NonZeroUsize>,
    /// The most bytes of tensors in a file; a checkpoint that has more is split into several, and a larger tensor is alone in one.
    pub max_shard_size: Option<NonZeroU64>,
}

/// A checkpoint that was read and planned, with nothing written yet.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) source: Arc<Source>,
    read: ReadOptions,
    sha256: Arc<OnceLock<Sha>>,
    /// The digest of the source, which has begun.
    ahead: Option<Ahead>,
    pub(crate) checkpoint: Arc<Checkpoint>,
    pub(crate) plans: Arc<Plans>,
    /// The index of the source, when that is a set of files.
    set: Option<Arc<ShardIndex>>,
    /// What is known of the input and what would be written.
    pub ledger: Ledger,
}

/// Reads a checkpoint and plans what converting it to `output` would write. Nothing is written but unnamed temporary files
/// for what is compressed, and of the input only the directory and the pickles are read. A bundle of several checkpoints
/// becomes one output, in which the names start with the path of each; the index of a set stands for all its files, which become
/// one output, too.
///
/// # Errors
/// Whatever is wrong with the input, by its code and place; `denied` when findings refuse it; `output-exists`.
pub fn prepare(input: &Path, output: &Path, options: &ConvertOptions) -> Result<Prepared> {
    let scratch = Some(filenames::folder_of(output));
    prepare_input(Input::open_any(input, &options.read, scratch)?, output, options)
}

/// The same for an input that is open.
///
/// # Errors
/// Those of [`prepare`].
pub fn prepare_input(input: Input, output: &Path, options: &ConvertOptions) -> Result<Prepared> {
    check_targets(&input.sources(), output, options)?;
    checked(plan(input.read(), output, options, Purpose::Convert)?, output, options)
}

/// The same for the checkpoint number `index` of a bundle, as [`Input::checkpoints`] lists them.
///
/// # Errors
/// Those of [`prepare`].
pub fn prepare_packaged(input: &Input, index: usize, output: &Path, options: &ConvertOptions) -> Result<Prepared> {
    check_targets(&input.sources(), output, options)?;
    checked(plan(input.read_one(index, rules::judge), output, options, Purpose::Convert)?, output, options)
}

/// Before anything is read; into how many files a checkpoint is split is not known yet.
fn check_targets(inputs: &[&Path], output: &Path, options: &ConvertOptions) -> Result<()> {
    let extras = options.extras.as_deref();
    match options.max_shard_size {
        None => Targets::one(inputs, output, extras, options.force).map(drop),
        Some(_) => Ok(()),
    }
}

/// Checks the names of the outputs, now that their number is known.
fn checked(prepared: Prepared, output: &Path, options: &ConvertOptions) -> Result<Prepared> {
    match options.max_shard_size {
        None => Ok(prepared),
        Some(_) => prepared.targets(output, options).map(|_| prepared),
    }
}

/// Plans for any purpose; to inspect a file, nothing refuses it.
pub(crate) fn plan(
    read: Result<(Read, Origin), Box<Broken>>,
    output: &Path,
    options: &ConvertOptions,
    purpose: Purpose,
) -> Result<Prepared> {
    let (Read { mut document, member, merged, judged, set }, Origin { source, read: input, sha256 }) = read.map_err(|broken| {
        // A payload before the break must not be lost with the rest of the file.
        broken.error.with_findings(&limited(broken.graphs.iter().flat_map(rules::judge).collect()))
    })?;
    let ahead = match purpose {
        Purpose::Convert if sha256.get().is_none() => {
            Ahead::start(&source, || Checksums::new(&source, &document.members, &input), pipeline::n_threads(options.threads))
        }
        _ => None,
    };
    let mut findings = document.findings.clone();
    findings.extend(document.side_pickles.iter().flat_map(rules::judge));
    findings.extend(judged);
    findings.extend(rules::judge(&document.graph));
    findings.extend(rules::sources::judge(&document, &input));
    let refuse = |findings: &[Finding]| if purpose == Purpose::Convert { rules::refuse(findings, options.deny) } else { Ok(()) };
    let planned = || -> Result<_> {
        refuse(&findings)?;
        document.side_pickles = Vec::new(); // they are judged
        let mut checkpoint = match Checkpoint::of(document, &input) {
            Ok(checkpoint) => checkpoint,
            Err(failed) => {
                findings.extend(failed.nested_pickles.iter().flat_map(rules::judge));
                refuse(&findings)?;
                return Err(failed.error);
            }
        };
        // Torch files nested in the pickle show when it is understood.
        findings.append(&mut checkpoint.findings);
        findings.extend(coverage::findings(&checkpoint));
        findings.extend(checkpoint.nested_pickles.iter().flat_map(rules::judge));
        refuse(&findings)?;
        if let Some(set) = &set {
            findings.extend(checkpoint.compare_with(set, &input.limits)?);
        }
        let mut selection = options.selection.clone();
        if set.is_some() {
            if matches!(selection.root, Root::Path(_)) {
                return Err(Error::usage("--root takes a part of one checkpoint, and this is a set of files; convert them one by one"));
            }
            selection.root = Root::Whole;
        }
        if merged && selection.root == Root::Auto {
            selection.root = Root::Whole; // the names of files are no keys of a checkpoint
        }
        let contents = Contents::of(&checkpoint);
        if options.extras.is_none() {
            checkpoint.forget_pickles();
        }
        let mut selected = selection.apply(&checkpoint, &input, purpose)?;
        findings.extend(selected.confusable());
        let max_bytes = options.max_shard_size.map(NonZeroU64::get);
        let plans = Plans::new(&checkpoint, &mut selected, max_bytes, &input.limits)?;
        if options.extras.is_none() {
            checkpoint.leaves = Vec::new();
        }
        Ok(Subject { checkpoint: Arc::new(checkpoint), contents, selected, plans: Arc::new(plans) })
    };
    let planned = planned();
    let findings = limited(findings);
    let subject = planned.map_err(|e| e.with_findings(&findings))?;
    let (checkpoint, plans) = (Arc::clone(&subject.checkpoint), Arc::clone(&subject.plans));
    let folder = filenames::folder_of(output);
    let record = |companion: &Arc<Source>| CompanionRecord {
        path: filenames::relative(companion.path(), folder),
        bytes: companion.len(),
        sha256: None,
    };
    let record = SourceRecord {
        path: filenames::relative(source.path(), folder),
        bytes: source.len(),
        sha256: None,
        member,
        companions: checkpoint.document.companions.iter().map(record).collect(),
        container: checkpoint.document.kind.as_str().to_owned(),
        facts: checkpoint.document.facts.iter().map(|(fact, value)| ((*fact).to_owned(), value.clone())).collect(),
    };
    let ledger = Ledger::new(subject, &findings, record, output, options.sandbox);
    Ok(Prepared { source, read: input, sha256, ahead, checkpoint, plans, set, ledger })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inflated_pickle_is_not_inflated_again_for_its_checksum() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/torch-zip/2.15.0/deflated.pt");
        let prepared = prepare(&file, Path::new("deflated.safetensors"), &ConvertOptions::default()).expect("a checkpoint");
        let members = prepared.checkpoint.document.members.iter().filter(|member| member.deflated);
        let checked: Vec<String> =
            members.filter(|member| prepared.read.was_checked(member.stored().key())).map(|member| member.name().into_owned()).collect();
        assert!(checked.iter().any(|name| name.ends_with("/data.pkl")), "{checked:?}");
        assert!(!checked.iter().any(|name| name.contains("/data/")), "{checked:?}");
    }
}
