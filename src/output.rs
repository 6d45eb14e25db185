//! The only file that creates files. An output is written to a temporary file in its folder, synced, and renamed into
//! place last: whatever happens, the old state or the complete new one is there.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{self, Error, Result};
use crate::filenames::{Identity, existing_folder_of, folder_of, index_path, manifest_path};
use crate::manifest::Manifest;
use crate::temporary;
use crate::verify::Verified;

/// The files that one conversion writes, none of them an input or another one of them.
#[derive(Debug, Clone)]
pub(crate) struct Targets {
    /// The outputs and their manifests.
    pub files: Vec<(PathBuf, PathBuf)>,
    /// The index of several outputs.
    pub index: Option<PathBuf>,
    pub extras: Option<PathBuf>,
    replace: bool,
}

/// Manifests and extras are written in pieces of this size.
const BUFFER_BYTES: usize = 256 << 10;

/// How every manifest starts; what starts otherwise is somebody's file.
const MANIFEST_START: &[u8] = b"{\n  \"manifest_version\"";

impl Targets {
    /// Checks that one output may be written; nothing is.
    ///
    /// # Errors
    /// `usage` when two of the files, or one and an input, are the same file; `output-exists` unless `replace`.
    pub fn one(inputs: &[&Path], output: &Path, extras: Option<&Path>, replace: bool) -> Result<Targets> {
        Targets::checked(inputs, vec![output.to_owned()], None, extras, replace)
    }

    /// The same for several outputs and their index, instead of one that would be called `output`.
    ///
    /// # Errors
    /// Those of one, and `usage` for a file called `output`: programs would read it instead of those that are listed in an index.
    pub fn several(inputs: &[&Path], output: &Path, files: Vec<PathBuf>, extras: Option<&Path>, replace: bool) -> Result<Targets> {
        let targets = Targets::checked(inputs, files, Some(index_path(output)), extras, replace)?;
        match output.symlink_metadata().is_ok() && !inputs.iter().any(|input| Identity::of(input) == Identity::of(output)) {
            true => Err(error::hides_the_set(output)),
            false => Ok(targets),
        }
    }

    fn checked(inputs: &[&Path], files: Vec<PathBuf>, index: Option<PathBuf>, extras: Option<&Path>, replace: bool) -> Result<Targets> {
        let files = files.into_iter().map(|file| (manifest_path(&file), file)).map(|(manifest, file)| (file, manifest)).collect();
        let targets = Targets { files, index, extras: extras.map(Path::to_owned), replace };
        let mut seen: HashMap<Identity, &str> = HashMap::new();
        let inputs = inputs.iter().map(|input| ("the input", *input));
        for (what, path) in inputs.chain(targets.named()) {
            match seen.insert(Identity::of(path), what) {
                Some("the input") if what == "the input" => {}
                Some(other) => return Err(error::same_file(what, other, path)),
                None => {}
            }
        }
        if let Some((_, path)) = targets.named().find(|(_, path)| path.metadata().is_ok_and(|m| !m.is_file())) {
            return Err(error::not_a_file(path));
        }
        if !replace {
            let exists = |path: &Path| path.symlink_metadata().is_ok();
            // A manifest without its output is what an interrupted run leaves; it may be replaced, another file not.
            let is_taken = |what: &str, path: &Path| exists(path) && (what != MANIFEST || !is_manifest(path));
            let (manifests, others): (Vec<_>, Vec<_>) = targets.named().partition(|(what, _)| *what == MANIFEST);
            if let Some((_, path)) = others.into_iter().chain(manifests).find(|(what, path)| is_taken(what, path)) {
                return Err(error::output_exists(path));
            }
        }
        Ok(targets)
    }

    /// All of them, and what errors call them.
    fn named(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let files = self.files.iter().flat_map(|(file, manifest)| [("the output", file.as_path()), (MANIFEST, manifest)]);
        let index = self.index.as_deref().map(|index| ("the index", index));
        files.chain(index).chain(self.extras.as_deref().map(|extras| ("the extras file", extras)))
    }
}

const MANIFEST: &str = "the manifest";

