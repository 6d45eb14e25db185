//! The only file that creates files. An output is written to a temporary file in its folder, synced, and renamed into
//! place last: whatever happens, the old state or the complete new one is there.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{self, Error, Result};
use crate::filenames::{Identity, existing_folder_of, folder_of, manifest_path};
use crate::manifest::Manifest;
use crate::temporary;
use crate::verify::Verified;

/// The files that one conversion writes, none of them the input or another one of them.
#[derive(Debug, Clone)]
pub(crate) struct Targets {
    pub output: PathBuf,
    pub manifest: PathBuf,
    pub extras: Option<PathBuf>,
    replace: bool,
}

/// Manifests and extras are written in pieces of this size.
const BUFFER_BYTES: usize = 256 << 10;

/// How every manifest starts; what starts otherwise is somebody's file.
const MANIFEST_START: &[u8] = b"{\n  \"manifest_version\"";

impl Targets {
    /// Checks that the files may be written; nothing is.
    ///
    /// # Errors
    /// `usage` when two of them, or one and the input, are the same file; `output-exists` unless `replace`.
    pub fn new(input: &Path, output: &Path, extras: Option<&Path>, replace: bool) -> Result<Targets> {
        let targets = Targets { output: output.to_owned(), manifest: manifest_path(output), extras: extras.map(Path::to_owned), replace };
        let mut named = vec![("the input", input), ("the output", output), ("the manifest", &targets.manifest)];
        named.extend(extras.map(|extras| ("the extras file", extras)));
        let identities: Vec<Identity> = named.iter().map(|(_, path)| Identity::of(path)).collect();
        for (i, (what, path)) in named.iter().enumerate() {
            if let Some(same) = identities[..i].iter().position(|earlier| *earlier == identities[i]) {
                return Err(error::same_file(what, named[same].0, path));
            }
        }
        let special =
            [Some(output), Some(&targets.manifest), extras].into_iter().flatten().find(|path| path.metadata().is_ok_and(|m| !m.is_file()));
        if let Some(path) = special {
            return Err(error::not_a_file(path));
        }
        if !replace {
            let exists = |path: &Path| path.symlink_metadata().is_ok();
            // A manifest without its output is what an interrupted run leaves; it may be replaced, another file not.
            let taken = [Some(output), extras].into_iter().flatten().find(|path| exists(path));
            let taken = taken.or(Some(targets.manifest.as_path()).filter(|path| exists(path) && !is_manifest(path)));
            if let Some(path) = taken {
                return Err(error::output_exists(path));
            }
        }
        Ok(targets)
    }
}

/// Whether a file starts as manifests do.
pub(crate) fn is_manifest(path: &Path) -> bool {
    starts_with(path, MANIFEST_START)
}

fn starts_with(path: &Path, expected: &[u8]) -> bool {
    let mut start = Vec::new();
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

impl Targets {
    /// Makes a verified output visible, after the files that speak of it: an output is never there without its manifest.
    ///
    /// No system renames two files at once. A run that is killed between the renames leaves the new manifest beside the old
    /// output, or beside none; each file is whole. `verify` says then that they do not belong together, the next run replaces a
    /// manifest without an output, and one with `--force` replaces both. The other order would leave an output whose manifest
    /// is missing or of another conversion, and one that removes the old files first could lose them.
    ///
    /// # Errors
    /// `io`, or `output-exists` when another program was faster; the files are those that were there before.
    pub fn publish(&self, output: Pending, manifest: &Manifest, extras: Option<Pending>, _proof: &Verified) -> Result<()> {
        let manifest = Pending::with_content(&self.manifest, |out| manifest.write_json(out))?;
        // What an interrupted run left is replaced; a manifest that another program writes meanwhile is not.
        let replace_manifest = self.replace || is_manifest(&self.manifest);
        let mut first: Vec<(Pending, bool)> = extras.into_iter().map(|extras| (extras, self.replace)).collect();
        first.push((manifest, replace_manifest));
        for pending in first.iter().map(|(pending, _)| pending).chain([&output]) {
            pending.sync()?;
        }
        let undos: Vec<Undo> = first.iter().map(|(pending, _)| Undo::prepare(pending)).collect();
        // They stay open until all are renamed, so that nothing is between the renames.
        let mut renamed = Vec::new();
        for (pending, replace) in first.into_iter().chain([(output, self.replace)]) {
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
        Ok(())
    }

    fn folders(&self) -> BTreeSet<&Path> {
        [Some(&self.output), self.extras.as_ref()].into_iter().flatten().map(|path| folder_of(path)).collect()
    }
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
