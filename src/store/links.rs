//! One output under several names, where several names of the store are one file.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::convert::Converted;
use crate::digest::Hasher;
use crate::error::{self, Result};
use crate::filenames;
use crate::output::{NewFolders, Pending};
use crate::progress::Progress;
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
pub(crate) fn give_name(converted: &Converted, source: &Path, output: &Path, link: Link, progress: &dyn Progress) -> Result<()> {
    let folder = filenames::folder_of(output);
    let _folders = NewFolders::make(output)?;
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    let manifest = converted.manifest.named(filenames::relative(source, folder), &name);
    Pending::with_content(&filenames::manifest_path(output), |out| manifest.write_json(out))?.put(true)?;
    file(&converted.output, output, link, progress)
}

/// Gives a file another name, which may be that of a file that is to be replaced.
///
/// # Errors
/// `io`
pub(crate) fn file(from: &Path, to: &Path, link: Link, progress: &dyn Progress) -> Result<()> {
    let _folders = NewFolders::make(to)?;
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
    let _folders = NewFolders::make(to)?;
    let reading = |e| error::io("read", from, &e);
    let mut source = File::open(from).map_err(reading)?;
    let bytes = source.metadata().map_err(reading)?.len();
    progress.start(bytes, bytes);
    let pending = Pending::create(to)?;
    pending.check_room(bytes)?;
    let (mut hasher, mut buffer, mut copied) = (Hasher::default(), vec![0; BUFFER_BYTES], 0);
    loop {
        let n = match io::Read::read(&mut source, &mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(reading(e)),
        };
        hasher.update(&buffer[..n]);
        pending.file().write_all(&buffer[..n]).map_err(|e| error::io("write", to, &e))?;
        copied += n as u64;
        progress.advance(n as u64);
        if progress.cancelled() {
            return Err(error::interrupted());
        }
    }
    progress.syncs();
    pending.put(true)?;
    Ok((copied, hasher.finish().to_string()))
}
