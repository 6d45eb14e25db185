//! An output against the manifest that was written with it: sizes, the header, and the digest of every tensor.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::header::{self, Expected};
use super::record::{OutputFile, Record, SourceFile, TensorOf};
use crate::digest::{self, Sha, Stream};
use crate::error::{self, Code, Error, Result};
use crate::filenames::manifest_path;
use crate::ledger::MANIFEST_VERSION;
use crate::pipeline::{self, Bytes, Chunk, Digests, Feed, Filler, Parts, Run};
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
    /// Whether each tensor has a digest of its own, or else only the file.
    pub tensor_hashes: bool,
    /// Whether the source was there and was checked too.
    pub source_checked: bool,
}

/// The digests of sources that were read: a source that several outputs were made of is read once.
#[derive(Debug, Default)]
pub struct Sources(HashMap<PathBuf, (Stamp, Sha)>);

type Stamp = (u64, Option<SystemTime>);

impl Sources {
    /// The digest of a file that was read before and has not changed since.
    fn known(&self, source: &Source) -> Option<Sha> {
        let (stamp, sha256) = self.0.get(source.path())?;
        (*stamp == source.stamp() && stamp.1.is_some()).then_some(*sha256)
    }

    fn note(&mut self, source: &Source, sha256: Sha) {
        self.0.insert(source.path().to_owned(), (source.stamp(), sha256));
    }
}

/// Re-checks the output of a manifest, and its source where that is still in its place. Both are read once, side by side.
///
/// # Errors
/// `mismatch`, naming the tensor, when a bit of an output is another; `io` when a file is missing.
pub fn check_manifest(path: &Path, progress: &dyn Progress) -> Result<Report> {
    check_manifest_of(path, &mut Sources::default(), progress)
}

/// The same for one of several manifests, whose sources are read once.
///
/// # Errors
/// Those of [`check_manifest`].
pub fn check_manifest_of(path: &Path, sources: &mut Sources, progress: &dyn Progress) -> Result<Report> {
    let file = Source::open(path)?;
    if file.len() > MAX_MANIFEST_BYTES {
        return Err(Error::usage(format!("{} is too large for a manifest", quoted(&path.to_string_lossy(), 300))));
    }
    let text = file.map()?;
    let record = read(path, &text)?;
    let output = output_of(path, &record)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let checked = Checked::open(&folder.join(&*output.path), output, &record.tensors, progress)?;
    let source = open_source(&folder.join(&*record.source.path))?;
    let known = source.as_deref().and_then(|source| sources.known(source));
    let source_bytes = source.as_ref().filter(|_| known.is_none()).map_or(0, |source| source.len());
    progress.start(output.bytes, output.bytes.saturating_add(source_bytes));

    let mut runs = vec![Run { feed: &checked, whole: checked.header_digest()?, done: 0, each: checked.has_tensor_hashes() }];
    let same_size = source.as_ref().filter(|source| source.len() == record.source.bytes && known.is_none());
    let source_feed = same_size.map(|source| Bytes::new(Region::file(source), progress));
    runs.extend(source_feed.iter().map(|feed| Run { feed, whole: Stream::default(), done: 0, each: false }));
    let mut digests = pipeline::run(runs, pipeline::n_threads(None), progress)?.into_iter();
    checked.compare(&digests.next().unwrap_or_default())?;
    checked.compare_header(&record)?;
    if let Some(source) = &source {
        let sha256 = known.or_else(|| digests.next().map(|digests| digests.whole));
        compare_source(source, &record.source, sha256)?;
        sha256.into_iter().for_each(|sha256| sources.note(source, sha256));
        check_companions(folder, &record.source.companions, sources, progress)?;
    }
    Ok(Report {
        manifest: path.to_owned(),
        outputs: vec![checked.file.path().to_owned()],
        tensors: record.tensors.len() as u64,
        bytes: output.bytes,
        tensor_hashes: checked.has_tensor_hashes(),
        source_checked: source.is_some(),
    })
}

