//! The elements of a tensor that is not one run of bytes, where its shape and strides say that they are. This shares nothing with
//! the gather: it reads the source through the mapping, and walks it in squares, so that a line of the source that is in cache is
//! used up before the next.

use crate::error::Result;
use crate::source::Region;
use crate::tensor::Tensor;

/// Elements of each side of a square.
const SIDE: usize = 32;

/// A tensor and its storage.
pub(super) struct Elements<'a> {
    tensor: &'a Tensor,
    source: ::bytes::Bytes,
    /// Size and stride of the dimensions with more than one element.
    dims: Vec<(u64, u64)>,
}

/// One dimension of a box: its size, and the bytes from one element to the next in the source and in what was written.
#[derive(Clone, Copy)]
struct Side {
    size: usize,
    source: usize,
    written: usize,
}

impl<'a> Elements<'a> {
    pub fn new(tensor: &'a Tensor, region: &Region) -> Result<Self> {
        let (shape, strides) = (tensor.view.shape(), tensor.view.strides());
        let dims = shape.iter().copied().zip(strides.iter().copied()).filter(|(size, _)| *size != 1).collect();
        Ok(Elements { tensor, source: region.bytes()?, dims })
    }

    /// Bytes of the output that one step along the outermost dimension covers, or the next ones, if that is many.
    pub fn row_bytes(&self, at_most: u64) -> u64 {
        let mut bytes = u64::from(self.tensor.dtype.item_bytes());
        for (size, _) in self.dims.iter().rev() {
            match bytes.checked_mul(*size) {
                Some(more) if more <= at_most => bytes = more,
                _ => break,
            }
        }
        bytes
    }

    /// The first of the bytes `written`, those from `inside` of the output on, that is not what the source says.
    pub fn first_difference(&self, inside: u64, written: &[u8]) -> Option<usize> {
        let item = usize::from(self.tensor.dtype.item_bytes());
        let mut done = 0;
        while done < written.len() {
            let element = inside / item as u64 + (done / item) as u64;
            let (sides, at) = self.box_at(element, (written.len() - done) / item);
            let bytes = sides.iter().map(|side| side.size).product::<usize>() * item;
            let part = &written[done..done + bytes];
            if !self.is_same(&sides, at, part) {
                return self.one_by_one(element, part).map(|first| done + first);
            }
            done += bytes;
        }
        None
    }

    /// The largest box that starts at `element` and has at most `n_elements`, and where its first element is.
    fn box_at(&self, element: u64, n_elements: usize) -> (Vec<Side>, usize) {
        let item = usize::from(self.tensor.dtype.item_bytes());
        let (mut sides, mut at, mut left, mut inner) = (Vec::new(), self.tensor.view.offset(), element, 1);
        let mut open = true;
        for &(size, stride) in self.dims.iter().rev() {
            let index = left % size;
            at += index * stride;
            left /= size;
            if open {
                let n = (size - index).min((n_elements / inner) as u64).max(1) as usize;
                sides.push(Side { size: n, source: stride as usize, written: inner * item });
                inner *= n;
                // Only behind whole dimensions is the next one part of the box.
                open = n as u64 == size;
            }
        }
        (sides, at as usize)
    }

    fn is_same(&self, sides: &[Side], at: usize, written: &[u8]) -> bool {
        let transform = self.tensor.transform;
        let plain = transform == Default::default();
        let swapped = transform.swap && !transform.neg && !transform.conj && self.tensor.dtype.parts() == 1;
        match (self.tensor.dtype.item_bytes(), plain, swapped) {
            (1, true, _) => self.compare::<1>(sides, at, written, |v| v),
            (2, true, _) => self.compare::<2>(sides, at, written, |v| v),
            (4, true, _) => self.compare::<4>(sides, at, written, |v| v),
            (8, true, _) => self.compare::<8>(sides, at, written, |v| v),
            (16, true, _) => self.compare::<16>(sides, at, written, |v| v),
            (2, _, true) => self.compare::<2>(sides, at, written, |v| u16::from_be_bytes(v).to_le_bytes()),
            (4, _, true) => self.compare::<4>(sides, at, written, |v| u32::from_be_bytes(v).to_le_bytes()),
            (8, _, true) => self.compare::<8>(sides, at, written, |v| u64::from_be_bytes(v).to_le_bytes()),
            (1, ..) => self.compare::<1>(sides, at, written, |v| self.value(v)),
            (2, ..) => self.compare::<2>(sides, at, written, |v| self.value(v)),
            (4, ..) => self.compare::<4>(sides, at, written, |v| self.value(v)),
            (8, ..) => self.compare::<8>(sides, at, written, |v| self.value(v)),
            (16, ..) => self.compare::<16>(sides, at, written, |v| self.value(v)),
            (other, ..) => unreachable!("no row of the dtype table has items of {other} bytes"),
        }
    }