/// Whether a file starts as manifests do.
pub(crate) fn is_manifest(path: &Path) -> bool {
    starts_with(path, MANIFEST_START)
}

fn starts_with(path: &Path, expected: &[u8]) -> bool {
    let mut start = Vec::new();
    // Opening a pipe would wait for its writer.
    if !path.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return false;
    }
    let read = File::open(path).and_then(|file| file.take(expected.len() as u64).read_to_end(&mut start));
    read.is_ok() && start == expected
}

/// Checks that a file of its own, not one beside an output, may be written: nothing is there, or one that starts as this program's do.
///
/// # Errors
/// `usage` when it is no file; `output-exists` when it is somebody's, unless `replace`.
pub(crate) fn check_free(path: &Path, start: &[u8], replace: bool) -> Result<()> {
    match path.metadata() {
        Ok(there) if !there.is_file() => Err(error::not_a_file(path)),
        Ok(_) if !replace && !starts_with(path, start) => Err(error::output_exists(path)),
        _ => Ok(()),
    }
}

/// A file that is being written and not yet visible; dropping it removes it.
#[derive(Debug)]
pub(crate) struct Pending {
    temporary: NamedTempFile,
    target: PathBuf,
}

impl Pending {
    /// Starts a file that will be called `target`.
    ///
    /// # Errors
    /// `io` when the folder cannot be written.
    pub fn create(target: &Path) -> Result<Pending> {
        let folder = folder_of(target);
        let temporary = temporary::named(folder).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => error::no_folder(target, folder),
            _ => error::io("create", target, &e),
        })?;
        Ok(Pending { temporary, target: target.to_owned() })
    }

    /// The same in a folder that is made if it is missing. Another job that makes nothing after all may remove it as soon as it is made.
    ///
    /// # Errors
    /// `io`
    pub fn create_with_folder(target: &Path) -> Result<(NewFolders, Pending)> {
        const ATTEMPTS: usize = 16;
        for _ in 1..ATTEMPTS {
            let folders = NewFolders::make(target)?;
            match Pending::create(target) {
                Err(_) if !folder_of(target).exists() => {}
                pending => return Ok((folders, pending?)),
            }
        }
        let folders = NewFolders::make(target)?;
        Ok((folders, Pending::create(target)?))
    }

    /// Starts several files in one folder, which is made if it is missing.
    ///
    /// # Errors
    /// `io`
    pub fn create_all<'a>(mut targets: impl Iterator<Item = &'a Path>) -> Result<(NewFolders, Vec<Pending>)> {
        let Some(first) = targets.next() else { return Ok((NewFolders(Vec::new()), Vec::new())) };
        let (folders, first) = Pending::create_with_folder(first)?;
        let mut pending = vec![first];
        for target in targets {
            pending.push(Pending::create(target)?);
        }
        Ok((folders, pending))
    }

    /// Checks, before anything is written, that its file system has room for `bytes`. What the system does not tell is no reason to stop:
    /// the writing itself will.
    ///
    /// # Errors
    /// `io`
    pub fn check_room(&self, bytes: u64) -> Result<()> {
        match free_bytes(self.file()) {
            Some(free) if free < bytes => Err(error::no_room(&self.target, bytes, free)),
            _ => Ok(()),
        }
    }

    /// A file whose content `write` writes.
    ///
    /// # Errors
    /// `io` when it cannot be written.
    pub fn with_content(target: &Path, write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>) -> Result<Pending> {
        let pending = Pending::create(target)?;
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, pending.file());
        write(&mut out).and_then(|()| out.flush()).map_err(|e| error::io("write", target, &e))?;
        drop(out);
        Ok(pending)
    }

    /// Syncs it and puts it in its place; `replace` what is there.
    ///
    /// # Errors
    /// `io`, `output-exists`
    pub fn put(self, replace: bool) -> Result<()> {
        self.sync()?;
        let target = self.target.clone();
        self.rename(replace)?;
        sync_folder(folder_of(&target))
    }

    /// The file to write to.
    pub fn file(&self) -> &File {
        self.temporary.as_file()
    }

    /// The file opened again, for reading what was written.
    pub fn reopen(&self) -> Result<File> {
        self.temporary.reopen().map_err(|e| self.failed("read", &e))
    }

    /// Whether there is a file of its name that has the same bytes.
    fn is_same(&self) -> Result<bool> {
        if !self
            .target
            .symlink_metadata()
            .is_ok_and(|metadata| metadata.is_file() && metadata.len() == self.file().metadata().map_or(0, |m| m.len()))
        {
            return Ok(false);
        }
        let (mut new, mut old) = (Vec::new(), Vec::new());
        self.reopen()?.read_to_end(&mut new).map_err(|e| error::io("read", &self.target, &e))?;
        File::open(&self.target).and_then(|mut file| file.read_to_end(&mut old)).map_err(|e| error::io("read", &self.target, &e))?;
        Ok(new == old)
    }

    fn sync(&self) -> Result<()> {
        self.file().sync_all().map_err(|e| error::io("write", &self.target, &e))
    }

    fn rename(self, replace: bool) -> Result<File> {
        let Pending { temporary, target } = self;
        let renamed = if replace { temporary.persist(&target) } else { temporary.persist_noclobber(&target) };
        renamed.map_err(|e| match e.error.kind() {
            io::ErrorKind::AlreadyExists => error::output_exists(&target),
            _ => Pending { temporary: e.file, target }.failed("create", &e.error),
        })
    }

    /// The error of a call that names the file by its path.
    fn failed(&self, doing: &str, cause: &io::Error) -> Error {
        match cause.kind() {
            io::ErrorKind::NotFound => error::vanished(&self.target),
            _ => error::io(doing, &self.target, cause),
        }
    }
}