fn read<'a>(path: &Path, text: &'a [u8]) -> Result<Record<'a>> {
    let not_a_manifest =
        |why: String| Error::new(Code::Usage, format!("{} is no depickle manifest: {why}", quoted(&path.to_string_lossy(), 300)));
    let record: Record<'_> = serde_json::from_slice(text).map_err(|e| not_a_manifest(e.to_string()))?;
    if record.manifest_version != MANIFEST_VERSION {
        return Err(not_a_manifest(format!("version {}, this program reads version {MANIFEST_VERSION}", record.manifest_version)));
    }
    Ok(record)
}

/// The names come from a file: what is verified must be what the manifest's own name says it is about.
fn output_of<'a, 'b>(path: &Path, record: &'b Record<'a>) -> Result<&'b OutputFile<'a>> {
    match record.outputs.as_slice() {
        [output] if manifest_path(Path::new(&*output.path)).as_os_str() == path.file_name().unwrap_or_default() => Ok(output),
        _ => {
            let message = format!("the manifest {} is not about the file that it is named after", quoted(&path.to_string_lossy(), 300));
            Err(error::mismatch(message).help("a manifest and its output must keep their names and stay in one folder"))
        }
    }
}

/// The source, if there is anything in its place.
fn open_source(path: &Path) -> Result<Option<Arc<Source>>> {
    match path.metadata() {
        Err(_) => Ok(None),
        Ok(_) => Source::open(path).map(Some),
    }
}

fn compare_source(source: &Source, recorded: &SourceFile<'_>, sha256: Option<Sha>) -> Result<()> {
    if source.len() == recorded.bytes && same(recorded.sha256.as_deref(), sha256) {
        return Ok(());
    }
    let shown = quoted(&source.path().to_string_lossy(), 300);
    Err(error::mismatch(format!("the source {shown} is no longer the file that was converted"))
        .help("convert it again, or restore the source"))
}

/// Whether a digest is there and is the one that is recorded.
fn same(recorded: Option<&str>, actual: Option<Sha>) -> bool {
    recorded.zip(actual).is_some_and(|(recorded, actual)| recorded == actual.to_string())
}

fn check_companions(folder: &Path, companions: &[SourceFile<'_>], sources: &mut Sources, progress: &dyn Progress) -> Result<()> {
    let mut seen = HashSet::new();
    for companion in companions {
        if !seen.insert(&*companion.path) {
            return Err(error::mismatch(format!("the manifest records the file {} twice", quoted(&companion.path, 300))));
        }
        let file = Source::open(&folder.join(&*companion.path))?;
        let read = || match sources.known(&file) {
            Some(known) => Ok(known),
            None => digest::region(&Region::file(&file), progress),
        };
        let sha256 = (file.len() == companion.bytes).then(read).transpose()?;
        compare_source(&file, companion, sha256)?;
        sha256.into_iter().for_each(|sha256| sources.note(&file, sha256));
    }
    Ok(())
}

/// An output and what is recorded of it: a feed of its data, in which the tensors follow one another.
struct Checked<'a> {
    file: Arc<Source>,
    shown: String,
    data: Region,
    output: &'a OutputFile<'a>,
    tensors: &'a [TensorOf<'a>],
    progress: &'a dyn Progress,
}

impl<'a> Checked<'a> {
    fn open(path: &Path, output: &'a OutputFile<'a>, tensors: &'a [TensorOf<'a>], progress: &'a dyn Progress) -> Result<Checked<'a>> {
        let file = Source::open(path)?;
        let shown = quoted(&path.to_string_lossy(), 300);
        if file.len() != output.bytes {
            return Err(error::mismatch(format!("{shown} has {} bytes, the manifest records {}", file.len(), output.bytes))
                .help("restore the file or convert the source again"));
        }
        let data_bytes = file.len().checked_sub(output.header_bytes);
        let Some((data, data_bytes)) = data_bytes.and_then(|n| Some((Region::file(&file).slice(output.header_bytes, n)?, n))) else {
            return Err(error::mismatch(format!("{shown} is smaller than the header that the manifest records")));
        };
        // As safetensors demands it of a file; so every byte is read once, whatever the manifest says.
        let mut end = 0;
        for tensor in tensors {
            let [start, tensor_end] = tensor.data_offsets;
            if start != end || tensor_end < start || tensor_end > data_bytes {
                let name = quoted(&tensor.name, 200);
                return Err(error::mismatch(format!(
                    "the manifest places tensor {name} elsewhere than behind the one before it in {shown}"
                )));
            }
            end = tensor_end;
        }
        if end != data_bytes {
            return Err(error::mismatch(format!("{shown} has {data_bytes} bytes of data, the manifest records tensors of {end}")));
        }
        Ok(Checked { file, shown, data, output, tensors, progress })
    }

