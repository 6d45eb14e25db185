//! The same digests and the same error with any number of threads.

use std::sync::atomic::{AtomicU64, Ordering};

use sha2::Digest;

use super::*;
use crate::error;

/// Parts of these sizes, filled with bytes that depend on their place; some chunks fail to fill, some to be shown.
struct Test {
    parts: Vec<u64>,
    fails: Vec<u64>,
    shows: Vec<u64>,
    filled: AtomicU64,
}

impl Test {
    fn new(parts: &[u64]) -> Test {
        Test { parts: parts.to_vec(), fails: Vec::new(), shows: Vec::new(), filled: AtomicU64::new(0) }
    }

    fn byte(at: u64) -> u8 {
        (at ^ (at >> 11)) as u8
    }

    fn bytes(&self) -> Vec<u8> {
        (0..self.parts.iter().sum()).map(Test::byte).collect()
    }
}

impl Parts for Test {
    fn count(&self) -> usize {
        self.parts.len()
    }

    fn bytes(&self, part: usize) -> u64 {
        self.parts[part]
    }
}

impl Feed for Test {
    fn parts(&self) -> &dyn Parts {
        self
    }

    fn filler(&self) -> Box<dyn Filler + '_> {
        Box::new(self)
    }

    fn show(&self, chunk: &Chunk, bytes: &[u8]) -> Result<()> {
        assert_eq!(bytes.first().copied().unwrap_or_default(), if chunk.bytes == 0 { 0 } else { Test::byte(chunk.at) });
        match self.shows.contains(&chunk.at) {
            true => Err(error::mismatch(format!("shown {}", chunk.at))),
            false => Ok(()),
        }
    }
}

impl Filler for &Test {
    fn fill(&mut self, chunk: &Chunk, buffer: &mut [u8]) -> Result<()> {
        assert_eq!(buffer.len(), chunk.bytes);
        self.filled.fetch_add(chunk.bytes as u64, Ordering::Relaxed);
        for (byte, at) in buffer.iter_mut().zip(chunk.at..) {
            *byte = Test::byte(at);
        }
        match self.fails.contains(&chunk.at) {
            true => Err(error::mismatch(format!("filled {}", chunk.at))),
            false => Ok(()),
        }
    }
}

fn run_both(one: &Test, other: &Test, threads: usize) -> Result<Vec<Digests>> {
    let before = |bytes: &[u8]| {
        let mut stream = Stream::default();
        stream.update(bytes);
        stream
    };
    let runs =
        [Run { feed: one, whole: before(b""), done: 0, each: false }, Run { feed: other, whole: before(b"header"), done: 0, each: true }];
    run(Vec::from(runs), threads, &())
}

#[test]
fn any_number_of_threads_gives_the_digests_of_the_library() {
    let reference = |bytes: &[u8]| Sha(sha2::Sha256::digest(bytes).into());
    let cases: [(&[u64], &[u64]); 4] =
        [(&[0], &[]), (&[2 << 20], &[0, 1, 700_001, 0, 2 << 20, 64, 0]), (&[5], &[3 << 20]), (&[9 << 20], &[100; 3000])];
    for (one, other) in cases {
        let (one, other) = (Test::new(one), Test::new(other));
        let bytes = other.bytes();
        let mut rest = &bytes[..];
        let each: Vec<Sha> = other.parts.iter().map(|&n| reference(rest.split_off(..n as usize).unwrap())).collect();
        for threads in [1, 2, 3, 16] {
            let digests = run_both(&one, &other, threads).unwrap();
            assert_eq!(digests[0].whole, reference(&one.bytes()));
            assert_eq!(digests[1].whole, reference(&[b"header", &bytes[..]].concat()));
            assert_eq!((digests[0].each.len(), &digests[1].each), (0, &each));
        }
    }
}

#[test]
fn the_error_of_the_first_chunk_is_reported_however_many_threads_there_are() {
    let chunk = CHUNK_BYTES as u64;
    for threads in [1, 2, 16] {
        for _ in 0..4 {
            let (mut one, mut other) = (Test::new(&[10 * chunk]), Test::new(&[10 * chunk]));
            one.shows = vec![8 * chunk, 5 * chunk];
            other.fails = vec![5 * chunk, 6 * chunk, 9 * chunk];
            let error = run_both(&one, &other, threads).unwrap_err();
            assert_eq!(error.message(), format!("shown {}", 5 * chunk), "of two feeds the first one counts");
            one.shows = vec![6 * chunk];
            let error = run_both(&one, &other, threads).unwrap_err();
            assert_eq!(error.message(), format!("filled {}", 5 * chunk));
        }
    }
}

