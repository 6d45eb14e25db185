//! The only file that creates files. An output is written to a temporary file in its folder, synced, and renamed into
//! place last: whatever happens, the old state or the complete new one is there.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{self, Result};
use crate::filenames::{folder_of, manifest_path, resolved};
use crate::manifest::Manifest;
use crate::verify::Verified;

/// The files that one conversion writes, none of them the input or another one of them.
#[derive(Debug, Clone)]
pub(crate) struct Targets {
    pub output: PathBuf,
    pub manifest: PathBuf,
    pub extras: Option<PathBuf>,
    replace: bool,
}

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
        for (i, (what, path)) in named.iter().enumerate() {
            if let Some((other, _)) = named[..i].iter().find(|(_, earlier)| same_file(earlier, path)) {
                return Err(error::same_file(what, other, path));
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

/// Whether two paths are one file, also when it does not exist yet.
fn same_file(a: &Path, b: &Path) -> bool {
    resolved(a).zip(resolved(b)).map_or(a == b, |(a, b)| a == b)
}

fn is_manifest(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MANIFEST_START.len() as u64).read_to_end(&mut start));
    read.is_ok() && start == MANIFEST_START
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
        let mut builder = tempfile::Builder::new();
        builder.prefix(".depickle-").suffix(".tmp");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666)); // less the umask, as for any new file
        let temporary = builder.tempfile_in(folder_of(target)).map_err(|e| error::io("create", target, &e))?;
        Ok(Pending { temporary, target: target.to_owned() })
    }

    /// A file whose content `write` writes.
    ///
    /// # Errors
    /// `io` when it cannot be written.
    pub fn with_content(target: &Path, write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>) -> Result<Pending> {
        let pending = Pending::create(target)?;
        let mut out = BufWriter::new(pending.file());
        write(&mut out).and_then(|()| out.flush()).map_err(|e| error::io("write", target, &e))?;
        drop(out);
        Ok(pending)
    }

    /// The file to write to.
    pub fn file(&self) -> &File {
        self.temporary.as_file()
    }

    /// The file opened again, for reading what was written.
    pub fn reopen(&self) -> Result<File> {
        self.temporary.reopen().map_err(|e| error::io("read", &self.target, &e))
    }

    fn sync(&self) -> Result<()> {
        self.file().sync_all().map_err(|e| error::io("write", &self.target, &e))
    }

    fn rename(self, replace: bool) -> Result<()> {
        let target = self.target;
        let renamed = if replace { self.temporary.persist(&target) } else { self.temporary.persist_noclobber(&target) };
        match renamed {
            Ok(_) => Ok(()),
            Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => Err(error::output_exists(&target)),
            Err(e) => Err(error::io("create", &target, &e.error)),
        }
    }
}

impl Targets {
    /// Makes a verified output visible, after the files that speak of it: an output is never there without its manifest.
    ///
    /// # Errors
    /// `io`, or `output-exists` when another program was faster; no file is there then that was not there before.
    pub fn publish(&self, output: Pending, manifest: &Manifest, extras: Option<Pending>, _proof: &Verified) -> Result<()> {
        let manifest = Pending::with_content(&self.manifest, |out| manifest.write_json(out))?;
        let files: Vec<(Pending, bool)> =
            extras.into_iter().map(|extras| (extras, self.replace)).chain([(manifest, true), (output, self.replace)]).collect();
        for (pending, _) in &files {
            pending.sync()?;
        }
        let mut new = Vec::new();
        for (pending, replace) in files {
            let target = pending.target.clone();
            let is_new = target.symlink_metadata().is_err();
            if let Err(error) = pending.rename(replace) {
                for path in new {
                    // Best effort: the error that is reported is the one that matters.
                    let _ = std::fs::remove_file(path);
                }
                return Err(error);
            }
            new.extend(is_new.then_some(target));
        }
        sync_folder(folder_of(&self.output))
    }
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

/// Makes the renames durable.
fn sync_folder(folder: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| error::io("sync", folder, &e))?;
    }
    Ok(())
}