    /// A manifest without any is one that was made so.
    fn has_tensor_hashes(&self) -> bool {
        self.tensors.iter().any(|tensor| tensor.sha256.is_some())
    }

    /// The digest of what is before the data.
    fn header_digest(&self) -> Result<Stream> {
        let mut stream = Stream::default();
        let mut left = self.output.header_bytes;
        let mut buffer = vec![0; left.min(HEADER_READ_BYTES) as usize];
        while left > 0 {
            let part = &mut buffer[..left.min(HEADER_READ_BYTES) as usize];
            self.file.read_at(self.output.header_bytes - left, part)?;
            stream.update(part);
            left -= part.len() as u64;
        }
        Ok(stream)
    }

    /// Tensor by tensor first, so that a difference is named; the digest of the file then covers the header.
    fn compare(&self, digests: &Digests) -> Result<()> {
        let differs = |what: &str| error::mismatch(what).help("restore the file or convert the source again");
        let shown = &self.shown;
        for (tensor, digest) in self.tensors.iter().zip(&digests.each) {
            if !same(tensor.sha256.as_deref(), Some(*digest)) {
                return Err(differs(&format!("tensor {} in {shown} is not what was written", quoted(&tensor.name, 200))));
            }
        }
        match same(self.output.sha256.as_deref(), Some(digests.whole)) {
            true => Ok(()),
            false if self.has_tensor_hashes() => Err(differs(&format!("the header of {shown} is not what was written"))),
            false => Err(differs(&format!("{shown} is not what was written; the manifest has no digests that would tell the tensor"))),
        }
    }

    /// The digest proves the bytes; this proves that the manifest speaks of the same tensors as the header.
    fn compare_header(&self, record: &Record<'_>) -> Result<()> {
        let names: HashSet<&str> = self.tensors.iter().map(|tensor| &*tensor.name).collect();
        if names.len() < self.tensors.len() {
            return Err(error::mismatch("the manifest records two tensors of one name"));
        }
        let bytes = self.file.map()?;
        let before_data = usize::try_from(self.output.header_bytes).ok().and_then(|n| bytes.get(..n)).unwrap_or_default();
        let tensors = self.tensors.iter().map(|tensor| Expected {
            name: &tensor.name,
            dtype: Cow::Borrowed(&*tensor.dtype),
            shape: Cow::Borrowed(&*tensor.shape.0),
            data_offsets: tensor.data_offsets,
        });
        let compared = header::compare(before_data, tensors, record.aliases.iter().filter(|_| self.output.index.is_none()));
        compared.map_err(|why| error::mismatch(format!("{} is not what the manifest records: {why}", self.shown)))
    }
}

/// Bytes of a header that are digested at a time.
const HEADER_READ_BYTES: u64 = 256 << 10;

impl Parts for Checked<'_> {
    fn count(&self) -> usize {
        self.tensors.len()
    }

    fn bytes(&self, part: usize) -> u64 {
        let [start, end] = self.tensors[part].data_offsets;
        end - start
    }
}

impl Feed for Checked<'_> {
    fn parts(&self) -> &dyn Parts {
        self
    }

    fn filler(&self) -> Box<dyn Filler + '_> {
        Box::new(self)
    }
}

impl Filler for &Checked<'_> {
    fn fill(&mut self, chunk: &Chunk, buffer: &mut [u8]) -> Result<()> {
        self.data.read_at(chunk.at, buffer)?;
        self.progress.advance(buffer.len() as u64);
        Ok(())
    }
}
