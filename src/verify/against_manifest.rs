//! An output against the manifest that was written with it: sizes, the header, and the digest of every tensor.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::SafeTensors;

use crate::digest;
use crate::error::{self, Code, Error, Result};
use crate::filenames::manifest_path;
use crate::ledger::{Ledger, MANIFEST_VERSION, OutputRecord};
use crate::progress::Progress;
use crate::source::{Region, Source};
use crate::text::quoted;

/// A manifest is text of a few hundred bytes a tensor; a million tensors fit.
const MAX_MANIFEST_BYTES: u64 = 1 << 30;

/// What a check of a manifest covered.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// The manifest itself.
    pub manifest: PathBuf,
    /// The outputs that were compared with it.
    pub outputs: Vec<PathBuf>,
    /// The number of tensors in them.
    pub tensors: u64,
    /// The size of all outputs.
    pub bytes: u64,
    /// Whether the source was there and was checked too.
    pub source_checked: bool,
}

/// Re-checks the outputs of a manifest, and its source where that is still in its place.
///
/// # Errors
/// `mismatch`, naming the tensor, when a bit of an output is another; `io` when a file is missing.
pub fn check_manifest(path: &Path, progress: &dyn Progress) -> Result<Report> {
    let ledger = read(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut report =
        Report { manifest: path.to_owned(), outputs: Vec::new(), tensors: ledger.tensors.len() as u64, bytes: 0, source_checked: false };
    let source_path = folder.join(&ledger.source.path);
    let source = source_path.is_file().then(|| Source::open(&source_path)).transpose()?;
    let bytes = ledger.outputs.iter().fold(0u64, |n, output| n.saturating_add(output.bytes));
    progress.start(bytes, bytes.saturating_mul(2).saturating_add(source.as_ref().map_or(0, |source| source.len())));
    // The names come from a file: what is verified must be what the manifest's own name says it is about.
    let about = |output: &OutputRecord| manifest_path(Path::new(&output.path)).as_os_str() == path.file_name().unwrap_or_default();
    if ledger.outputs.is_empty() || !ledger.outputs.iter().all(about) {
        let message = format!("the manifest {} is not about the file that it is named after", quoted(&path.to_string_lossy(), 300));
        return Err(error::mismatch(message).help("a manifest and its output must keep their names and stay in one folder"));
    }
    for output in &ledger.outputs {
        let file = folder.join(&output.path);
        check_output(&file, output, &ledger, progress)?;
        report.bytes += output.bytes;
        report.outputs.push(file);
    }
    if let Some(source) = source {
        check_source(&source, ledger.source.bytes, ledger.source.sha256.as_deref(), progress)?;
        for companion in &ledger.source.companions {
            check_source(&Source::open(&folder.join(&companion.path))?, companion.bytes, companion.sha256.as_deref(), progress)?;
        }
        report.source_checked = true;
    }
    Ok(report)
}

fn check_source(source: &Arc<Source>, bytes: u64, sha256: Option<&str>, progress: &dyn Progress) -> Result<()> {
    if source.len() == bytes && Some(digest::region(&Region::file(source), progress)?.to_string().as_str()) == sha256 {
        return Ok(());
    }
    let shown = quoted(&source.path().to_string_lossy(), 300);
    Err(error::mismatch(format!("the source {shown} is no longer the file that was converted"))
        .help("convert it again, or restore the source"))
}

fn read(path: &Path) -> Result<Ledger> {
    let source = Source::open(path)?;
    if source.len() > MAX_MANIFEST_BYTES {
        return Err(Error::usage(format!("{} is too large for a manifest", quoted(&path.to_string_lossy(), 300))));
    }
    let mut text = vec![0; source.len() as usize];
    source.read_at(0, &mut text)?;
    let not_a_manifest =
        |why: String| Error::new(Code::Usage, format!("{} is no depickle manifest: {why}", quoted(&path.to_string_lossy(), 300)));
    let ledger: Ledger = serde_json::from_slice(&text).map_err(|e| not_a_manifest(e.to_string()))?;
    if ledger.manifest_version != MANIFEST_VERSION {
        return Err(not_a_manifest(format!("version {}, this program reads version {MANIFEST_VERSION}", ledger.manifest_version)));
    }
    Ok(ledger)
}

fn check_output(path: &Path, output: &OutputRecord, ledger: &Ledger, progress: &dyn Progress) -> Result<()> {
    let file = Source::open(path)?;
    let shown = quoted(&path.to_string_lossy(), 300);
    if file.len() != output.bytes {
        return Err(error::mismatch(format!("{shown} has {} bytes, the manifest records {}", file.len(), output.bytes))
            .help("restore the file or convert the source again"));
    }
    // Tensor by tensor first, so that a difference is named; the digest of the file then covers the header.
    let whole = Region::file(&file);
    for tensor in &ledger.tensors {
        let [start, end] = tensor.data_offsets;
        let part = end.checked_sub(start).and_then(|len| whole.slice(output.header_bytes.checked_add(start)?, len));
        let Some(part) = part else {
            return Err(error::mismatch(format!("the manifest places tensor {} outside {shown}", quoted(&tensor.name, 200))));
        };
        if Some(digest::region(&part, progress)?.to_string()) != tensor.sha256 {
            return Err(error::mismatch(format!("tensor {} in {shown} is not what was written", quoted(&tensor.name, 200)))
                .help("restore the file or convert the source again"));
        }
    }
    if Some(digest::region(&whole, progress)?.to_string()) != output.sha256 {
        return Err(
            error::mismatch(format!("the header of {shown} is not what was written")).help("restore the file or convert the source again")
        );
    }
    // The digest proves the bytes; this proves that the manifest speaks of the same tensors as the header.
    let bytes = file.map()?;
    let read = SafeTensors::deserialize(&bytes).map_err(|e| error::mismatch(format!("{shown} is no valid safetensors file: {e}")))?;
    for tensor in &ledger.tensors {
        let differs = || {
            error::mismatch(format!("tensor {} in {shown} has another dtype or shape than the manifest records", quoted(&tensor.name, 200)))
        };
        let view = read.tensor(&tensor.name).map_err(|_| differs())?;
        let place = view.data().as_ptr().addr() - bytes.as_ptr().addr();
        let same = view.dtype().to_string() == tensor.dtype && view.shape().iter().map(|&s| s as u64).eq(tensor.shape.iter().copied());
        if !same || place as u64 != output.header_bytes + tensor.data_offsets[0] {
            return Err(differs());
        }
    }
    let mut recorded: HashMap<&str, &str> = ledger.aliases.iter().map(|(dropped, kept)| (dropped.as_str(), kept.as_str())).collect();
    recorded.insert("format", "pt");
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| error::mismatch(e.to_string()))?;
    let in_header = header.metadata().iter().flatten().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    if recorded != in_header {
        return Err(error::mismatch(format!("the manifest records other tied names than {shown} has")));
    }
    if read.len() != ledger.tensors.len() {
        return Err(error::mismatch(format!("{shown} has {} tensors, the manifest records {}", read.len(), ledger.tensors.len())));
    }
    Ok(())
}