#[test]
fn what_was_digested_before_is_not_read_again_and_its_chunks_count() {
    let chunk = CHUNK_BYTES as u64;
    for threads in [1, 2, 16] {
        for done in [0, chunk, 7 * chunk, 7 * chunk + 5] {
            let (mut one, mut other) = (Test::new(&[7 * chunk + 5]), Test::new(&[10 * chunk]));
            let (of_one, of_other) = (one.bytes(), other.bytes());
            let mut begun = Stream::default();
            begun.update(&of_one[..done as usize]);
            let run_from = |one: &Test, other: &Test| {
                let begun = Run { feed: one, whole: begun.clone(), done, each: false };
                run(vec![begun, Run { feed: other, whole: Stream::default(), done: 0, each: false }], threads, &())
            };
            let digests = run_from(&one, &other).unwrap();
            assert_eq!(digests[0].whole, Sha(sha2::Sha256::digest(&of_one).into()));
            assert_eq!(digests[1].whole, Sha(sha2::Sha256::digest(&of_other).into()));
            assert_eq!(one.filled.load(Ordering::Relaxed), 7 * chunk + 5 - done);
            if done < 3 * chunk {
                (one.fails, other.fails) = (vec![4 * chunk], vec![3 * chunk]);
                assert_eq!(run_from(&one, &other).unwrap_err().message(), format!("filled {}", 3 * chunk));
                other.fails = vec![5 * chunk];
                assert_eq!(run_from(&one, &other).unwrap_err().message(), format!("filled {}", 4 * chunk));
            }
        }
    }
}

#[test]
fn work_that_is_no_longer_wanted_ends() {
    struct After(AtomicU64);
    impl Progress for After {
        fn start(&self, _: u64, _: u64) {}
        fn advance(&self, _: u64) {}
        fn cancelled(&self) -> bool {
            self.0.fetch_add(1, Ordering::Relaxed) >= 10
        }
    }
    let feed = Test::new(&[8 << 20]);
    for threads in [1, 2, 16] {
        let runs = [Run { feed: &feed, whole: Stream::default(), done: 0, each: true }];
        let error = run(Vec::from(runs), threads, &After(AtomicU64::new(0))).unwrap_err();
        assert_eq!(error.message(), "interrupted");
    }
    assert!(feed.filled.load(Ordering::Relaxed) < 3 * (8 << 20));
}

fn lanes(lanes: &[Vec<Test>], threads: usize) -> Result<Vec<Digests>> {
    fn runs(lane: &[Test]) -> Vec<Run<'_>> {
        lane.iter().map(|test| Run { feed: test, whole: Stream::default(), done: 0, each: true }).collect()
    }
    run_lanes(&lanes.iter().map(|lane| runs(lane)).collect::<Vec<_>>(), threads, &())
}

#[test]
fn feeds_of_a_lane_follow_one_another_and_give_the_same_digests() {
    let sizes: [&[u64]; 8] = [&[1 << 20], &[], &[0], &[5, 600_000], &[1], &[300_000, 0, 7], &[600_000], &[9]];
    for threads in [1, 2, 5] {
        let tests = [sizes.iter().map(|size| Test::new(size)).collect(), vec![Test::new(&[2 << 20])], Vec::new()];
        let digests = lanes(&tests, threads).unwrap();
        assert_eq!(digests.len(), 9);
        for (test, digests) in tests.iter().flatten().zip(&digests) {
            assert_eq!(digests.whole, Sha(sha2::Sha256::digest(test.bytes()).into()));
            assert_eq!(digests.each.len(), test.parts.len());
        }
    }
}

#[test]
fn the_error_of_the_feed_with_fewest_before_it_is_reported_with_any_number_of_threads() {
    for threads in [1, 2, 3, 8] {
        for _ in 0..3 {
            let mut first: Vec<Test> = (0..4).map(|_| Test::new(&[1 << 19])).collect();
            first[1].fails = vec![0];
            first[3].fails = vec![0];
            let mut second = vec![Test::new(&[2 << 20])];
            second[0].shows = vec![7 << 18];
            let error = lanes(&[first, second], threads).unwrap_err();
            assert_eq!(error.message(), format!("shown {}", 7 << 18));
        }
    }
}
