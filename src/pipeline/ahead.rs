//! The source before there is anything to write: while one core understands a checkpoint and plans its output, another one digests the
//! source from its start. The run takes over from there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::{BYTES_PER_THREAD, CHUNK_BYTES};
use crate::digest::{Checksums, Stream};
use crate::source::Source;

/// A source that is being digested. Dropped, it ends that.
#[derive(Debug)]
pub(crate) struct Ahead {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Option<Begun>>>,
}

/// How far it got: to the end of a chunk, or of the source.
pub(crate) struct Begun {
    pub bytes: u64,
    pub digest: Stream,
    pub checksums: Checksums,
}

impl Ahead {
    /// Begins, if another one of `threads` and the size of the source are worth it.
    pub fn start(source: &Arc<Source>, checksums: impl FnOnce() -> Checksums, threads: usize) -> Option<Ahead> {
        if threads < 2 || source.len() < BYTES_PER_THREAD {
            return None;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let begun = Begun::nothing(checksums());
        let (source, stopped) = (Arc::clone(source), Arc::clone(&stop));
        // Without another thread, the run does it all.
        let thread = thread::Builder::new().spawn(move || begun.go_on(&source, &stopped)).ok()?;
        Some(Ahead { stop, thread: Some(thread) })
    }

    /// Ends it, and says how far it got. `None` after an error: the run begins anew, and reports it in its place.
    pub fn end(mut self) -> Option<Begun> {
        self.join()
    }

    fn join(&mut self) -> Option<Begun> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take()?.join().ok()?
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.join();
    }
}

impl Begun {
    /// Nothing is digested yet.
    pub fn nothing(checksums: Checksums) -> Begun {
        Begun { bytes: 0, digest: Stream::default(), checksums }
    }

    fn go_on(mut self, source: &Source, stopped: &AtomicBool) -> Option<Begun> {
        let mut buffer = vec![0; CHUNK_BYTES];
        while self.bytes < source.len() && !stopped.load(Ordering::Relaxed) {
            let chunk = &mut buffer[..(source.len() - self.bytes).min(CHUNK_BYTES as u64) as usize];
            source.read_at(self.bytes, chunk).ok()?;
            self.digest.update(chunk);
            self.checksums.update(self.bytes, chunk).ok()?;
            self.bytes += chunk.len() as u64;
        }
        Some(self)
    }
}
