//! One checkpoint in; a verified safetensors file and its manifest out. The whole pipeline on one screen.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::checkpoint::Checkpoint;
use crate::coverage;
use crate::digest::{self, Checksums, Sha};
use crate::error::Result;
use crate::extras;
use crate::filenames;
use crate::finding::{Finding, limited};
use crate::input::{Input, Origin, Read};
use crate::ledger::{CompanionRecord, Contents, Ledger, SandboxLevel, SourceRecord, Subject};
use crate::limits::ReadOptions;
use crate::manifest::Manifest;
use crate::output::{NewFolders, Pending, Targets};
use crate::pickle::Broken;
use crate::pipeline::{self, Ahead, Begun, Bytes, Run};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::rules::{self, Deny};
use crate::select::{Purpose, Root, Selection};
use crate::source::{Region, Source};
use crate::spool::Opened;
use crate::verify::ReadBack;
use crate::writer::{Output, Written};

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
    pub(crate) plan: Arc<Plan>,
    /// What is known of the input and what would be written.
    pub ledger: Ledger,
}

/// Reads a checkpoint and plans what converting it to `output` would write. Nothing is written but unnamed temporary files
/// for what is compressed, and of the input only the directory and the pickles are read. A bundle of several checkpoints
/// becomes one output, in which the names start with the path of each.
///
/// # Errors
/// Whatever is wrong with the input, by its code and place; `denied` when findings refuse it; `output-exists`.
pub fn prepare(input: &Path, output: &Path, options: &ConvertOptions) -> Result<Prepared> {
    prepare_input(Input::open(input, &options.read, Some(filenames::folder_of(output)))?, output, options)
}

/// The same for an input that is open.
///
/// # Errors
/// Those of [`prepare`].
pub fn prepare_input(input: Input, output: &Path, options: &ConvertOptions) -> Result<Prepared> {
    check_targets(&input, output, options)?;
    plan(input.read(), output, options, Purpose::Convert)
}

/// The same for the checkpoint number `index` of a bundle, as [`Input::checkpoints`] lists them.
///
/// # Errors
/// Those of [`prepare`].
pub fn prepare_packaged(input: &Input, index: usize, output: &Path, options: &ConvertOptions) -> Result<Prepared> {
    check_targets(input, output, options)?;
    plan(input.read_one(index, rules::judge), output, options, Purpose::Convert)
}

fn check_targets(input: &Input, output: &Path, options: &ConvertOptions) -> Result<()> {
    Targets::new(input.source.path(), output, options.extras.as_deref(), options.force).map(drop)
}

