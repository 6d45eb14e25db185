//! Many files side by side. Workers take them in their order; the cores are shared out among those at work, so that small files
//! run beside each other and a large one gets all that it can use. Waiting for a disk needs no core.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::filenames;
use crate::pipeline;
use crate::progress::Progress;

/// How many files are at work at once.
#[derive(Debug, Clone, Copy)]
pub struct Jobs {
    /// Files that are open at once.
    pub files: usize,
    /// Cores that they share.
    pub cores: usize,
}

/// Files that wait for the disk for each that computes: a file is synced in three steps, and syncs that wait together are one to the
/// file system.
const WAITING: usize = 2;

impl Jobs {
    /// `files` at once that share `threads` cores; without them, what suits the machine.
    pub fn new(files: Option<NonZeroUsize>, threads: Option<NonZeroUsize>) -> Jobs {
        let cores = pipeline::n_threads(threads);
        Jobs { files: files.map_or(cores * WAITING, NonZeroUsize::get), cores }
    }

    /// Does `work` for each number below `n`, by as many cores as `weigh` finds useful for it, and shows what came of each to `done`, on
    /// this thread and in the order in which they end. `work` gives its cores back when it drops them.
    pub fn run<T: Send>(
        self,
        n: usize,
        weigh: impl Fn(usize) -> usize + Sync,
        work: impl Fn(usize, Turn<'_>) -> T + Sync,
        mut done: impl FnMut(usize, T),
    ) {
        let (next, cores) = (Mutex::new(0..n), Cores { free: Mutex::new(self.cores), changed: Condvar::new() });
        let worker = |ended: &dyn Fn(usize, T)| {
            loop {
                // The next one waits for its cores before the one behind it is looked at, so that a large file is not passed by for ever.
                let mut queue = lock(&next);
                let Some(index) = queue.next() else { return };
                let turn = cores.take(weigh(index).clamp(1, self.cores));
                drop(queue);
                ended(index, work(index, turn));
            }
        };
        let workers = self.files.min(n);
        if workers == 1 {
            let done = Mutex::new(done);
            return worker(&|index, result| lock(&done)(index, result));
        }
        let (sender, results) = mpsc::channel();
        thread::scope(|scope| {
            for i in 0..workers {
                let (sender, worker) = (sender.clone(), &worker);
                let spawned = thread::Builder::new().spawn_scoped(scope, move || {
                    // The receiver lives as long as the workers.
                    worker(&|index, result| drop(sender.send((index, result))));
                });
                if let (Err(e), 0) = (spawned, i) {
                    unreachable!("a system that starts no thread at all: {e}");
                }
            }
            drop(sender);
            results.iter().for_each(|(index, result)| done(index, result));
        });
    }
}

struct Cores {
    free: Mutex<usize>,
    changed: Condvar,
}

impl Cores {
    fn take(&self, wanted: usize) -> Turn<'_> {
        let mut free = lock(&self.free);
        while *free < wanted {
            free = self.changed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= wanted;
        Turn { cores: self, taken: wanted }
    }
}

/// Some of the cores, until it is dropped.
pub struct Turn<'a> {
    cores: &'a Cores,
    taken: usize,
}

impl Turn<'_> {
    /// How many they are.
    pub fn threads(&self) -> Option<NonZeroUsize> {
        NonZeroUsize::new(self.taken)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *lock(&self.cores.free) += self.taken;
        self.cores.changed.notify_all();
    }
}

/// How many cores are useful for a file of `bytes` bytes.
pub fn useful_threads(bytes: u64) -> usize {
    usize::try_from(bytes / pipeline::BYTES_PER_THREAD).unwrap_or(usize::MAX)
}

/// Progress of a file that is on its turn, which ends when only the disk is waited for.
pub struct OnTurn<'a, P> {
    progress: P,
    turn: Mutex<Option<Turn<'a>>>,
}

impl<'a, P: Progress> OnTurn<'a, P> {
    /// Tells `progress` what it hears.
    pub fn new(progress: P, turn: Turn<'a>) -> Self {
        OnTurn { progress, turn: Mutex::new(Some(turn)) }
    }
}

impl<P: Progress> Progress for OnTurn<'_, P> {
    fn start(&self, bytes: u64, work: u64) {
        self.progress.start(bytes, work);
    }

    fn advance(&self, work: u64) {
        self.progress.advance(work);
    }

    fn cancelled(&self) -> bool {
        self.progress.cancelled()
    }

    fn syncs(&self) {
        self.progress.syncs();
        *lock(&self.turn) = None;
    }
}

/// The outputs of a run, each of one input. Inputs claim theirs in their order, whichever is read first, so that of two that would write
/// the same file it is always the same one that may.
#[derive(Debug, Default)]
pub struct Claims {
    state: Mutex<Claimed>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Claimed {
    /// The input whose turn it is.
    next: usize,
    outputs: HashSet<PathBuf>,
    /// Folders as they are named, and without links and dots.
    folders: HashMap<PathBuf, PathBuf>,
}

/// The right of one input to claim its outputs, which passes to the next one when it is dropped.
#[derive(Debug)]
pub struct Ticket<'a> {
    claims: &'a Claims,
    number: usize,
}

impl Claims {
    /// The ticket of input number `number`; every input must take its own.
    pub fn ticket(&self, number: usize) -> Ticket<'_> {
        Ticket { claims: self, number }
    }
}

impl Ticket<'_> {
    fn wait(&self) -> MutexGuard<'_, Claimed> {
        let mut state = lock(&self.claims.state);
        while state.next != self.number {
            state = self.claims.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Whether `output` is nobody's yet; it is this input's then.
    pub fn claim(&self, output: &Path) -> bool {
        let mut state = self.wait();
        let folder = filenames::folder_of(output);
        let resolved = match state.folders.get(folder) {
            Some(resolved) => resolved.clone(),
            None => filenames::resolved(folder).unwrap_or_else(|| folder.to_owned()),
        };
        state.folders.insert(folder.to_owned(), resolved.clone());
        state.outputs.insert(resolved.join(output.file_name().unwrap_or_default()))
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.wait().next += 1;
        self.claims.changed.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_number_is_worked_on_once_and_no_more_cores_are_taken_than_there_are() {
        for files in [1, 2, 9] {
            let (taken, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let mut seen = vec![0; 100];
            let work = |index: usize, turn: Turn<'_>| {
                let n = turn.threads().unwrap().get();
                assert_eq!(n, (index % 5).clamp(1, 3));
                most.fetch_max(taken.fetch_add(n, Ordering::SeqCst) + n, Ordering::SeqCst);
                thread::yield_now();
                taken.fetch_sub(n, Ordering::SeqCst);
                index * 2
            };
            Jobs { files, cores: 3 }.run(
                100,
                |index| index % 5,
                work,
                |index, result| {
                    assert_eq!(result, index * 2);
                    seen[index] += 1;
                },
            );
            assert!(seen.iter().all(|&n| n == 1));
            assert!(most.into_inner() <= 3);
        }
    }

    #[test]
    fn of_two_that_want_the_same_output_the_first_one_gets_it() {
        for same in ["same", "./same", "missing/../same"].repeat(20) {
            let claims = Claims::default();
            let mut got = [false; 8];
            let work = |index: usize, _: Turn<'_>| claims.ticket(index).claim(Path::new(if index == 0 { "same" } else { same }));
            Jobs { files: 8, cores: 8 }.run(8, |_| 1, work, |index, result| got[index] = result);
            assert_eq!(got, [true, false, false, false, false, false, false, false]);
        }
    }
}
