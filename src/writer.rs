//! Plan to bytes: the header, then every tensor gathered, written by position and checked while it is in cache.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use safetensors::Dtype;

use crate::checkpoint::Checkpoint;
use crate::digest::{Sha, Stream};
use crate::error::{self, Result};
use crate::finding::{Finding, capped};
use crate::pipeline::{CHUNK_BYTES, Chunk, Feed, Filler, Parts, pieces};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::spool::Opened;
use crate::tensor::Tensor;
use crate::tensor::gather::Gather;

/// What was written.
#[derive(Debug)]
pub struct Written {
    /// Of the whole file.
    pub sha256: Sha,
    /// Of each tensor's bytes, in the order of the plan; empty when they are not wanted.
    pub tensors: Vec<Sha>,
    /// What only the data shows.
    pub findings: Vec<Finding>,
}

/// Pages are handed to the disk in runs of this size, and one run after they are written, so that most of the file is on its way
/// when it is synced.
const WRITE_BACK_BYTES: u64 = 32 << 20;

/// The file that is written, as it is planned.
pub(crate) struct Output<'a> {
    pub plan: &'a Plan,
    pub checkpoint: &'a Checkpoint,
    pub opened: &'a Opened,
    pub file: &'a File,
    /// What errors call it.
    pub path: &'a Path,
    pub progress: &'a dyn Progress,
}

impl<'a> Output<'a> {
    /// Writes the header and makes room for the data; gives the digest so far.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_header(&self) -> Result<Stream> {
        // Without room set aside the data is written all the same.
        make_room(self.file, self.plan.file_bytes());
        let mut out = BufWriter::with_capacity(CHUNK_BYTES, Header { file: self.file, at: 0, stream: Stream::default() });
        let written =
            self.plan.write_header(self.checkpoint, &mut out).and_then(|()| out.into_inner().map_err(io::IntoInnerError::into_error));
        written.map(|header| header.stream).map_err(|e| error::io("write", self.path, &e))
    }

    /// The data, as a feed that writes every chunk and gives it to a checker of each thread.
    pub fn data(&'a self, checker: &'a (dyn Fn() -> Box<dyn Checker + 'a> + Sync)) -> Data<'a> {
        Data { output: self, checker, odd_bools: Mutex::new(Vec::new()) }
    }

    /// Lets the disk begin with the last runs, when all is written.
    pub fn start_last_write_back(&self) {
        let runs = self.plan.file_bytes() / WRITE_BACK_BYTES;
        start_write_back(self.file, runs.saturating_sub(1) * WRITE_BACK_BYTES, 2 * WRITE_BACK_BYTES);
    }

    /// The tensor in a place of the plan.
    pub fn tensor(&self, part: usize) -> &'a Tensor {
        self.checkpoint.tensor(self.plan.tensors[part].tensor)
    }
}

impl Parts for Output<'_> {
    fn count(&self) -> usize {
        self.plan.tensors.len()
    }

    fn bytes(&self, part: usize) -> u64 {
        let planned = &self.plan.tensors[part].bytes;
        planned.end - planned.start
    }

    fn unit(&self, part: usize, inside: u64) -> Option<u64> {
        Gather::unit(self.tensor(part), inside)
    }
}

/// Looks at what was written.
pub(crate) trait Checker {
    /// Compares a chunk of the file with the source.
    ///
    /// # Errors
    /// When they differ, or cannot be read.
    fn check(&mut self, chunk: &Chunk) -> Result<()>;
}

/// The tensors, on their way into the file.
pub(crate) struct Data<'a> {
    output: &'a Output<'a>,
    checker: &'a (dyn Fn() -> Box<dyn Checker + 'a> + Sync),
    /// In each chunk of a tensor of bools the first byte that is neither 0 nor 1, with the tensor and the place in it.
    odd_bools: Mutex<Vec<(usize, u64, u8)>>,
}