/// Plans for any purpose; to inspect a file, nothing refuses it.
pub(crate) fn plan(
    read: Result<(Read, Origin), Box<Broken>>,
    output: &Path,
    options: &ConvertOptions,
    purpose: Purpose,
) -> Result<Prepared> {
    let (Read { mut document, member, merged, judged }, Origin { source, read: input, sha256 }) = read.map_err(|broken| {
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
        let mut selection = options.selection.clone();
        if merged && selection.root == Root::Auto {
            selection.root = Root::Whole; // the names of files are no keys of a checkpoint
        }
        let contents = Contents::of(&checkpoint);
        if options.extras.is_none() {
            checkpoint.forget_pickles();
        }
        let mut selected = selection.apply(&checkpoint, &input, purpose)?;
        findings.extend(selected.confusable());
        let plan = Plan::new(&checkpoint, &mut selected, &input.limits)?;
        if options.extras.is_none() {
            checkpoint.leaves = Vec::new();
        }
        Ok(Subject { checkpoint: Arc::new(checkpoint), contents, selected, plan: Arc::new(plan) })
    };
    let planned = planned();
    let findings = limited(findings);
    let subject = planned.map_err(|e| e.with_findings(&findings))?;
    let (checkpoint, plan) = (Arc::clone(&subject.checkpoint), Arc::clone(&subject.plan));
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
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    let ledger = Ledger::new(subject, &findings, record, &name, options.sandbox);
    Ok(Prepared { source, read: input, sha256, ahead, checkpoint, plan, ledger })
}

/// What a conversion made.
#[derive(Debug)]
#[non_exhaustive]
pub struct Converted {
    /// The safetensors file.
    pub output: PathBuf,
    /// The manifest beside it.
    pub manifest_path: PathBuf,
    /// What the manifest says.
    pub manifest: Manifest,
}

impl Prepared {
    /// Writes, verifies and publishes the output and its manifest.
    ///
    /// # Errors
    /// `output-exists`, `zip-crc`, `io` and `mismatch`; no file is left behind then.
    pub fn write(self, output: &Path, options: &ConvertOptions, progress: &dyn Progress) -> Result<Converted> {
        let Prepared { source, read, sha256, ahead, checkpoint, plan, ledger } = self;
        let targets = Targets::new(source.path(), output, options.extras.as_deref(), options.force)?;
        // Before the pending files, so that it is dropped after them.
        let _folders = NewFolders::make(output)?;
        let pending = Pending::create(output)?;
        pending.check_room(plan.file_bytes())?;
        let extras = match &targets.extras {
            Some(path) => Some(extras::write(&checkpoint, &read, path)?),
            None => None,
        };
        progress.start(plan.data_bytes, source.len() + 2 * plan.data_bytes);

        let mut needed = vec![false; checkpoint.storages.len()];
        for planned in &plan.tensors {
            needed[checkpoint.tensor(planned.tensor).storage.index()] = true;
        }
        let mut spooled = HashSet::new();
        let storages = checkpoint.storage_ids().zip(&needed).map(|(id, needed)| {
            let storage = needed.then(|| checkpoint.storage(id));
            spooled.extend(storage.as_ref().and_then(|storage| storage.member().map(str::to_owned)));
            storage
        });
        let opened = Opened::open(storages, filenames::folder_of(output), &options.read)?;

        // The source is read once from start to end for its digest, unless another checkpoint of the same bundle was converted
        // before, and once in the order of the output, which is written and compared while it is in cache.
        let members = &checkpoint.document.members;
        let file = Output { plan: &plan, checkpoint: &checkpoint, opened: &opened, file: pending.file(), path: output, progress };
        let read_back = ReadBack::new(pending.reopen()?, output, &plan);
        let checker = || read_back.checker(&file);
        let data = file.data(&checker);
        let header = file.write_header()?;
        let begun = ahead.and_then(Ahead::end);
        let begun = begun.unwrap_or_else(|| Begun::nothing(Checksums::new(&source, members, &read)));
        progress.advance(begun.bytes);
        let all = Bytes::new(Region::file(&source), progress).with(begun.checksums);
        let mut runs = vec![Run { feed: &data, whole: header, done: 0, each: !options.no_tensor_hashes }];
        let hashed_before = sha256.get().is_some();
        if !hashed_before {
            runs.insert(0, Run { feed: &all, whole: begun.digest, done: begun.bytes, each: false });
        }
        let threads = pipeline::n_threads(options.threads);
        let (header, digests) = pipeline::both(threads, || read_back.compare_header(&file), || pipeline::run(&runs, threads, progress));
        let mut digests = digests?;
        file.start_last_write_back();
        let written = digests.pop().unwrap_or_default();
        let source_sha256 = *sha256.get_or_init(|| digests.pop().unwrap_or_default().whole);
        let written = Written { sha256: written.whole, tensors: written.each, findings: data.findings() };
        let mut findings = all.findings();
        if hashed_before {
            findings.extend(digest::unread_members(members.iter().filter(|m| !m.deflated && !m.is_archive), &read)?);
        }
        let members = checkpoint.document.members.iter().filter(|member| !member.is_archive);
        let unread = members.filter(|member| match member.deflated {
            // Of those that were read for their pickles it is known; of some only the head was read, and a damaged one may say that
            // there is no data.
            true => !spooled.contains(&*member.place().member) && !read.was_checked(member.stored().key()),
            false => member.stored().offset_in(&source).is_none() && !hashed_before,
        });
        let known: HashSet<&Finding> = checkpoint.document.findings.iter().collect();
        let found = digest::unread_members(unread, &read)?;
        findings.extend(found.into_iter().filter(|finding| !known.contains(finding)));
        findings.extend(opened.findings.iter().cloned());
        findings.extend(written.findings.iter().cloned());

        let verified = header?.with_data(written);
        source.unchanged()?;
        let hashed_companion = |companion: &Arc<Source>| {
            let sha256 = digest::region(&Region::file(companion), progress)?;
            companion.unchanged().map(|()| sha256)
        };
        let companions = checkpoint.document.companions.iter().map(hashed_companion).collect::<Result<Vec<_>>>()?;
        let manifest = Manifest::seal(ledger, source_sha256, &companions, &verified, &findings);
        targets.publish(pending, &manifest, extras, &verified)?;
        Ok(Converted { output: targets.output, manifest_path: targets.manifest, manifest })
    }
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
