//! The way of bulk bytes: each is read once into a small buffer and digested while it is in cache.
//!
//! What is read in one order is a feed: the source from start to end, the tensors in the order of the output. A feed is cut into
//! chunks. Filling a chunk, which for an output also writes and checks it, is work for any thread in any order; each digest takes
//! the chunks in order. Threads take whatever can be done next (see [`state`]), so all are busy to the end, and a single one does
//! the same work alone. What comes out does not depend on how many there are, and neither does the error that is reported.

mod ahead;
mod buffers;
mod bytes;
mod parts;
mod state;

use std::num::NonZeroUsize;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

pub(crate) use ahead::{Ahead, Begun};
pub(crate) use buffers::Buffer;
pub(crate) use bytes::Bytes;
use parts::segments;
pub(crate) use parts::{CHUNK_BYTES, Chunk, Parts, pieces};
use state::{Digesting, Job, State};

use crate::digest::{Lane, Segment, Sha, Stream};
use crate::error::Result;
use crate::progress::Progress;

/// Bytes to digest for which another thread is worth its start.
pub(crate) const BYTES_PER_THREAD: u64 = 4 << 20;

/// Bytes that are read in one order.
pub(crate) trait Feed: Sync {
    /// What they are made of.
    fn parts(&self) -> &dyn Parts;
    /// Makes what one thread needs to fill chunks.
    fn filler(&self) -> Box<dyn Filler + '_>;
    /// Is shown every chunk in order, before the next one.
    ///
    /// # Errors
    /// What is wrong with the bytes so far.
    fn show(&self, _chunk: &Chunk, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// Fills the chunks of a feed, for one thread.
pub(crate) trait Filler {
    /// Puts the bytes of `chunk` into `buffer`, which has its size, and does what else is to be done with each chunk in any order.
    ///
    /// # Errors
    /// When they cannot be read, or be written.
    fn fill(&mut self, chunk: &Chunk, buffer: &mut [u8]) -> Result<()>;
}

/// A feed and what is to be digested of it.
pub(crate) struct Run<'a> {
    pub feed: &'a dyn Feed,
    /// The digest of all of it, which continues what was digested before.
    pub whole: Stream,
    /// Bytes at its start that were read and digested before: whole chunks of a feed of one part.
    pub done: u64,
    /// Whether each part is digested, too.
    pub each: bool,
}

/// The digests of a feed.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    /// Of all of it.
    pub whole: Sha,
    /// One for each part, if they were asked for.
    pub each: Vec<Sha>,
}

/// The number of threads that is asked for, or else as many as the machine runs at once.
pub(crate) fn n_threads(asked: Option<NonZeroUsize>) -> usize {
    asked.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get)
}

/// Does both, beside one another where there may be two threads.
pub(crate) fn both<A: Send, B>(threads: usize, one: impl Fn() -> A + Sync, other: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| {
        // Without another thread, one comes after the other.
        let beside = (threads > 1).then(|| thread::Builder::new().spawn_scoped(scope, &one).ok()).flatten();
        let other = other();
        match beside.map(thread::ScopedJoinHandle::join) {
            Some(Ok(done)) => (done, other),
            Some(Err(panicked)) => std::panic::resume_unwind(panicked),
            None => (one(), other),
        }
    })
}

/// Runs all feeds to their ends with up to `threads` threads, this one included.
///
/// # Errors
/// The error of the chunk that is first, counting the chunks of all feeds side by side; `interrupted` when the work is no longer
/// wanted.
pub(crate) fn run(runs: Vec<Run<'_>>, threads: usize, progress: &dyn Progress) -> Result<Vec<Digests>> {
    run_lanes(&runs.into_iter().map(|run| vec![run]).collect::<Vec<_>>(), threads, progress)
}

