//! What can be done next, and how far everything is. Nothing is read or digested here.
//!
//! Two digests on one thread are worth more than one, so a thread that finds two that can go on takes both; if there are not, it
//! fills chunks; if there is no room for more, it goes on with a single digest. When other threads have nothing to do, one digest
//! is left for them. Filling starts when few chunks are left and ends when there is no more room: while one thread fills, the
//! other digests two at once.

use std::collections::VecDeque;
use std::sync::Arc;

use super::parts::{CHUNK_BYTES, Chunk, chunk_after};
use super::{Buffer, Digests, Run};
use crate::digest::{Sha, Stream};
use crate::error::{self, Error, Result};
use crate::pipeline::Parts;

/// The most chunks of one feed that are in buffers.
const AHEAD_CHUNKS: usize = 16;
/// The most bytes in them, unless a single chunk has more.
const AHEAD_BYTES: usize = 24 << 20;
/// Filling starts when fewer chunks are left.
const LOW_CHUNKS: usize = AHEAD_CHUNKS / 2;

/// What a thread does next.
pub(super) enum Job {
    Fill { track: usize, index: u64, chunk: Chunk, buffer: Buffer },
    Digest(Box<Digesting>, Option<Box<Digesting>>),
}

/// A digest and the chunk that is next for it.
pub(super) struct Digesting {
    pub track: usize,
    /// Whether it is the digest of each part, or else of the whole.
    pub each: bool,
    index: u64,
    pub chunk: Chunk,
    pub bytes: Arc<Buffer>,
    pub state: Digester,
}

/// A digest so far, and those that have ended.
#[derive(Default)]
pub(super) struct Digester {
    pub stream: Stream,
    pub digests: Vec<Sha>,
}

/// How far everything is.
pub(super) struct State<'a> {
    tracks: Vec<Track<'a>>,
    /// Buffers that are free.
    spare: Vec<Buffer>,
    /// Threads that wait for something to do.
    pub waiting: usize,
    /// Threads that do something.
    running: usize,
    failed: Option<(Rank, Error)>,
    stopped: bool,
}

/// Which of two errors is first: by how many feeds are before its own, by the chunk, then by the feed.
type Rank = (usize, u64, usize);

/// How far a feed is.
struct Track<'a> {
    parts: &'a dyn Parts,
    /// How many feeds come before it, one after another; the last of them has the number before its own.
    turn: usize,
    /// The chunk to begin next; `None` at the end.
    next: Option<Chunk>,
    n_begun: u64,
    /// Whether more chunks are begun as long as there is room.
    filling: bool,
    /// The chunks that were begun and that not all digests are past.
    ring: VecDeque<Slot>,
    /// Bytes in the ring.
    bytes: usize,
    digests: Vec<Position>,
}

struct Slot {
    chunk: Chunk,
    /// `None` until it is filled.
    bytes: Option<Arc<Buffer>>,
}

/// How far a digest is.
struct Position {
    each: bool,
    /// The chunk that is next.
    index: u64,
    /// Bytes to go.
    left: u64,
    /// `None` while a thread is at it.
    state: Option<Digester>,
}

