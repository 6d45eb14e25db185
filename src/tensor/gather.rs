//! From stored bytes to a tensor's elements in row-major, little-endian order, chunk by chunk.
//!
//! Memory is bounded whatever the tensor: contiguous data passes through one small buffer, strided data through one
//! tile of the output and one window of the source. The verifier does not use this file (see `verify`).

use crate::error::Result;
use crate::source::Region;
use crate::tensor::{Dtype, Tensor, Transform};

/// Bytes handed on at a time for contiguous data: small enough to stay in cache for the digests. A multiple of 16.
const CHUNK_BYTES: usize = 256 << 10;
/// The most bytes of output gathered before they are handed on.
const TILE_BYTES: u64 = 4 << 20;
/// Bytes of the source read at a time while gathering.
const WINDOW_BYTES: usize = 256 << 10;

/// Reads tensors; its buffers are reused from one tensor to the next.
#[derive(Debug, Default)]
pub struct Gather {
    chunk: Vec<u8>,
    tile: Vec<u8>,
    window: Window,
}

/// One dimension of a tile, in bytes on both sides.
#[derive(Debug, Clone, Copy)]
struct Axis {
    size: u64,
    source_stride: u64,
    tile_stride: u64,
}

impl Gather {
    /// Hands the elements of `tensor`, whose storage is `region`, to `sink` in output order.
    ///
    /// # Errors
    /// When the source cannot be read, and those of `sink`.
    pub fn stream(&mut self, tensor: &Tensor, region: &Region, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if tensor.view.n_elements() == 0 {
            return Ok(());
        }
        self.window.forget();
        if tensor.view.is_contiguous() { self.stream_run(tensor, region, sink) } else { self.stream_tiles(tensor, region, sink) }
    }

    fn stream_run(&mut self, tensor: &Tensor, region: &Region, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.chunk.resize(CHUNK_BYTES, 0);
        let (mut at, mut left) = (tensor.view.offset(), tensor.output_bytes());
        while left > 0 {
            let len = left.min(CHUNK_BYTES as u64);
            let chunk = &mut self.chunk[..len as usize];
            region.read_at(at, chunk)?;
            transform(chunk, tensor.dtype, tensor.transform);
            sink(chunk)?;
            at += len;
            left -= len;
        }
        Ok(())
    }

    /// Cuts the output into runs of whole inner dimensions that fit a tile, and gathers one after the other.
    fn stream_tiles(&mut self, tensor: &Tensor, region: &Region, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let item = u64::from(tensor.view.item_bytes());
        let dims = tensor.view.coalesced();
        // `split` is the dimension that is cut; everything inside it fits a tile whole.
        let mut split = dims.len() - 1; // at least one dimension, or the view would be contiguous
        let mut inner_bytes = item;
        while split > 0 && inner_bytes * dims[split].0 <= TILE_BYTES {
            inner_bytes *= dims[split].0;
            split -= 1;
        }
        let rows_per_tile = (TILE_BYTES / inner_bytes).max(1);
        let outer = &dims[..split];
        let mut index = vec![0u64; split];
        loop {
            let outer_offset: u64 = index.iter().zip(outer).map(|(i, (_, stride))| i * stride).sum();
            let (rows, row_stride) = dims[split];
            let mut row = 0;
            while row < rows {
                let n = rows_per_tile.min(rows - row);
                let from = tensor.view.offset() + outer_offset + row * row_stride;
                let tile_bytes = (n * inner_bytes) as usize;
                self.tile.resize(tile_bytes.max(self.tile.len()), 0);
                let axes = axes(n, row_stride, &dims[split + 1..], inner_bytes);
                self.window.fill_tile(&mut self.tile[..tile_bytes], axes, from, item as usize, region)?;
                let tile = &mut self.tile[..tile_bytes];
                transform(tile, tensor.dtype, tensor.transform);
                for chunk in tile.chunks(CHUNK_BYTES) {
                    sink(chunk)?;
                }
                row += n;
            }
            if !advance(&mut index, outer.iter().map(|(size, _)| *size)) {
                return Ok(());
            }
        }
    }
}

/// The axes of a tile, in the order in which the source is best walked: ever smaller steps, the smallest (the run)
/// last; expanded axes, which stay on the same bytes, just before it.
fn axes(rows: u64, row_stride: u64, inner: &[(u64, u64)], inner_bytes: u64) -> Vec<Axis> {
    let mut tile_stride = inner_bytes;
    let mut axes = vec![Axis { size: rows, source_stride: row_stride, tile_stride }];
    for &(size, source_stride) in inner {
        tile_stride /= size;
        axes.push(Axis { size, source_stride, tile_stride });
    }
    let (mut moving, mut expanded): (Vec<Axis>, Vec<Axis>) = axes.into_iter().partition(|axis| axis.source_stride > 0);
    moving.sort_by_key(|axis| std::cmp::Reverse(axis.source_stride));
    // A run that does not fit the window is read in pieces; then each piece is put in all its places before the next.
    let fits = moving.last().is_some_and(|run| (run.size - 1).saturating_mul(run.source_stride) < WINDOW_BYTES as u64 / 2);
    let run = if fits || expanded.is_empty() { moving.pop() } else { expanded.pop() };
    moving.into_iter().chain(expanded).chain(run).collect()
}