/// What takes back one rename; dropped, it leaves it as it is.
enum Undo {
    /// There was nothing before.
    Remove(PathBuf),
    /// There was a file, which still has this second name.
    Restore(NamedTempFile<()>, PathBuf),
    /// There was a file of which nothing could be kept.
    Nothing,
}

impl Undo {
    /// For the rename of `pending`, which is to come.
    fn prepare(pending: &Pending) -> Undo {
        let target = &pending.target;
        match temporary::second_name(target, pending.file()) {
            Some(kept) => Undo::Restore(kept, target.clone()),
            None if target.symlink_metadata().is_err() => Undo::Remove(target.clone()),
            None => Undo::Nothing,
        }
    }

    /// Best effort: the error that is reported is the one that matters.
    fn undo(self) {
        match self {
            Undo::Remove(path) => drop(std::fs::remove_file(path)),
            Undo::Restore(kept, path) => drop(kept.persist(path)),
            Undo::Nothing => {}
        }
    }
}

/// A verified output that is to become visible, with its manifest.
pub(crate) struct Sealed<'v> {
    pub pending: Pending,
    pub manifest: Manifest,
    #[allow(dead_code, reason = "that there is a proof is what counts")]
    pub proof: &'v Verified,
}

impl Targets {
    /// Makes verified outputs visible, after the files that speak of them: an output is never there without its manifest. An index
    /// comes last, when all that it lists is there.
    ///
    /// No system renames two files at once. A run that is killed between the renames leaves the new manifest beside the old
    /// output, or beside none; each file is whole. `verify` says then that they do not belong together, the next run replaces a
    /// manifest without an output, and one with `--force` replaces both. The other order would leave an output whose manifest
    /// is missing or of another conversion, and one that removes the old files first could lose them.
    ///
    /// # Errors
    /// `io`, or `output-exists` when another program was faster; the files are those that were there before.
    pub fn publish(&self, outputs: Vec<Sealed<'_>>, extras: Option<Pending>, index: Option<Pending>) -> Result<Vec<Manifest>> {
        let mut files: Vec<(Pending, bool)> = extras.into_iter().map(|extras| (extras, self.replace)).collect();
        let (mut manifests, mut last) = (Vec::new(), Vec::new());
        for (Sealed { pending, manifest, .. }, (_, path)) in outputs.into_iter().zip(&self.files) {
            // What an interrupted run left is replaced; a manifest that another program writes meanwhile is not.
            let replace = self.replace || is_manifest(path);
            files.push((Pending::with_content(path, |out| manifest.write_json(out))?, replace));
            manifests.push(manifest);
            last.push((pending, self.replace));
        }
        files.extend(last);
        files.extend(index.map(|index| (index, self.replace)));
        for (pending, _) in &files {
            pending.sync()?;
        }
        let undos: Vec<Undo> = files[..files.len() - 1].iter().map(|(pending, _)| Undo::prepare(pending)).collect();
        // They stay open until all are renamed, so that nothing is between the renames.
        let mut renamed = Vec::new();
        for (pending, replace) in files {
            match pending.rename(replace) {
                Ok(file) => renamed.push(file),
                Err(error) => {
                    undos.into_iter().take(renamed.len()).rev().for_each(Undo::undo);
                    return Err(error);
                }
            }
        }
        drop((undos, renamed));
        for folder in self.folders() {
            sync_folder(folder)?;
        }
        Ok(manifests)
    }