impl<'a> State<'a> {
    /// For feeds that are read side by side, each after those before it in its lane.
    pub fn new(lanes: &[Vec<Run<'a>>]) -> State<'a> {
        let tracks = lanes.iter().flat_map(|lane| lane.iter().enumerate().map(|(turn, run)| Track::new(run, turn))).collect();
        State { tracks, spare: Vec::new(), waiting: 0, running: 0, failed: None, stopped: false }
    }

    /// Bytes to be digested.
    pub fn bytes(&self) -> u64 {
        self.tracks.iter().flat_map(|track| &track.digests).map(|digest| digest.left).sum()
    }

    /// What can be done now.
    pub fn next_job(&mut self) -> Option<Job> {
        if self.stopped {
            return None;
        }
        let mut ready = self.ready();
        // The digest that has most before it is first.
        ready.sort_by_key(|&(track, digest)| std::cmp::Reverse(self.tracks[track].digests[digest].left));
        let job = match ready[..] {
            [first, second, ..] if self.waiting == 0 => Some(Job::Digest(self.begin(first), Some(self.begin(second)))),
            [first, ..] => self.fill().or_else(|| Some(Job::Digest(self.begin(first), None))),
            [] => self.fill(),
        };
        self.running += usize::from(job.is_some());
        job
    }

    /// Whether nothing more is to be done, now or later.
    pub fn is_over(&self) -> bool {
        let failed = self.failed.is_some() && self.running == 0;
        self.stopped || failed || self.tracks.iter().all(|track| track.next.is_none() && track.ring.is_empty())
    }

    /// A job ended; its results are told next.
    pub fn ended(&mut self) {
        self.running -= 1;
    }

    pub fn filled(&mut self, track: usize, index: u64, buffer: Buffer, result: Result<()>) {
        match result {
            Err(error) => self.fail(self.rank(track, index), error),
            Ok(()) => {
                let track = &mut self.tracks[track];
                if let Some(slot) = track.slot(index) {
                    slot.bytes = Some(Arc::new(buffer));
                }
                track.release(&mut self.spare);
            }
        }
    }

    pub fn digested(&mut self, done: Box<Digesting>, shown: Result<()>) {
        let Digesting { track, each, index, chunk, bytes, state } = *done;
        drop(bytes);
        if let Err(error) = shown {
            self.fail(self.rank(track, index), error);
        }
        let track = &mut self.tracks[track];
        if let Some(digest) = track.digests.iter_mut().find(|digest| digest.each == each) {
            digest.state = Some(state);
            digest.index = index + 1;
            digest.left -= chunk.bytes as u64;
        }
        track.release(&mut self.spare);
    }

    /// Ends everything at once.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// What came out.
    pub fn finish(self) -> Result<Vec<Digests>> {
        match self.failed {
            _ if self.stopped => Err(error::interrupted()),
            Some((_, error)) => Err(error),
            None => Ok(self.tracks.into_iter().map(Track::finish).collect()),
        }
    }

    /// After an error what comes before it still runs, since it may have an error of its own.
    fn fail(&mut self, rank: Rank, error: Error) {
        if self.failed.as_ref().is_none_or(|(first, _)| rank < *first) {
            self.failed = Some((rank, error));
        }
    }

    fn rank(&self, track: usize, index: u64) -> Rank {
        (self.tracks[track].turn, index, track)
    }

    fn wanted(&self, rank: Rank) -> bool {
        self.failed.as_ref().is_none_or(|(first, _)| rank < *first)
    }

    /// The digests that can go on, by feed and place.
    fn ready(&self) -> Vec<(usize, usize)> {
        let mut ready = Vec::new();
        for (t, track) in self.tracks.iter().enumerate() {
            for (d, digest) in track.digests.iter().enumerate() {
                let filled = track.ring.get((digest.index - track.n_past()) as usize).is_some_and(|slot| slot.bytes.is_some());
                if filled && digest.state.is_some() && self.wanted(self.rank(t, digest.index)) {
                    ready.push((t, d));
                }
            }
        }
        ready
    }

    fn begin(&mut self, (track, digest): (usize, usize)) -> Box<Digesting> {
        let n_past = self.tracks[track].n_past();
        let Track { ring, digests, .. } = &mut self.tracks[track];
        let digest = &mut digests[digest];
        let (index, each) = (digest.index, digest.each);
        match (ring.get((index - n_past) as usize), digest.state.take()) {
            (Some(Slot { chunk, bytes: Some(bytes) }), Some(state)) => {
                Box::new(Digesting { track, each, index, chunk: *chunk, bytes: Arc::clone(bytes), state })
            }
            _ => unreachable!("only digests that are ready are begun"),
        }
    }

    /// Whether the feed before it is begun to its end and the one before that is done with: two of a lane are in buffers at most.
    fn is_its_turn(&self, track: usize) -> bool {
        let before = |n: usize| (n <= self.tracks[track].turn).then(|| &self.tracks[track - n]);
        before(1).is_none_or(|track| track.next.is_none()) && before(2).is_none_or(|track| track.next.is_none() && track.ring.is_empty())
    }

    /// Begins a chunk of the feed that has fewest bytes ready.
    fn fill(&mut self) -> Option<Job> {
        let able =
            |(t, track): &(usize, &Track<'_>)| track.wants_more() && self.is_its_turn(*t) && self.wanted(self.rank(*t, track.n_begun));
        let (t, _) = self.tracks.iter().enumerate().filter(able).min_by_key(|(_, track)| track.bytes)?;
        let track = &mut self.tracks[t];
        let (index, chunk) = (track.n_begun, track.begin_next()?);
        // The largest that is free, so that few grow.
        let largest = self.spare.iter().enumerate().max_by_key(|(_, buffer)| buffer.len()).map(|(i, _)| i);
        let buffer = largest.map(|i| self.spare.swap_remove(i)).unwrap_or_default();
        Some(Job::Fill { track: t, index, chunk, buffer })
    }
}

impl<'a> Track<'a> {
    fn new(run: &Run<'a>, turn: usize) -> Track<'a> {
        let parts = run.feed.parts();
        let left = (0..parts.count()).map(|part| parts.bytes(part)).sum::<u64>() - run.done;
        // Chunks are counted from the start all the same: by their numbers the first error is known.
        let n_done = run.done / CHUNK_BYTES as u64;
        let whole = (false, Digester { stream: run.whole.clone(), digests: Vec::new() });
        let each = run.each.then(|| (true, Digester::default()));
        let positions = [whole].into_iter().chain(each).map(|(each, state)| Position { each, index: n_done, left, state: Some(state) });
        Track {
            parts,
            turn,
            next: chunk_after(parts, Some(&Chunk::done(run.done)).filter(|_| run.done > 0)),
            n_begun: n_done,
            filling: true,
            ring: VecDeque::new(),
            bytes: 0,
            digests: positions.collect(),
        }
    }

    /// The number of chunks that are done with.
    fn n_past(&self) -> u64 {
        self.n_begun - self.ring.len() as u64
    }

    fn slot(&mut self, index: u64) -> Option<&mut Slot> {
        let n_past = self.n_past();
        self.ring.get_mut(usize::try_from(index.checked_sub(n_past)?).ok()?)
    }

    fn wants_more(&self) -> bool {
        let room = |chunk: &Chunk| self.ring.is_empty() || self.bytes + chunk.bytes <= AHEAD_BYTES;
        self.filling && self.next.as_ref().is_some_and(room)
    }

    fn begin_next(&mut self) -> Option<Chunk> {
        let chunk = self.next?;
        self.next = chunk_after(self.parts, Some(&chunk));
        self.n_begun += 1;
        self.bytes += chunk.bytes;
        self.ring.push_back(Slot { chunk, bytes: None });
        self.filling = self.ring.len() < AHEAD_CHUNKS;
        Some(chunk)
    }

    /// Forgets the chunks that all digests are past.
    fn release(&mut self, spare: &mut Vec<Buffer>) {
        while self.ring.front().is_some_and(|slot| slot.bytes.is_some()) {
            let first = self.n_past();
            if self.digests.iter().any(|digest| digest.index <= first) {
                break;
            }
            let Some(Slot { chunk, bytes }) = self.ring.pop_front() else { break };
            self.bytes -= chunk.bytes;
            spare.extend(bytes.and_then(|bytes| Arc::try_unwrap(bytes).ok()));
        }
        self.filling |= self.ring.len() <= LOW_CHUNKS;
    }

    fn finish(self) -> Digests {
        let mut digests = Digests::default();
        for digest in self.digests {
            let Some(mut state) = digest.state else { continue };
            match digest.each {
                true => digests.each = state.digests,
                false => digests.whole = state.stream.finish(),
            }
        }
        digests
    }
}
