//! One output under several names, where several names of the store are one file.

use std::io::{self, Write};
use std::path::Path;

use crate::convert::ConvertedFile;
use crate::digest::Hasher;
use crate::error::{self, Result};
use crate::filenames;
use crate::output::Pending;
use crate::progress::Progress;
use crate::source::{Region, Source};
use crate::temporary;

/// How an output gets its other names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Link {
    /// The same file under another name; a copy where the file system cannot do that.
    #[default]
    Hard,
    /// A symbolic link, relative to its folder.
    Symbolic,
    /// A copy.
    Copy,
}

/// Gives a verified output another name, with a manifest that says which of the names of the source belongs to it.
///
/// # Errors
/// `io`
pub(crate) fn give_name(converted: &ConvertedFile, source: &Path, output: &Path, link: Link, progress: &dyn Progress) -> Result<()> {
    let folder = filenames::folder_of(output);
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    let manifest = converted.manifest.named(filenames::relative(source, folder), &name);
    // Its file keeps the folder while the others come.
    let (_folders, _keeper) = Pending::create_with_folder(output)?;
    Pending::with_content(&filenames::manifest_path(output), |out| manifest.write_json(out))?.put(true)?;
    file(&converted.output, output, link, progress)
}

/// Gives a file another name, which may be that of a file that is to be replaced.
///
/// # Errors
/// `io`
pub(crate) fn file(from: &Path, to: &Path, link: Link, progress: &dyn Progress) -> Result<()> {
    let (_folders, _keeper) = Pending::create_with_folder(to)?;
    let made = match link {
        Link::Hard => temporary::made_by(to, |name| std::fs::hard_link(from, name)),
        Link::Symbolic => temporary::made_by(to, |name| symbolic(Path::new(&filenames::relative(from, filenames::folder_of(to))), name)),
        Link::Copy => return copy(from, to, progress).map(drop),
    };
    match made.and_then(|made| made.persist(to).map_err(|e| e.error)) {
        Ok(_) => Ok(()),
        Err(e) if link == Link::Hard && is_missing(&e) => copy(from, to, progress).map(drop),
        Err(e) => Err(error::io("link", to, &e)),
    }
}

/// Whether the file system has no such links, or has run out of them.
fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied | io::ErrorKind::CrossesDevices | io::ErrorKind::TooManyLinks
    )
}

#[cfg(unix)]
fn symbolic(target: &Path, name: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, name)
}

#[cfg(not(unix))]
fn symbolic(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

const BUFFER_BYTES: usize = 256 << 10;

/// Copies a file, and gives its size and digest.
///
/// # Errors
/// `io`, and `interrupted` when the work is no longer wanted.
pub(crate) fn copy(from: &Path, to: &Path, progress: &dyn Progress) -> Result<(u64, String)> {
    let source = Source::open(from)?;
    let (region, bytes) = (Region::file(&source), source.len());
    progress.start(bytes, bytes);
    let (_folders, pending) = Pending::create_with_folder(to)?;
    pending.check_room(bytes)?;
    let (mut hasher, mut buffer, mut at) = (Hasher::default(), vec![0; BUFFER_BYTES], 0);
    while at < bytes {
        let chunk = &mut buffer[..(bytes - at).min(BUFFER_BYTES as u64) as usize];
        region.read_at(at, chunk)?;
        hasher.update(chunk);
        pending.file().write_all(chunk).map_err(|e| error::io("write", to, &e))?;
        at += chunk.len() as u64;
        progress.advance(chunk.len() as u64);
        if progress.cancelled() {
            return Err(error::interrupted());
        }
    }
    source.unchanged()?;
    progress.syncs();
    pending.put(true)?;
    Ok((bytes, hasher.finish().to_string()))
}
