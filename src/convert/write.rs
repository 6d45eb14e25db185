//! From a plan to files: they are written, compared with the source, and become visible together.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::convert::{ConvertOptions, Prepared};
use crate::digest::{self, Checksums};
use crate::error::Result;
use crate::extras;
use crate::filenames;
use crate::finding::Finding;
use crate::index;
use crate::ledger::{FindingRecord, Ledger};
use crate::manifest::Manifest;
use crate::output::{Pending, Sealed, Targets};
use crate::pipeline::{self, Ahead, Begun, Bytes, Run};
use crate::progress::Progress;
use crate::source::{Region, Source};
use crate::spool::Opened;
use crate::verify::ReadBack;
use crate::writer::{Data, Output, Written};

/// What a conversion made.
#[derive(Debug)]
#[non_exhaustive]
pub struct Converted {
    /// The safetensors files; more than one when the checkpoint was split.
    pub files: Vec<ConvertedFile>,
    /// The index of several.
    pub index: Option<PathBuf>,
    /// The record of several files as one.
    whole: Option<Ledger>,
}

impl Converted {
    /// What is known of the input and of all outputs; the manifest of each has its part of it.
    pub fn ledger(&self) -> &Ledger {
        match (&self.whole, self.files.as_slice()) {
            (Some(whole), _) => whole,
            (None, [first, ..]) => first.manifest.ledger(),
            (None, []) => unreachable!("a conversion makes at least one file"),
        }
    }
}

/// A file that a conversion made.
#[derive(Debug)]
#[non_exhaustive]
pub struct ConvertedFile {
    /// The safetensors file.
    pub output: PathBuf,
    /// The manifest beside it.
    pub manifest_path: PathBuf,
    /// What the manifest says.
    pub manifest: Manifest,
}

impl Prepared {
    /// The names of what would be written.
    pub(super) fn targets(&self, output: &Path, options: &ConvertOptions) -> Result<Targets> {
        let inputs: Vec<&Path> = self.sources().map(|source| source.path()).collect();
        let paths = self.plans.paths(output);
        match &self.plans.index {
            None => Targets::one(&inputs, output, options.extras.as_deref(), options.force),
            Some(_) => Targets::several(&inputs, output, paths, options.extras.as_deref(), options.force),
        }
    }

    /// The source and the files that belong to it.
    fn sources(&self) -> impl Iterator<Item = &Arc<Source>> {
        std::iter::once(&self.source).chain(&self.checkpoint.document.companions)
    }