    /// Compares a box plane by plane: the last dimension, and of the others the one that is closest in the source.
    fn compare<const ITEM: usize>(&self, sides: &[Side], at: usize, written: &[u8], value: impl Fn([u8; ITEM]) -> [u8; ITEM]) -> bool {
        let one = Side { size: 1, source: 0, written: 0 };
        let (last, others) = sides.split_first().map_or((one, &[][..]), |(last, others)| (*last, others));
        let closest = (0..others.len()).min_by_key(|&i| others[i].source);
        let side = closest.map_or(one, |i| others[i]);
        let outer: Vec<Side> = others.iter().enumerate().filter(|(i, _)| Some(*i) != closest).map(|(_, side)| *side).collect();
        let mut index = vec![0; outer.len()];
        loop {
            let from = at + index.iter().zip(&outer).map(|(i, side)| i * side.source).sum::<usize>();
            let to = index.iter().zip(&outer).map(|(i, side)| i * side.written).sum::<usize>();
            if !self.compare_plane(last, side, from, &written[to..], &value) {
                return false;
            }
            let Some(d) = index.iter().zip(&outer).position(|(i, side)| i + 1 < side.size) else { return true };
            index[d] += 1;
            index[..d].fill(0);
        }
    }

    fn compare_plane<const ITEM: usize>(
        &self,
        last: Side,
        side: Side,
        from: usize,
        written: &[u8],
        value: impl Fn([u8; ITEM]) -> [u8; ITEM],
    ) -> bool {
        let line = |i: usize, j: usize| &self.source[from + i * side.source + j * last.source..];
        if last.source == ITEM {
            return (0..side.size).all(|i| {
                let stored = line(i, 0)[..last.size * ITEM].as_chunks().0;
                let row = written[i * side.written..][..last.size * ITEM].as_chunks().0;
                stored.iter().zip(row).fold(true, |same, (stored, written)| same & (value(*stored) == *written))
            });
        }
        // A square of the source at a time, first copied together: each of its lines is touched once.
        let mut square = [[[0; ITEM]; SIDE]; SIDE];
        for top in (0..side.size).step_by(SIDE) {
            let rows = (side.size - top).min(SIDE);
            for left in (0..last.size).step_by(SIDE) {
                let columns = (last.size - left).min(SIDE);
                for (j, column) in square[..columns].iter_mut().enumerate() {
                    let line = line(top, left + j);
                    if side.source == ITEM {
                        column[..rows].copy_from_slice(&line.as_chunks().0[..rows]);
                    } else {
                        for (i, element) in column[..rows].iter_mut().enumerate() {
                            element.copy_from_slice(&line[i * side.source..][..ITEM]);
                        }
                    }
                }
                let mut same = true;
                for i in 0..rows {
                    let row = written[(top + i) * side.written + left * ITEM..][..columns * ITEM].as_chunks().0;
                    for (column, written) in square.iter().zip(row) {
                        same &= value(column[i]) == *written;
                    }
                }
                if !same {
                    return false;
                }
            }
        }
        true
    }

    /// The first byte that differs, element after element from `element` on.
    fn one_by_one(&self, element: u64, written: &[u8]) -> Option<usize> {
        let item = usize::from(self.tensor.dtype.item_bytes());
        let mut expected = vec![0; item];
        for (n, written) in written.chunks_exact(item).enumerate() {
            let (_, at) = self.box_at(element + n as u64, 1);
            expected.copy_from_slice(&self.source[at..at + item]);
            as_value(&mut expected, self.tensor);
            if let Some(first) = written.iter().zip(&expected).position(|(a, b)| a != b) {
                return Some(n * item + first);
            }
        }
        None
    }

