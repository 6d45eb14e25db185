//! The only file that creates files. An output is written to a temporary file in its folder, synced, and renamed into
//! place last: whatever happens, the old state or the complete new one is there.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{self, Result};
use crate::manifest::Manifest;
use crate::verify::Verified;

/// Endings that the name of a checkpoint loses; any other ending is kept as part of the name.
const CHECKPOINT_ENDINGS: &[&str] =
    &["pt", "pth", "bin", "ckpt", "pkl", "pickle", "th", "t7", "tar", "model", "p", "save", "weights", "pdparams", "pdopt", "pk", "dat"];
const ENDING: &str = "safetensors";

/// The output that belongs to an input, beside it: `x.pt` gives `x.safetensors`, and the names of the Hugging Face
/// convention become each other, `pytorch_model.bin` to `model.safetensors`.
pub fn default_output(input: &Path) -> PathBuf {
    let name = input.file_name().unwrap_or_default().to_string_lossy();
    if let Some(middle) = name.strip_prefix("pytorch_model").and_then(|rest| rest.strip_suffix(".bin")) {
        return input.with_file_name(format!("model{middle}.{ENDING}"));
    }
    let stem = name
        .rsplit_once('.')
        .filter(|(stem, ending)| !stem.is_empty() && CHECKPOINT_ENDINGS.contains(&ending.to_ascii_lowercase().as_str()));
    input.with_file_name(format!("{}.{ENDING}", stem.map_or(&*name, |(stem, _)| stem)))
}

/// The manifest that belongs to an output: `x.safetensors.manifest.json`.
pub fn manifest_path(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_os_string();
    name.push(".manifest.json");
    output.with_file_name(name)
}

/// The folder that a file is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
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
    /// `output-exists` unless `replace`; `io` when the folder cannot be written.
    pub fn create(target: &Path, replace: bool) -> Result<Pending> {
        if !replace && target.symlink_metadata().is_ok() {
            return Err(error::output_exists(target));
        }
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
    /// As [`Pending::create`], and when it cannot be written.
    pub fn with_content(target: &Path, replace: bool, write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>) -> Result<Pending> {
        let pending = Pending::create(target, replace)?;
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

    /// The name that the file will have.
    pub fn target(&self) -> &Path {
        &self.target
    }

    fn sync(&self) -> Result<()> {
        self.file().sync_all().map_err(|e| error::io("write", &self.target, &e))
    }

    fn rename(self, replace: bool) -> Result<()> {
        let target = self.target;
        let renamed = if replace { self.temporary.persist(&target) } else { self.temporary.persist_noclobber(&target) };
        match renamed {
            Ok(_) => Ok(()),
            Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => Err(error::output_exists(&target)),
            Err(e) => Err(error::io("create", &target, &e.error)),
        }
    }
}

/// Makes a verified output visible, after the files that speak of it: an output is never there without its manifest.
///
/// # Errors
/// `io`, or `output-exists` when another program was faster; nothing new is visible then.
pub(crate) fn publish(output: Pending, manifest: &Manifest, extras: Option<Pending>, replace: bool, _proof: &Verified) -> Result<PathBuf> {
    let target = output.target().to_owned();
    let manifest_target = manifest_path(&target);
    // A manifest without its output is what an interrupted run may leave, so it is no reason to stop.
    let manifest = Pending::with_content(&manifest_target, true, |out| manifest.write_json(out))?;
    for pending in [Some(&output), Some(&manifest), extras.as_ref()].into_iter().flatten() {
        pending.sync()?;
    }
    if let Some(extras) = extras {
        extras.rename(replace)?;
    }
    let had_manifest = manifest_target.exists();
    manifest.rename(true)?;
    if let Err(error) = output.rename(replace) {
        if !had_manifest {
            // Best effort: the error that is reported is the one that matters.
            let _ = std::fs::remove_file(&manifest_target);
        }
        return Err(error);
    }
    sync_folder(folder_of(&target))?;
    Ok(manifest_target)
}

/// Makes the renames durable.
fn sync_folder(folder: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| error::io("sync", folder, &e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_named_as_users_of_the_hub_expect() {
        for (input, output) in [
            ("a/pytorch_model.bin", "a/model.safetensors"),
            ("pytorch_model-00001-of-00002.bin", "model-00001-of-00002.safetensors"),
            ("pytorch_model.fp16.bin", "model.fp16.safetensors"),
            ("x.pt", "x.safetensors"),
            ("x.PTH", "x.safetensors"),
            ("yolov8n.v1.2.pt", "yolov8n.v1.2.safetensors"),
            ("tetris", "tetris.safetensors"),
            ("model.v2", "model.v2.safetensors"),
            (".pt", ".pt.safetensors"),
        ] {
            assert_eq!(default_output(Path::new(input)), Path::new(output), "{input}");
        }
    }
}