    fn folders(&self) -> BTreeSet<&Path> {
        self.files.iter().map(|(file, _)| file).chain(&self.extras).map(|path| folder_of(path)).collect()
    }
}

/// Makes a small file visible whose content `write` writes, unless it is there already and the same.
///
/// # Errors
/// `io`, and `output-exists` for another file unless `replace`.
pub(crate) fn publish_alone(target: &Path, replace: bool, write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>) -> Result<()> {
    let _folders = NewFolders::make(target)?;
    let pending = Pending::with_content(target, write)?;
    if pending.is_same()? {
        return Ok(());
    }
    pending.put(replace)
}

/// Bytes that may still be written to the file system of a folder, which may be still to be made.
pub(crate) fn free_bytes_in(folder: &Path) -> Option<u64> {
    let file = File::open(existing_folder_of(&folder.join("file"))).ok()?;
    free_bytes(&file)
}

/// Bytes that may still be written to the file system of `file`.
#[cfg(unix)]
fn free_bytes(file: &File) -> Option<u64> {
    let system = rustix::fs::fstatvfs(file).ok().filter(|system| system.f_blocks > 0)?;
    system.f_bavail.checked_mul(system.f_frsize)
}

#[cfg(not(unix))]
fn free_bytes(_: &File) -> Option<u64> {
    None
}

/// The folders that were made for an output, deepest first. Dropped, it removes those that stayed empty.
#[derive(Debug)]
pub(crate) struct NewFolders(Vec<PathBuf>);

impl NewFolders {
    /// Makes the folder of an output, and those above it, where they are missing.
    ///
    /// # Errors
    /// `io` when it cannot be made.
    pub fn make(output: &Path) -> Result<NewFolders> {
        let folder = folder_of(output);
        let missing = folder.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        let new = NewFolders(missing.map(Path::to_owned).collect());
        std::fs::create_dir_all(folder).map_err(|e| error::io("make the folder", folder, &e))?;
        Ok(new)
    }
}

impl Drop for NewFolders {
    fn drop(&mut self) {
        for folder in &self.0 {
            // Fails for a folder with something in it, which is what is wanted.
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// Removes a folder and those in it, as far as there is no file in them.
pub(crate) fn remove_empty(folder: &Path) {
    if folder.is_symlink() {
        return;
    }
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).for_each(|entry| remove_empty(&entry.path()));
    // Fails for a folder with something in it, which is what is wanted.
    let _ = std::fs::remove_dir(folder);
}

/// Makes the renames durable, where the system lets a folder be synced: some network file systems do not, nor one that may be
/// written and not listed. The files are complete and in place then, and saying that they are not would be wrong.
fn sync_folder(folder: &Path) -> Result<()> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(e) if cfg!(unix) && ![InvalidInput, PermissionDenied, Unsupported].contains(&e.kind()) => {
            Err(error::io("sync", folder, &e).help("the output is complete and in its place, but may not survive a power failure"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn a_disk_without_room_is_said_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let pending = Pending::create(&folder.path().join("output.safetensors")).unwrap();
        assert!(pending.check_room(1).is_ok());
        let error = pending.check_room(1 << 62).unwrap_err();
        assert_eq!(error.code(), crate::error::Code::Io);
        assert!(error.message().contains("it needs 4612 PB"), "{}", error.message());
    }
}
