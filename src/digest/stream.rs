//! SHA-256 as two streams at once. One stream alone waits for its own last round most of the time; a second one that is
//! compressed block by block in between takes the time that is left over, so a core digests two faster than one after the
//! other. The compression function is the library's; only the cutting into blocks and the padding are here.

use std::slice::from_ref;

use sha2::block_api::compress256;

use super::Sha;

const BLOCK_BYTES: usize = 64;

/// A SHA-256 being computed.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    state: [u32; 8],
    /// Bytes that do not fill a block yet.
    tail: [u8; BLOCK_BYTES],
    tail_bytes: usize,
    /// Bytes so far.
    bytes: u64,
}

impl Default for Stream {
    fn default() -> Self {
        Stream { state: INITIAL, tail: [0; BLOCK_BYTES], tail_bytes: 0, bytes: 0 }
    }
}

/// The initial value of FIPS 180-4, section 5.3.3.
const INITIAL: [u32; 8] = [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

impl Stream {
    /// Takes bytes that nothing else is digested beside.
    pub fn update(&mut self, bytes: &[u8]) {
        let (blocks, rest) = self.top_up(bytes).as_chunks();
        self.compress(blocks);
        self.keep(rest);
    }

    /// The digest; what comes then starts the next one.
    pub fn finish(&mut self) -> Sha {
        let bits = self.bytes * 8;
        // A one, zeros, and the number of bits at the end of a block.
        let zeros = (BLOCK_BYTES + 55 - self.tail_bytes) % BLOCK_BYTES;
        let mut padding = [0; 2 * BLOCK_BYTES];
        padding[0] = 0x80;
        padding[1 + zeros..9 + zeros].copy_from_slice(&bits.to_be_bytes());
        self.update(&padding[..9 + zeros]);
        let mut sha = Sha([0; 32]);
        for (bytes, word) in sha.0.as_chunks_mut().0.iter_mut().zip(self.state) {
            *bytes = word.to_be_bytes();
        }
        *self = Stream::default();
        sha
    }

    /// Fills a block that was begun; the bytes that are left begin one.
    fn top_up<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.tail_bytes == 0 {
            return bytes;
        }
        let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.tail_bytes));
        self.keep(now);
        if self.tail_bytes == BLOCK_BYTES {
            compress256(&mut self.state, from_ref(&self.tail));
            self.tail_bytes = 0;
        }
        later
    }

    /// Keeps bytes that end before the block does, or with it.
    fn keep(&mut self, bytes: &[u8]) {
        self.tail[self.tail_bytes..][..bytes.len()].copy_from_slice(bytes);
        self.tail_bytes += bytes.len();
        self.bytes += bytes.len() as u64;
    }

    fn compress(&mut self, blocks: &[[u8; BLOCK_BYTES]]) {
        compress256(&mut self.state, blocks);
        self.bytes += (blocks.len() * BLOCK_BYTES) as u64;
    }
}

/// A piece of what a [`Lane`] digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// How many of the bytes.
    pub bytes: usize,
    /// Whether a digest ends with it.
    pub ends: bool,
}

/// Bytes that are digested one after another: one long run, or the tensors of a chunk, each with a digest of its own.
pub(crate) struct Lane<'a> {
    stream: &'a mut Stream,
    digests: &'a mut Vec<Sha>,
    segments: Box<dyn Iterator<Item = Segment> + 'a>,
    /// The bytes of the segments to come.
    bytes: &'a [u8],
    /// What is left of the current segment: whole blocks, and less than a block.
    blocks: &'a [[u8; BLOCK_BYTES]],
    rest: &'a [u8],
    ends: bool,
}