    /// Writes, verifies and publishes the output and its manifest; of several outputs all are verified before one is visible, and
    /// their index comes last.
    ///
    /// # Errors
    /// `output-exists`, `zip-crc`, `io` and `mismatch`; no file is left behind then.
    pub fn write(mut self, output: &Path, options: &ConvertOptions, progress: &dyn Progress) -> Result<Converted> {
        let targets = self.targets(output, options)?;
        let ahead = self.ahead.take();
        // In this order, so that the folder is removed after the files.
        let (_folders, pending) = Pending::create_all(targets.files.iter().map(|(file, _)| file.as_path()))?;
        if let Some(first) = pending.first() {
            first.check_room(self.plans.files.iter().map(|plan| plan.file_bytes()).sum())?;
        }
        let extras = match &targets.extras {
            Some(path) => Some(extras::write(&self.checkpoint, &self.read, path)?),
            None => None,
        };
        let data_bytes = self.plans.data_bytes();
        progress.start(data_bytes, self.sources().map(|source| source.len()).sum::<u64>() + 2 * data_bytes);
        let (opened, spooled) = self.open_storages(output, options)?;
        let files = self.plans.files.iter().zip(&pending).zip(&targets.files);
        let outputs: Vec<Output<'_>> = files
            .map(|((plan, pending), (path, _))| Output {
                plan,
                checkpoint: &self.checkpoint,
                opened: &opened,
                file: pending.file(),
                path,
                progress,
            })
            .collect();
        let (verified, mut findings) = self.write_all(&pending, &outputs, &spooled, ahead, options, progress)?;
        drop(outputs);

        let (source_sha256, companions) = verified.sources;
        findings.extend(opened.findings.iter().cloned());
        let Prepared { ledger, plans, set, .. } = self;
        let is_split = plans.index.is_some();
        let mut whole = Some(ledger);
        let mut of_data = Vec::new();
        let mut sealed = Vec::new();
        for (number, ((pending, verified), written)) in pending.into_iter().zip(&verified.files).zip(verified.findings).enumerate() {
            let of_file = if is_split { whole.as_ref().map(|whole| whole.of_file(number)) } else { whole.take() };
            let Some(ledger) = of_file else { unreachable!("one file takes it, and of several each a part") };
            let findings: Vec<Finding> = findings.iter().chain(&written).cloned().collect();
            let manifest = Manifest::seal(ledger, source_sha256, &companions, verified, &findings);
            sealed.push(Sealed { pending, manifest, proof: verified });
            of_data.extend(written);
        }
        if let Some(whole) = &mut whole {
            whole.findings.extend(findings.iter().chain(&of_data).map(FindingRecord::from));
        }
        let index = match (&plans.index, &targets.index) {
            (Some(entries), Some(path)) => Some(Pending::with_content(path, |out| {
                let metadata: Vec<(&str, &str)> = set.iter().flat_map(|set| set.other_metadata()).collect();
                let names: Vec<_> = targets.files.iter().map(|(path, _)| path.file_name().unwrap_or_default().to_string_lossy()).collect();
                let files = plans.indexed(entries).map(|(name, file)| (name, &*names[file]));
                index::write(out, plans.data_bytes(), &metadata, entries.tied(), files)
            })?),
            _ => None,
        };
        progress.syncs();
        let manifests = targets.publish(sealed, extras, index)?;
        let files = targets.files.into_iter().zip(manifests);
        let files = files.map(|((output, manifest_path), manifest)| ConvertedFile { output, manifest_path, manifest });
        Ok(Converted { files: files.collect(), index: targets.index, whole })
    }

    /// The storages that are written, and the members that had to be decoded for it.
    fn open_storages(&self, output: &Path, options: &ConvertOptions) -> Result<(Opened, HashSet<String>)> {
        let checkpoint = &self.checkpoint;
        let mut needed = vec![false; checkpoint.storages.len()];
        for planned in self.plans.files.iter().flat_map(|plan| &plan.tensors) {
            needed[checkpoint.tensor(planned.tensor).storage.index()] = true;
        }
        let mut spooled = HashSet::new();
        let storages = checkpoint.storage_ids().zip(&needed).map(|(id, needed)| {
            let storage = needed.then(|| checkpoint.storage(id));
            spooled.extend(storage.as_ref().and_then(|storage| storage.member().map(str::to_owned)));
            storage
        });
        let opened = Opened::open(storages, filenames::folder_of(output), &options.read)?;
        Ok((opened, spooled))
    }

