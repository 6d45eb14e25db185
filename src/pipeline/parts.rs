//! How data that is made of parts, the tensors of a file, is cut into chunks that fit a buffer.

use crate::digest::Segment;

/// Bytes of a chunk: small enough that a buffer stays in cache from the read to the last digest.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;

/// Parts that follow one another.
pub(crate) trait Parts: Sync {
    /// The number of parts.
    fn count(&self) -> usize;
    /// Bytes of a part.
    fn bytes(&self, part: usize) -> u64;
    /// Bytes from `inside` on that are made in one go, where a part cannot be cut anywhere.
    fn unit(&self, _part: usize, _inside: u64) -> Option<u64> {
        None
    }
}

/// A place in the parts: after all parts before `part`, and after `inside` bytes of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Spot {
    pub part: usize,
    pub inside: u64,
}

/// Bytes that pass through in one buffer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Bytes before it.
    pub at: u64,
    pub bytes: usize,
    pub start: Spot,
    pub end: Spot,
}

/// What of a part is in a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub part: usize,
    /// Bytes of the part before it.
    pub inside: u64,
    pub bytes: usize,
    /// Whether the part ends with it.
    pub ends: bool,
}

impl Chunk {
    /// What is after `bytes` of the first part, in which there are whole chunks.
    pub fn done(bytes: u64) -> Chunk {
        let spot = Spot { part: 0, inside: bytes };
        Chunk { at: bytes, bytes: 0, start: spot, end: spot }
    }
}

/// The chunk after `before`; `None` when all parts are in chunks.
pub(crate) fn chunk_after(parts: &dyn Parts, before: Option<&Chunk>) -> Option<Chunk> {
    let (at, start) = before.map_or((0, Spot::default()), |chunk| (chunk.at + chunk.bytes as u64, chunk.end));
    let mut chunk = Chunk { at, bytes: 0, start, end: start };
    while chunk.end.part < parts.count() {
        let Spot { part, inside } = chunk.end;
        let left = parts.bytes(part) - inside;
        let room = CHUNK_BYTES - chunk.bytes.min(CHUNK_BYTES);
        let taken = match parts.unit(part, inside) {
            Some(unit) if chunk.bytes > 0 && unit > room as u64 => break,
            Some(unit) => unit,
            // A multiple of every size of an element.
            None if left > room as u64 => room as u64 & !15,
            None => left,
        };
        chunk.bytes += taken as usize;
        chunk.end = if taken == left { Spot { part: part + 1, inside: 0 } } else { Spot { part, inside: inside + taken } };
        if taken < left && chunk.bytes + 16 > CHUNK_BYTES {
            break;
        }
    }
    (chunk.end != chunk.start).then_some(chunk)
}

/// The parts in a chunk.
pub(crate) fn pieces(parts: &dyn Parts, chunk: Chunk) -> impl Iterator<Item = Piece> {
    let Chunk { start, end, .. } = chunk;
    (start.part..=end.part).filter_map(move |part| {
        let inside = if part == start.part { start.inside } else { 0 };
        match part < end.part {
            true => Some(Piece { part, inside, bytes: (parts.bytes(part) - inside) as usize, ends: true }),
            false => Some(Piece { part, inside, bytes: (end.inside - inside) as usize, ends: false }).filter(|piece| piece.bytes > 0),
        }
    })
}

/// The same for the digests of the parts.
pub(crate) fn segments(parts: &dyn Parts, chunk: Chunk) -> impl Iterator<Item = Segment> {
    pieces(parts, chunk).map(|piece| Segment { bytes: piece.bytes, ends: piece.ends })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Test(Vec<(u64, Option<u64>)>);

    impl Parts for Test {
        fn count(&self) -> usize {
            self.0.len()
        }

        fn bytes(&self, part: usize) -> u64 {
            self.0[part].0
        }

        fn unit(&self, part: usize, inside: u64) -> Option<u64> {
            let (bytes, unit) = self.0[part];
            unit.map(|unit| unit.min(bytes - inside))
        }
    }

    #[test]
    fn chunks_hold_every_byte_of_every_part_once_and_units_whole() {
        let mib = 1 << 20;
        let cases = [
            vec![],
            vec![(0, None)],
            vec![(0, None), (0, None), (5, None), (0, None)],
            vec![(3 * mib + 5, None), (7, None), (0, None), (3 * mib, None)],
            vec![(5, None), (2 * mib, Some(mib)), (100, Some(100)), (3, None), (100_000, Some(100_000)), (200_000, Some(200_000))],
            vec![(262_144, None), (262_143, None), (1, None), (262_150, None), (0, None)],
            (0..3000).map(|i| (i % 700, None)).collect(),
        ];
        for case in cases {
            let parts = Test(case);
            let (mut before, mut at, mut seen) = (None, 0, Vec::new());
            while let Some(chunk) = chunk_after(&parts, before.as_ref()) {
                assert_eq!(chunk.at, at);
                let pieces: Vec<Piece> = pieces(&parts, chunk).collect();
                assert_eq!(pieces.iter().map(|piece| piece.bytes).sum::<usize>(), chunk.bytes);
                assert!(chunk.bytes <= CHUNK_BYTES || pieces.len() == 1, "{chunk:?}");
                at += chunk.bytes as u64;
                seen.extend(pieces);
                before = Some(chunk);
            }
            let mut expected = Spot::default();
            for piece in seen {
                assert_eq!((piece.part, piece.inside), (expected.part, expected.inside));
                assert!(piece.inside % 16 == 0 || parts.0[piece.part].1.is_some());
                expected.inside += piece.bytes as u64;
                assert_eq!(piece.ends, expected.inside == parts.bytes(piece.part));
                if piece.ends {
                    expected = Spot { part: piece.part + 1, inside: 0 };
                }
            }
            assert_eq!(expected, Spot { part: parts.count(), inside: 0 });
        }
    }
}