impl Data<'_> {
    /// What the data gave reason to say.
    pub fn findings(self) -> Vec<Finding> {
        let mut odd = self.odd_bools.into_inner().unwrap_or_else(PoisonError::into_inner);
        odd.sort_unstable();
        odd.dedup_by_key(|(part, ..)| *part);
        let finding = |(part, _, byte): (usize, u64, u8)| {
            let name = crate::text::quoted(self.output.plan.tensors[part].name.as_str(), 200);
            let message = format!("the bool tensor {name} has a byte {byte:#04x}, which is neither 0 nor 1; it is written as it is");
            Finding::note("bool-not-0-1", self.output.tensor(part).place.clone(), message)
        };
        capped(odd.into_iter().map(finding))
    }
}

impl Feed for Data<'_> {
    fn parts(&self) -> &dyn Parts {
        self.output
    }

    fn filler(&self) -> Box<dyn Filler + '_> {
        Box::new(Writer { data: self, gather: Gather::default(), checker: (self.checker)() })
    }
}

/// What one thread writes.
struct Writer<'w, 'a> {
    data: &'w Data<'a>,
    gather: Gather,
    checker: Box<dyn Checker + 'a>,
}

impl Filler for Writer<'_, '_> {
    fn fill(&mut self, chunk: &Chunk, buffer: &mut [u8]) -> Result<()> {
        let Output { plan, opened, file, path, progress, .. } = *self.data.output;
        let mut rest = &mut *buffer;
        for piece in pieces(self.data.output, *chunk) {
            let tensor = self.data.output.tensor(piece.part);
            let (out, later) = rest.split_at_mut(piece.bytes);
            self.gather.fill(tensor, opened.region(tensor.storage), piece.inside, out)?;
            if plan.tensors[piece.part].dtype == Dtype::BOOL
                && let Some(at) = out.iter().position(|&byte| byte > 1)
            {
                let odd = (piece.part, piece.inside + at as u64, out[at]);
                self.data.odd_bools.lock().unwrap_or_else(PoisonError::into_inner).push(odd);
            }
            rest = later;
        }
        let at = plan.header_bytes + chunk.at;
        write_all_at(file, at, buffer).map_err(|e| error::io("write", path, &e))?;
        progress.advance(buffer.len() as u64);
        self.checker.check(chunk)?;
        progress.advance(buffer.len() as u64);
        let (before, after) = (at / WRITE_BACK_BYTES, (at + buffer.len() as u64) / WRITE_BACK_BYTES);
        for run in before..after {
            start_write_back(file, run.saturating_sub(1) * WRITE_BACK_BYTES, WRITE_BACK_BYTES);
        }
        Ok(())
    }
}

/// The start of the file.
struct Header<'a> {
    file: &'a File,
    at: u64,
    stream: Stream,
}

impl Write for Header<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_all_at(self.file, self.at, bytes)?;
        self.at += bytes.len() as u64;
        self.stream.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(unix)]
fn write_all_at(file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

#[cfg(windows)]
fn write_all_at(file: &File, mut at: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_write(file, bytes, at)?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[n..];
        at += n as u64;
    }
    Ok(())
}

/// Sets the blocks of the file aside, where the system can: they lie together then, and writing finds them.
#[cfg(target_os = "linux")]
fn make_room(file: &File, bytes: u64) {
    let _ = rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes);
}

#[cfg(not(target_os = "linux"))]
fn make_room(_: &File, _: u64) {}

/// Lets the disk begin with the `bytes` at `at`.
#[cfg(target_os = "linux")]
fn start_write_back(file: &File, at: u64, bytes: u64) {
    // To drop pages, Linux first starts to write those that are dirty; they are kept while they are written.
    let _ = rustix::fs::fadvise(file, at, std::num::NonZeroU64::new(bytes), rustix::fs::Advice::DontNeed);
}

#[cfg(not(target_os = "linux"))]
fn start_write_back(_: &File, _: u64, _: u64) {}