/// The next index in row-major order; false after the last one.
fn advance(index: &mut [u64], sizes: impl DoubleEndedIterator<Item = u64> + ExactSizeIterator) -> bool {
    for (i, size) in index.iter_mut().zip(sizes).rev() {
        *i += 1;
        if *i < size {
            return true;
        }
        *i = 0;
    }
    false
}

/// A piece of the source in memory.
#[derive(Debug, Default)]
struct Window {
    buffer: Vec<u8>,
    start: u64,
    len: usize,
}

impl Window {
    fn forget(&mut self) {
        self.len = 0;
    }

    fn fill_tile(&mut self, tile: &mut [u8], mut axes: Vec<Axis>, from: u64, item: usize, region: &Region) -> Result<()> {
        let Some(run) = axes.pop() else { return Ok(()) };
        // A run longer than the window is walked in pieces.
        let steps_per_window = match run.source_stride {
            0 => run.size,
            stride => (WINDOW_BYTES as u64 - item as u64) / stride + 1,
        };
        let piece = run.size.min(steps_per_window);
        let piece_bytes = ((piece - 1) * run.source_stride) as usize + item;
        // Read ahead where what comes next is near enough that reading the gap is cheaper than another call.
        let next_run = axes.iter().map(|axis| axis.source_stride).filter(|&stride| stride > 0).min();
        let next_step = if piece < run.size { Some(piece * run.source_stride) } else { next_run };
        let wanted = if next_step.is_some_and(|step| step <= 8 * piece_bytes as u64) { WINDOW_BYTES } else { piece_bytes };

        let mut index = vec![0u64; axes.len()];
        loop {
            let (mut source, mut target) = (from, 0);
            for (i, axis) in index.iter().zip(&axes) {
                source += i * axis.source_stride;
                target += i * axis.tile_stride;
            }
            let mut done = 0;
            while done < run.size {
                let n = piece.min(run.size - done);
                let at = source + done * run.source_stride;
                let line = self.bytes(at, ((n - 1) * run.source_stride) as usize + item, wanted, region)?;
                let to = (target + done * run.tile_stride) as usize;
                scatter(line, run.source_stride as usize, &mut tile[to..], run.tile_stride as usize, n as usize, item);
                done += n;
            }
            if !advance(&mut index, axes.iter().map(|axis| axis.size)) {
                return Ok(());
            }
        }
    }

    /// `len` bytes of the source at `at`; reads up to `wanted` bytes when they are not in the window.
    fn bytes(&mut self, at: u64, len: usize, wanted: usize, region: &Region) -> Result<&[u8]> {
        let inside = at >= self.start && at + len as u64 <= self.start + self.len as u64;
        if !inside {
            let left = region.len().saturating_sub(at);
            let read = (wanted.max(len) as u64).min(left.max(len as u64)) as usize;
            self.buffer.resize(self.buffer.len().max(read), 0);
            self.len = 0;
            region.read_at(at, &mut self.buffer[..read])?;
            self.start = at;
            self.len = read;
        }
        let from = (at - self.start) as usize;
        Ok(&self.buffer[from..from + len])
    }
}

fn scatter(line: &[u8], step: usize, tile: &mut [u8], tile_step: usize, n: usize, item: usize) {
    if step == item && tile_step == item {
        return tile[..n * item].copy_from_slice(&line[..n * item]);
    }
    match item {
        1 => scatter_items::<1>(line, step, tile, tile_step, n),
        2 => scatter_items::<2>(line, step, tile, tile_step, n),
        4 => scatter_items::<4>(line, step, tile, tile_step, n),
        8 => scatter_items::<8>(line, step, tile, tile_step, n),
        16 => scatter_items::<16>(line, step, tile, tile_step, n),
        other => unreachable!("no row of the dtype table has items of {other} bytes"),
    }
}

fn scatter_items<const ITEM: usize>(line: &[u8], step: usize, tile: &mut [u8], tile_step: usize, n: usize) {
    for i in 0..n {
        tile[i * tile_step..][..ITEM].copy_from_slice(&line[i * step..][..ITEM]);
    }
}