/// The same for lanes side by side, each of feeds that are read one after another, so that buffers do not grow with their number.
///
/// # Errors
/// Those of [`run`]; an error of a feed is after those of all feeds that have fewer before them.
pub(crate) fn run_lanes(lanes: &[Vec<Run<'_>>], threads: usize, progress: &dyn Progress) -> Result<Vec<Digests>> {
    let state = State::new(lanes);
    let useful = usize::try_from(state.bytes() / BYTES_PER_THREAD).unwrap_or(usize::MAX);
    let feeds = lanes.iter().enumerate().flat_map(|(lane, runs)| runs.iter().map(move |run| (lane, run.feed))).collect();
    let shared = Shared { state: Mutex::new(state), changed: Condvar::new(), feeds, n_lanes: lanes.len(), progress };
    thread::scope(|scope| {
        for _ in 1..threads.min(useful) {
            // Without another thread, those that are there do the work.
            if thread::Builder::new().spawn_scoped(scope, || shared.work()).is_err() {
                break;
            }
        }
        shared.work();
    });
    shared.state.into_inner().unwrap_or_else(PoisonError::into_inner).finish()
}

struct Shared<'a> {
    state: Mutex<State<'a>>,
    /// Something can be done that could not before, or nothing more is to be done.
    changed: Condvar,
    /// Each with its lane.
    feeds: Vec<(usize, &'a dyn Feed)>,
    n_lanes: usize,
    progress: &'a dyn Progress,
}

impl<'a> Shared<'a> {
    /// Does what can be done until there is nothing more to do.
    fn work(&self) {
        let _panicked = StopOthers(self);
        // One for each lane: when a feed is over, what filled it is no longer needed.
        let mut fillers: Vec<Option<(usize, Box<dyn Filler + '_>)>> = (0..self.n_lanes).map(|_| None).collect();
        while let Some(job) = self.next_job() {
            if self.progress.cancelled() {
                return self.change(State::stop);
            }
            match job {
                Job::Fill { track, index, chunk, mut buffer } => {
                    let (lane, feed) = self.feeds[track];
                    let kept = fillers[lane].take().filter(|(of, _)| *of == track);
                    let (_, filler) = fillers[lane].insert(kept.unwrap_or_else(|| (track, feed.filler())));
                    let filled = filler.fill(&chunk, buffer.make(chunk.bytes));
                    self.ended(|state| state.filled(track, index, buffer, filled));
                }
                Job::Digest(mut one, None) => {
                    let shown = self.show(&one);
                    self.lane(&mut one).run();
                    self.ended(|state| state.digested(one, shown));
                }
                Job::Digest(mut one, Some(mut other)) => {
                    let shown = [self.show(&one), self.show(&other)];
                    self.lane(&mut one).run_with(self.lane(&mut other));
                    self.ended(|state| [one, other].into_iter().zip(shown).for_each(|(done, shown)| state.digested(done, shown)));
                }
            }
        }
    }

    /// The whole of a feed is digested in order, so that is when its chunks are shown.
    fn show(&self, digesting: &Digesting) -> Result<()> {
        let Digesting { chunk, bytes, .. } = digesting;
        if digesting.each { Ok(()) } else { self.feeds[digesting.track].1.show(chunk, &bytes[..chunk.bytes]) }
    }

    fn lane<'b>(&'b self, digesting: &'b mut Digesting) -> Lane<'b> {
        let Digesting { chunk, bytes, state, .. } = digesting;
        let segments: Box<dyn Iterator<Item = Segment> + 'b> = match digesting.each {
            true => Box::new(segments(self.feeds[digesting.track].1.parts(), *chunk)),
            false => Box::new(std::iter::once(Segment { bytes: chunk.bytes, ends: false })),
        };
        Lane::new(&mut state.stream, &mut state.digests, segments, &bytes[..chunk.bytes])
    }

    /// What to do next; `None` at the end.
    fn next_job(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            match state.next_job() {
                Some(job) => return Some(job),
                None if state.is_over() => return None,
                None => {
                    state.waiting += 1;
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    state.waiting -= 1;
                }
            }
        }
    }

    fn ended(&self, tell: impl FnOnce(&mut State<'a>)) {
        self.change(|state| {
            state.ended();
            tell(state);
        });
    }

    fn change(&self, change: impl FnOnce(&mut State<'a>)) {
        let mut state = self.lock();
        change(&mut state);
        if state.waiting > 0 {
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the other threads when this one panics, so that the panic is seen and nobody waits for it.
struct StopOthers<'a, 'b>(&'a Shared<'b>);

impl Drop for StopOthers<'_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.change(State::stop);
        }
    }
}

#[cfg(test)]
mod tests;
