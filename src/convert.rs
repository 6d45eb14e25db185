//! One checkpoint in; a verified safetensors file and its manifest out. The whole pipeline on one screen.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::checkpoint::Checkpoint;
use crate::container;
use crate::digest;
use crate::error::Result;
use crate::extras;
use crate::filenames;
use crate::finding::Finding;
use crate::ledger::Ledger;
use crate::limits::ReadOptions;
use crate::manifest::Manifest;
use crate::output::{NewFolders, Pending, Targets};
use crate::place::Place;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::rules::{self, Deny};
use crate::select::{Purpose, Selection};
use crate::source::{Region, Source};
use crate::spool::Opened;
use crate::verify::against_source;
use crate::writer;

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
}

/// A checkpoint that was read and planned, with nothing written yet.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) source: Arc<Source>,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) plan: Plan,
    /// What is known of the input and what would be written.
    pub ledger: Ledger,
}

/// Reads a checkpoint and plans what converting it to `output` would write. Touches nothing but the input, and of that
/// only the directory and the pickles.
///
/// # Errors
/// Whatever is wrong with the input, by its code and place; `denied` when findings refuse it; `output-exists`.
pub fn prepare(input: &Path, output: &Path, options: &ConvertOptions) -> Result<Prepared> {
    plan(input, output, options, Purpose::Convert)
}

/// The same for any purpose; to inspect a file, nothing refuses it.
pub(crate) fn plan(input: &Path, output: &Path, options: &ConvertOptions, purpose: Purpose) -> Result<Prepared> {
    let source = Source::open(input)?;
    if purpose == Purpose::Convert {
        Targets::new(input, output, options.extras.as_deref(), options.force)?;
    }
    let document = container::open(&Region::file(&source), &Place::start_of(""), &options.read).map_err(|broken| {
        // A payload before the break must not be lost with the rest of the file.
        let findings: Vec<Finding> = broken.graphs.iter().flat_map(rules::judge).collect();
        broken.error.with_findings(&findings)
    })?;
    let mut findings = document.findings.clone();
    findings.extend(document.side_pickles.iter().chain([&document.graph]).flat_map(rules::judge));
    let refuse = |findings: &[Finding]| if purpose == Purpose::Convert { rules::refuse(findings, options.deny) } else { Ok(()) };
    let planned = || -> Result<_> {
        refuse(&findings)?;
        let mut checkpoint = match Checkpoint::of(document, &options.read) {
            Ok(checkpoint) => checkpoint,
            Err(failed) => {
                findings.extend(failed.nested_pickles.iter().flat_map(rules::judge));
                refuse(&findings)?;
                return Err(failed.error);
            }
        };
        // Torch files nested in the pickle show when it is understood.
        findings.append(&mut checkpoint.findings);
        findings.extend(checkpoint.nested_pickles.iter().flat_map(rules::judge));
        refuse(&findings)?;
        let selected = options.selection.apply(&checkpoint, &options.read.limits, purpose)?;
        let plan = Plan::new(&checkpoint, &selected, &options.read.limits)?;
        Ok((checkpoint, selected, plan))
    };
    let planned = planned();
    let (checkpoint, selected, plan) = planned.map_err(|e| e.with_findings(&findings))?;
    let source_path = filenames::relative(source.path(), filenames::folder_of(output));
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    let ledger = Ledger::new(&checkpoint, &selected, &plan, &findings, &source, source_path, &name);
    Ok(Prepared { source, checkpoint, plan, ledger })
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
        let Prepared { source, checkpoint, plan, ledger } = self;
        let targets = Targets::new(source.path(), output, options.extras.as_deref(), options.force)?;
        // Before the pending files, so that it is dropped after them.
        let _folders = NewFolders::make(output)?;
        let pending = Pending::create(output)?;
        let extras = match &targets.extras {
            Some(path) => Some(extras::write(&checkpoint, &options.read.limits, path)?),
            None => None,
        };
        progress.start(plan.data_bytes, source.len() + 2 * plan.data_bytes);

        let mut needed = vec![false; checkpoint.storages.len()];
        for planned in &plan.tensors {
            needed[checkpoint.tensor(planned.tensor).storage.index()] = true;
        }
        let opened = Opened::open(&checkpoint.storages, &needed, filenames::folder_of(output), &options.read)?;

        // The source is read once for its digest while the output is written: two cores, one page cache.
        let cancelled = AtomicBool::new(false);
        let cancel = |failed: bool| cancelled.fetch_or(failed, Ordering::Relaxed);
        let (hashed, written) = thread::scope(|scope| {
            let hashing = scope.spawn(|| {
                let hashed = digest::source(&source, &checkpoint.document.members, &options.read, progress, &cancelled);
                cancel(hashed.is_err());
                hashed
            });
            let written = writer::write(&plan, &checkpoint, &opened, pending.file(), output, progress, &cancelled);
            cancel(written.is_err());
            let hashed = hashing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (hashed, written)
        });
        // A damaged source explains a cancelled write; a failed write does not explain a cancelled digest.
        let (source_sha256, mut findings) = hashed?;
        let written = written?;
        let spooled = checkpoint.storages.iter().zip(&needed).filter(|(_, needed)| **needed).filter_map(|(storage, _)| storage.member());
        let spooled: HashSet<&str> = spooled.collect();
        let members = checkpoint.document.members.iter();
        let unread = members.filter(|member| member.deflated && !member.structural && !spooled.contains(member.name.as_str()));
        findings.extend(digest::unread_members(unread, &options.read)?);
        findings.extend(opened.findings.iter().cloned());

        let verified = against_source::compare(&plan, &checkpoint, &opened, pending.reopen()?, output, written, progress)?;
        source.unchanged()?;
        let manifest = Manifest::seal(ledger, source_sha256, &verified, &findings);
        targets.publish(pending, &manifest, extras, &verified)?;
        Ok(Converted { output: targets.output, manifest_path: targets.manifest, manifest })
    }
}