    /// Writes all data and compares it. Every source is read once from start to end for its digest, unless another checkpoint of the
    /// same bundle was converted before, and once in the order of the outputs, which is written and compared while it is in cache.
    fn write_all(
        &self,
        pending: &[Pending],
        outputs: &[Output<'_>],
        spooled: &HashSet<String>,
        ahead: Option<Ahead>,
        options: &ConvertOptions,
        progress: &dyn Progress,
    ) -> Result<(AllVerified, Vec<Finding>)> {
        let Prepared { read, sha256, checkpoint, .. } = self;
        let members = &checkpoint.document.members;
        let read_backs =
            outputs.iter().zip(pending).map(|(output, pending)| Ok(ReadBack::new(pending.reopen()?, output.path, output.plan)));
        let read_backs = read_backs.collect::<Result<Vec<_>>>()?;
        let checkers: Vec<_> = outputs.iter().zip(&read_backs).map(|(output, read_back)| || read_back.checker(output)).collect();
        let data: Vec<Data<'_>> = outputs.iter().zip(&checkers).map(|(output, checker)| output.data(checker)).collect();
        let hashed_before = sha256.get().is_some();
        let unhashed: Vec<&Arc<Source>> = self.sources().skip(usize::from(hashed_before)).collect();
        let each = !options.no_tensor_hashes;
        let run = |(feed, output): (_, &Output<'_>)| Ok(Run { feed, whole: output.write_header()?, done: 0, each });
        let files = data.iter().map(|data| data as &dyn pipeline::Feed).zip(outputs).map(run).collect::<Result<Vec<_>>>()?;
        // The first of them was begun while the checkpoint was understood.
        let mut begun = ahead.and_then(Ahead::end);
        progress.advance(begun.as_ref().map_or(0, |begun| begun.bytes));
        let (bytes, starts): (Vec<Bytes<'_>>, Vec<_>) = unhashed
            .iter()
            .map(|source| {
                let begun = begun.take().unwrap_or_else(|| Begun::nothing(Checksums::new(source, members, read)));
                (Bytes::new(Region::file(source), progress).with(begun.checksums), (begun.digest, begun.bytes))
            })
            .unzip();
        let sources: Vec<Run<'_>> = bytes.iter().zip(starts).map(|(feed, (whole, done))| Run { feed, whole, done, each: false }).collect();
        let mut lanes = vec![files];
        lanes.splice(0..0, Some(sources).filter(|sources| !sources.is_empty()));
        let threads = pipeline::n_threads(options.threads);
        let compare_headers =
            || read_backs.iter().zip(outputs).map(|(read_back, output)| read_back.compare_header(output)).collect::<Vec<_>>();
        let (headers, digests) = pipeline::both(threads, compare_headers, || pipeline::run_lanes(&lanes, threads, progress));
        let mut digests = digests?;
        outputs.iter().for_each(Output::start_last_write_back);
        drop(lanes);
        let files = digests.split_off(unhashed.len());
        let mut of_sources: Vec<_> = digests.into_iter().map(|digests| digests.whole).collect();
        let source_sha256 = match hashed_before {
            true => sha256.get().copied().unwrap_or_default(),
            false => *sha256.get_or_init(|| of_sources.remove(0)),
        };

        let mut findings: Vec<Finding> = bytes.into_iter().flat_map(Bytes::findings).collect();
        if hashed_before {
            findings.extend(digest::unread_members(members.iter().filter(|m| !m.deflated && !m.is_archive), read)?);
        }
        let is_read = |member: &crate::container::Member| self.sources().any(|source| member.stored().offset_in(source).is_some());
        let unread = members.iter().filter(|member| !member.is_archive).filter(|member| match member.deflated {
            // Of those that were read for their pickles it is known; of some only the head was read, and a damaged one may say that
            // there is no data.
            true => !spooled.contains(&*member.place().member) && !read.was_checked(member.stored().key()),
            false => !is_read(member) && !hashed_before,
        });
        let known: HashSet<&Finding> = checkpoint.document.findings.iter().collect();
        let found = digest::unread_members(unread, read)?;
        findings.extend(found.into_iter().filter(|finding| !known.contains(finding)));

        let mut verified = AllVerified { files: Vec::new(), findings: Vec::new(), sources: (source_sha256, of_sources) };
        for ((data, digests), same_header) in data.into_iter().zip(files).zip(headers) {
            let written = Written { sha256: digests.whole, tensors: digests.each, findings: data.findings() };
            verified.findings.push(written.findings.clone());
            verified.files.push(same_header?.with_data(written));
        }
        self.sources().try_for_each(|source| source.unchanged())?;
        Ok((verified, findings))
    }
}

/// Files that are written and verified.
struct AllVerified {
    files: Vec<crate::verify::Verified>,
    /// What the data of each file gave reason to say.
    findings: Vec<Vec<Finding>>,
    /// The digest of the source, and those of its companions.
    sources: (digest::Sha, Vec<digest::Sha>),
}