impl<'a> Lane<'a> {
    /// Continues `stream` with the `segments` of `bytes`; the digests that end are added to `digests`.
    pub fn new(
        stream: &'a mut Stream,
        digests: &'a mut Vec<Sha>,
        segments: Box<dyn Iterator<Item = Segment> + 'a>,
        bytes: &'a [u8],
    ) -> Lane<'a> {
        Lane { stream, digests, segments, bytes, blocks: &[], rest: &[], ends: false }
    }

    /// Digests all of it.
    pub fn run(mut self) {
        while self.ready() {
            let blocks = std::mem::take(&mut self.blocks);
            self.stream.compress(blocks);
        }
    }

    /// Digests all of this lane and of another one, a block of each in turn.
    pub fn run_with(mut self, mut other: Lane<'_>) {
        while self.ready() && other.ready() {
            let n = self.blocks.len().min(other.blocks.len());
            let (own, own_later) = self.blocks.split_at(n);
            let (others, others_later) = other.blocks.split_at(n);
            for (a, b) in own.iter().zip(others) {
                compress256(&mut self.stream.state, from_ref(a));
                compress256(&mut other.stream.state, from_ref(b));
            }
            self.took(own.len(), own_later);
            other.took(others.len(), others_later);
        }
        self.run();
        other.run();
    }

    fn took(&mut self, n_blocks: usize, later: &'a [[u8; BLOCK_BYTES]]) {
        self.stream.bytes += (n_blocks * BLOCK_BYTES) as u64;
        self.blocks = later;
    }

    /// Goes on until whole blocks are next; false at the end.
    fn ready(&mut self) -> bool {
        while self.blocks.is_empty() {
            self.stream.keep(std::mem::take(&mut self.rest));
            if std::mem::take(&mut self.ends) {
                self.digests.push(self.stream.finish());
            }
            let Some(segment) = self.segments.next() else { return false };
            let (now, later) = self.bytes.split_at(segment.bytes);
            self.bytes = later;
            self.ends = segment.ends;
            (self.blocks, self.rest) = self.stream.top_up(now).as_chunks();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use sha2::Digest;

    use super::*;

    fn reference(bytes: &[u8]) -> Sha {
        Sha(sha2::Sha256::digest(bytes).into())
    }

    /// A small deterministic generator, so that a failure can be repeated.
    struct Random(u64);

    impl Random {
        fn below(&mut self, n: usize) -> usize {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.0 >> 33) as usize % n
        }

        fn bytes(&mut self, n: usize) -> Vec<u8> {
            (0..n).map(|_| self.below(256) as u8).collect()
        }

        /// Lengths that add up to `n`.
        fn cuts(&mut self, mut n: usize) -> Vec<usize> {
            let mut cuts = Vec::new();
            while n > 0 {
                let largest = [1, 3, 64, 65, 200, 4000][self.below(6)];
                cuts.push(self.below(n.min(largest) + 1));
                n -= cuts[cuts.len() - 1];
            }
            cuts
        }
    }

    #[test]
    fn the_known_answers_of_the_standard_come_out() {
        let answers = [
            ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
        ];
        for (text, sha256) in answers {
            let mut stream = Stream::default();
            stream.update(text.as_bytes());
            assert_eq!(stream.finish().to_string(), sha256);
        }
    }

    #[test]
    fn every_length_around_a_block_is_padded_as_the_library_pads_it() {
        let bytes = Random(1).bytes(300);
        let mut stream = Stream::default();
        for n in 0..bytes.len() {
            stream.update(&bytes[..n]);
            assert_eq!(stream.finish(), reference(&bytes[..n]), "{n}");
        }
    }

    #[test]
    fn two_lanes_cut_anywhere_give_the_digests_of_the_library() {
        let mut random = Random(2);
        for _ in 0..300 {
            let mut lanes = Vec::new();
            for _ in 0..2 {
                let len = random.below(20_000);
                let bytes = random.bytes(len);
                // Parts with a digest each, every part in pieces, and the pieces in chunks of a buffer.
                let parts = random.cuts(bytes.len());
                let mut rest = &bytes[..];
                let expected: Vec<Sha> = parts.iter().map(|&n| reference(rest.split_off(..n).unwrap())).collect();
                let mut segments = Vec::new();
                for part in parts {
                    let pieces = random.cuts(part);
                    segments.extend(pieces.iter().map(|&bytes| Segment { bytes, ends: false }));
                    segments.push(Segment { bytes: 0, ends: true });
                }
                let split = random.below(segments.len() + 1);
                lanes.push((bytes, segments, split, expected));
            }
            let mut streams = [Stream::default(), Stream::default()];
            let mut digests = [Vec::new(), Vec::new()];
            for half in 0..2 {
                let mut made = lanes.iter().zip(&mut streams).zip(&mut digests).map(|(((bytes, segments, split, _), stream), digests)| {
                    let (first, second) = segments.split_at(*split);
                    let before: usize = first.iter().map(|segment| segment.bytes).sum();
                    match half {
                        0 => Lane::new(stream, digests, Box::new(first.iter().copied()), &bytes[..before]),
                        _ => Lane::new(stream, digests, Box::new(second.iter().copied()), &bytes[before..]),
                    }
                });
                let (a, b) = (made.next().unwrap(), made.next().unwrap());
                a.run_with(b);
            }
            for ((_, _, _, expected), digests) in lanes.iter().zip(&digests) {
                assert_eq!(expected, digests);
            }
        }
    }
}
