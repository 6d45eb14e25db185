//! Temporary files in the folder of an output, and the removal of those that a killed run left there.
//!
//! A named one is locked while it lives. The system takes the lock away with the process, whatever ends it, so a file of
//! that name which can be locked is nobody's, and the next run that writes to the folder removes it. Where files cannot be
//! locked (some network file systems, Windows) none is removed. On a network file system whose locks stay on one machine,
//! a run on another machine may take away a file that is still being written; the first run then ends with an error.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};

use tempfile::{Builder, NamedTempFile};

use crate::filenames::Identity;

const PREFIX: &str = ".depickle-";
const SUFFIX: &str = ".tmp";
/// Letters and digits between the two.
const RANDOM_CHARS: usize = 6;
/// A new file is taken away before it is locked only when another run comes to the folder at that moment.
const ATTEMPTS: usize = 16;

fn builder() -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX).rand_bytes(RANDOM_CHARS);
    builder
}

/// A file that will get another name when it is complete, with the permissions of any new file.
///
/// # Errors
/// Those of the system.
pub(crate) fn named(folder: &Path) -> io::Result<NamedTempFile> {
    for _ in 0..ATTEMPTS {
        let mut builder = builder();
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666)); // less the umask
        let file = builder.tempfile_in(folder)?;
        match own::hold(file.as_file(), file.path()) {
            Hold::Locked => sweep(folder, Some(file.as_file())),
            Hold::Unlocked => sweep(folder, None),
            Hold::Gone => continue,
        }
        return Ok(file);
    }
    Err(io::Error::other("other programs remove its temporary files"))
}

/// A file for what is needed only while the process runs; nothing is left of it, however that ends.
///
/// # Errors
/// Those of the system.
pub(crate) fn unnamed(folder: &Path) -> io::Result<File> {
    let file = own::unnamed(folder)?;
    sweep(folder, Some(&file));
    Ok(file)
}

/// What came of locking a new file.
#[cfg_attr(not(unix), allow(dead_code))]
enum Hold {
    Locked,
    /// The file system has no locks.
    Unlocked,
    /// Between its creation and the lock it looked abandoned, and another run removed it.
    Gone,
}

/// What `make` makes under a temporary name beside `target`.
///
/// # Errors
/// Those of `make`.
pub(crate) fn made_by(target: &Path, make: impl FnMut(&Path) -> io::Result<()>) -> io::Result<NamedTempFile<()>> {
    builder().make_in(crate::filenames::folder_of(target), make)
}

/// A second name for a file, under which it is kept when the first one becomes another file's. `None` where there is no
/// file, or it cannot be: not by this user, who will have to remove the name if this run is killed, or not at all.
pub(crate) fn second_name(path: &Path, beside: &File) -> Option<NamedTempFile<()>> {
    let metadata = path.symlink_metadata().ok()?;
    let ours = metadata.is_file() && own::same_owner(&metadata, &beside.metadata().ok()?);
    let folder = crate::filenames::folder_of(path);
    ours.then(|| builder().make_in(folder, |name| fs::hard_link(path, name)).ok()).flatten()
}

/// Removes what killed runs left in a folder; `mine` is a file that this process just made in it, `None` if it could not be
/// locked and would itself look abandoned. Once for each folder, so that a bundle of many checkpoints does not list its
/// folder for each of them. Best effort: a rest harms nobody.
fn sweep(folder: &Path, mine: Option<&File>) {
    static SWEPT: LazyLock<Mutex<HashSet<Identity>>> = LazyLock::new(Mutex::default);
    if !SWEPT.lock().unwrap_or_else(PoisonError::into_inner).insert(Identity::of(folder)) {
        return;
    }
    let (Ok(entries), Some(Ok(mine))) = (fs::read_dir(folder), mine.map(File::metadata)) else { return };
    for entry in entries.filter_map(Result::ok).filter(|entry| is_temporary(&entry.file_name().to_string_lossy())) {
        own::remove_abandoned(&entry.path(), &mine);
    }
}

/// Whether a file is called as temporary files are.
pub(crate) fn is_temporary(name: &str) -> bool {
    let random = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
    random.is_some_and(|random| random.len() == RANDOM_CHARS && random.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

#[cfg(unix)]
mod own {
    use std::fs::{self, File, Metadata, TryLockError};
    use std::io;
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    use std::path::Path;

    use rustix::fs::OFlags;

    use super::Hold;

    /// Locks a new file.
    pub fn hold(file: &File, path: &Path) -> Hold {
        let still_there = || path.symlink_metadata().is_ok_and(|found| file.metadata().is_ok_and(|mine| same_file(&found, &mine)));
        match file.try_lock() {
            Ok(()) if still_there() => Hold::Locked,
            Ok(()) | Err(TryLockError::WouldBlock) => Hold::Gone, // or locked by the run that is about to remove it
            Err(TryLockError::Error(_)) => Hold::Unlocked,
        }
    }

    pub fn unnamed(folder: &Path) -> io::Result<File> {
        #[cfg(target_os = "linux")]
        if let Ok(file) = options().mode(0o600).custom_flags(OFlags::TMPFILE.bits() as i32).open(folder) {
            return Ok(file);
        }
        // Killed between the two calls, it is found by the next run like any other.
        let (file, path) = super::builder().tempfile_in(folder)?.into_parts();
        path.close().or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })?;
        Ok(file)
    }

    /// Removes a file that no process holds. It must be a regular file of this user on the file system of `mine`, is opened
    /// without following a link, and removed only while its lock is held and its name still leads to it.
    pub fn remove_abandoned(path: &Path, mine: &Metadata) {
        let ours = |found: &Metadata| found.is_file() && same_owner(found, mine) && found.dev() == mine.dev();
        if !path.symlink_metadata().is_ok_and(|found| ours(&found)) {
            return;
        }
        // Not blocking: what was a file a moment ago may have become a pipe.
        let Ok(file) = options().custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32).open(path) else { return };
        let Ok(opened) = file.metadata() else { return };
        if ours(&opened) && file.try_lock().is_ok() && path.symlink_metadata().is_ok_and(|found| same_file(&found, &opened)) {
            let _ = fs::remove_file(path);
        }
    }

    pub fn same_owner(a: &Metadata, b: &Metadata) -> bool {
        a.uid() == b.uid()
    }

    fn same_file(a: &Metadata, b: &Metadata) -> bool {
        (a.dev(), a.ino()) == (b.dev(), b.ino())
    }

    fn options() -> fs::OpenOptions {
        let mut options = File::options();
        options.read(true).write(true);
        options
    }
}

/// Elsewhere a lock would keep this process itself from reading its file again, so that none is taken and none removed.
#[cfg(not(unix))]
mod own {
    use std::fs::{File, Metadata};
    use std::io;
    use std::path::Path;

    use super::Hold;

    pub fn hold(_: &File, _: &Path) -> Hold {
        Hold::Unlocked
    }

    pub fn unnamed(folder: &Path) -> io::Result<File> {
        tempfile::tempfile_in(folder)
    }

    pub fn remove_abandoned(_: &Path, _: &Metadata) {}

    pub fn same_owner(_: &Metadata, _: &Metadata) -> bool {
        true
    }
}