/// Applies `what` to whole elements of `dtype`.
fn transform(elements: &mut [u8], dtype: Dtype, what: Transform) {
    let part_bytes = usize::from(dtype.item_bytes() / dtype.parts());
    if what.swap && part_bytes > 1 {
        elements.chunks_exact_mut(part_bytes).for_each(<[u8]>::reverse);
    }
    if what.neg || what.conj {
        let parts = usize::from(dtype.parts());
        for (i, part) in elements.chunks_exact_mut(part_bytes).enumerate() {
            let imaginary = parts == 2 && i % 2 == 1;
            if what.neg != (what.conj && imaginary) {
                part[part_bytes - 1] ^= 0x80;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ::bytes::Bytes;

    use super::*;
    use crate::place::Place;
    use crate::storage::StorageId;
    use crate::tensor::layout::{Declared, View};

    /// A small deterministic generator, so that a failure can be repeated.
    struct Random(u64);

    impl Random {
        fn below(&mut self, n: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.0 >> 33) % n
        }
    }

    fn naive(view: &View, storage: &[u8]) -> Vec<u8> {
        let item = usize::from(view.item_bytes());
        (0..view.n_elements())
            .flat_map(|mut n| {
                let mut at = view.offset();
                for (size, stride) in view.shape().iter().zip(view.strides()).rev() {
                    at += n % size * stride;
                    n /= size;
                }
                storage[at as usize..at as usize + item].to_vec()
            })
            .collect()
    }

    fn gathered(dtype: Dtype, view: View, storage: &[u8], transform: Transform) -> Vec<u8> {
        let tensor = Tensor { dtype, storage: StorageId(0), view, transform, place: Place::start_of("") };
        let mut out = Vec::new();
        let region = Region::memory(Bytes::copy_from_slice(storage));
        Gather::default()
            .stream(&tensor, &region, &mut |chunk| {
                out.extend_from_slice(chunk);
                Ok(())
            })
            .unwrap();
        out
    }

    #[test]
    fn gathering_equals_naive_indexing_for_any_view() {
        let mut random = Random(7);
        let dtypes = [Dtype::U8, Dtype::F16, Dtype::F32, Dtype::F64, Dtype::C128];
        for _ in 0..2000 {
            let dtype = dtypes[random.below(5) as usize];
            let rank = random.below(5) as usize;
            let shape: Vec<i64> = (0..rank).map(|_| random.below(7) as i64).collect();
            let strides: Vec<i64> = (0..rank).map(|_| random.below(40) as i64).collect();
            let offset = random.below(50) as i64;
            let storage: Vec<u8> = (0..4096 * 4).map(|_| random.below(256) as u8).collect();
            let view = View::new(
                &Declared { shape: &shape, strides: &strides, offset, step_bytes: dtype.item_bytes() },
                dtype.item_bytes(),
                storage.len() as u64,
                &Place::start_of(""),
            )
            .unwrap();
            assert_eq!(gathered(dtype, view.clone(), &storage, Transform::default()), naive(&view, &storage), "{view:?}");
        }
    }

    #[test]
    fn a_tensor_larger_than_tile_and_window_is_gathered_whole() {
        let (rows, columns) = (1500i64, 2100i64);
        let storage: Vec<u8> = (0..rows * columns * 4).map(|i| (i % 251) as u8).collect();
        for (shape, strides) in [([columns, rows], [1, columns]), ([rows, columns / 2], [columns, 2]), ([2, rows * columns], [0, 1])] {
            let view = View::new(
                &Declared { shape: &shape, strides: &strides, offset: 0, step_bytes: 4 },
                4,
                storage.len() as u64,
                &Place::start_of(""),
            )
            .unwrap();
            assert!(gathered(Dtype::F32, view.clone(), &storage, Transform::default()) == naive(&view, &storage), "{shape:?} {strides:?}");
        }
    }

    #[test]
    fn conjugation_and_negation_flip_signs_and_swap_reverses_each_part() {
        let one = |transform| {
            let storage: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
            let view = View::new(&Declared { shape: &[], strides: &[], offset: 0, step_bytes: 8 }, 8, 8, &Place::start_of("")).unwrap();
            let out = gathered(Dtype::C64, view, &storage, transform);
            [0, 4].map(|i| f32::from_le_bytes([out[i], out[i + 1], out[i + 2], out[i + 3]]))
        };
        let none = Transform::default();
        assert_eq!(one(Transform { conj: true, ..none }), [1.5, 2.0]);
        assert_eq!(one(Transform { neg: true, ..none }), [-1.5, 2.0]);
        assert_eq!(one(Transform { neg: true, conj: true, ..none }), [-1.5, -2.0]);
        assert_eq!(one(Transform { swap: true, ..none }), [1.5f32, -2.0].map(|v| f32::from_bits(v.to_bits().swap_bytes())));
    }
}