    fn value<const ITEM: usize>(&self, mut stored: [u8; ITEM]) -> [u8; ITEM] {
        as_value(&mut stored, self.tensor);
        stored
    }
}

/// Turns one stored element into its little-endian value, part by part.
fn as_value(element: &mut [u8], tensor: &Tensor) {
    let transform = tensor.transform;
    let part_bytes = element.len() / usize::from(tensor.dtype.parts());
    for (i, part) in element.chunks_exact_mut(part_bytes).enumerate() {
        let mut wide = [0u8; 8];
        wide[..part_bytes].copy_from_slice(part);
        let mut value = u64::from_le_bytes(wide);
        if transform.swap {
            value = value.swap_bytes() >> (64 - 8 * part_bytes);
        }
        let sign = 1u64 << (8 * part_bytes - 1);
        if transform.neg {
            value ^= sign;
        }
        if transform.conj && i == 1 {
            value ^= sign;
        }
        part.copy_from_slice(&value.to_le_bytes()[..part_bytes]);
    }
}

#[cfg(test)]
mod tests {
    use ::bytes::Bytes;

    use super::*;
    use crate::place::Place;
    use crate::storage::StorageId;
    use crate::tensor::layout::{Declared, View};
    use crate::tensor::testing::{Random, elements};
    use crate::tensor::{Dtype, Transform};

    /// The output as the definition of strides gives it, with the bytes of each part reversed if they are swapped.
    fn naive(tensor: &Tensor, storage: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for element in elements(&tensor.view, storage) {
            let mut element = element.to_vec();
            let part = element.len() / usize::from(tensor.dtype.parts());
            for (i, part) in element.chunks_mut(part).enumerate() {
                if tensor.transform.swap {
                    part.reverse();
                }
                let flips = u8::from(tensor.transform.neg) + u8::from(tensor.transform.conj && i == 1);
                *part.last_mut().unwrap() ^= 0x80 * (flips % 2);
            }
            out.extend(element);
        }
        out
    }

    #[test]
    fn any_view_is_the_same_as_naive_indexing_and_one_wrong_byte_is_found() {
        let mut random = Random(11);
        let dtypes = [Dtype::U8, Dtype::BF16, Dtype::F32, Dtype::F64, Dtype::C64, Dtype::C128];
        for n in 0..1500 {
            let dtype = dtypes[random.below(6) as usize];
            let rank = random.below(5) as usize;
            let shape: Vec<i64> =
                (0..rank).map(|_| [1, 2, 3, 7, 40][random.below(5) as usize].min(if rank > 2 { 7 } else { 40 })).collect();
            let strides: Vec<i64> = (0..rank).map(|_| random.below(40) as i64).collect();
            let storage: Vec<u8> = (0..64 << 10).map(|_| random.below(256) as u8).collect();
            let declared = Declared { shape: &shape, strides: &strides, offset: random.below(50) as i64, step_bytes: dtype.item_bytes() };
            let view = View::new(&declared, dtype.item_bytes(), storage.len() as u64, &Place::start_of("")).unwrap();
            let transform = match n % 4 {
                0 => Transform { swap: true, ..Transform::default() },
                1 => Transform { swap: true, neg: dtype.negates_by_sign_bit(), conj: dtype.parts() == 2 },
                _ => Transform::default(),
            };
            let tensor = Tensor { dtype, storage: StorageId(0), view, transform, place: Place::start_of("") };
            let mut written = naive(&tensor, &storage);
            let elements = Elements::new(&tensor, &Region::memory(Bytes::from(storage))).unwrap();
            let item = u64::from(dtype.item_bytes());
            let from = random.below(written.len() as u64 / item + 1) * item;
            let to = from + random.below((written.len() as u64 - from) / item + 1) * item;
            let part = &mut written[from as usize..to as usize];
            assert_eq!(elements.first_difference(from, part), None, "{tensor:?} {from}..{to}");
            if !part.is_empty() {
                let wrong = random.below(part.len() as u64) as usize;
                part[wrong] ^= 1 << random.below(8);
                assert_eq!(elements.first_difference(from, part), Some(wrong), "{tensor:?} {from}..{to}");
            }
        }
    }
}
