//! From stored bytes to a tensor's elements in row-major, little-endian order, chunk by chunk.
//!
//! Memory is bounded whatever the tensor: contiguous data is read to where it goes, strided data through one tile of the output
//! and one window of the source. Where neighbours in the output are far apart in the source, as in a transposed matrix, the source
//! is read through its mapping, a block of lines at a time. The verifier does not use this file (see `verify`).

use crate::error::Result;
use crate::source::Region;
use crate::tensor::{Dtype, Tensor, Transform};

/// The bytes of output that are gathered in one go.
const TILE_BYTES: u64 = 512 << 10;
/// The same where more are needed for [`LINE_USE_BYTES`].
const MOST_TILE_BYTES: u64 = 8 << 20;
/// Bytes of the source that should lie together in what a tile takes of it.
const LINE_USE_BYTES: u64 = 128;
/// Bytes of the source read at a time while gathering.
const WINDOW_BYTES: usize = 256 << 10;

/// Lines that are turned at a time, and elements of each.
const BLOCK: usize = 32;
/// The most bytes of a line.
const LINE_BYTES: usize = 2 << 10;
/// From one line to the next: with a gap, so that equal places of all lines do not share a place in the cache.
const LINE_STEP: usize = LINE_BYTES + 64;
/// A run that is shorter is not worth a line.
const SHORT_RUN_BYTES: u64 = 64;

/// Reads tensors; its buffers are reused from one tensor to the next.
#[derive(Debug, Default)]
pub struct Gather {
    window: Window,
}

/// One dimension of a tile, in bytes on both sides.
#[derive(Debug, Clone, Copy)]
struct Axis {
    size: u64,
    source_stride: u64,
    tile_stride: u64,
}

impl Axis {
    /// Bytes of the source from the first element to the last.
    fn reach(&self) -> usize {
        ((self.size - 1) * self.source_stride) as usize
    }
}

impl Gather {
    /// Bytes of the output of `tensor` from `inside` on that are gathered in one go; `None` where any run of elements can be.
    pub fn unit(tensor: &Tensor, inside: u64) -> Option<u64> {
        Some(Tiling::of(tensor)?.tile_bytes(inside))
    }

    /// Puts the elements of `tensor`, whose storage is `region`, into `out`: those from byte `inside` of the output on, which is
    /// the start of a unit, or of an element where there are none.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn fill(&mut self, tensor: &Tensor, region: &Region, inside: u64, out: &mut [u8]) -> Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        match Tiling::of(tensor) {
            None => region.read_at(tensor.view.offset() + inside, out)?,
            Some(tiling) => {
                self.window.forget();
                let (axes, from) = tiling.tile(inside, out.len() as u64);
                self.window.fill_tile(out, axes, tensor.view.offset() + from, usize::from(tensor.view.item_bytes()), region)?;
            }
        }
        transform(out, tensor.dtype, tensor.transform);
        Ok(())
    }
}

/// How the output of a strided tensor is cut into runs of whole inner dimensions.
struct Tiling {
    /// Size and stride of the dimensions.
    dims: Vec<(u64, u64)>,
    /// The dimension that is cut; everything inside it fits a tile whole.
    split: usize,
    /// Bytes of the output that one step along it covers.
    inner_bytes: u64,
    /// The most steps along it in a tile.
    rows_per_tile: u64,
}

impl Tiling {
    /// `None` for a tensor whose elements are one run.
    fn of(tensor: &Tensor) -> Option<Tiling> {
        let item = u64::from(tensor.view.item_bytes());
        let dims = tensor.view.coalesced();
        if dims.is_empty() || (dims.len() == 1 && dims[0].1 == item) {
            return None;
        }
        let most = Self::tile_limit(&dims, item);
        let (mut split, mut inner_bytes) = (dims.len() - 1, item);
        while split > 0 && inner_bytes * dims[split].0 <= most {
            inner_bytes *= dims[split].0;
            split -= 1;
        }
        Some(Tiling { rows_per_tile: (most / inner_bytes).max(1), dims, split, inner_bytes })
    }

    /// The most bytes of a tile: few, so that it stays in cache, but as many as make good use of each line of the source.
    fn tile_limit(dims: &[(u64, u64)], item: u64) -> u64 {
        let moving = dims.iter().enumerate().filter(|(_, (_, stride))| *stride > 0);
        let Some((run, _)) = moving.min_by_key(|(_, (_, stride))| *stride) else { return TILE_BYTES };
        let row_bytes = dims[run + 1..].iter().fold(item, |bytes, (size, _)| bytes.saturating_mul(*size));
        row_bytes.saturating_mul(LINE_USE_BYTES / item).clamp(TILE_BYTES, MOST_TILE_BYTES)
    }

    /// Bytes of the tile that starts at `inside`.
    fn tile_bytes(&self, inside: u64) -> u64 {
        let row = inside / self.inner_bytes % self.dims[self.split].0;
        let rows = self.rows_per_tile.min(self.dims[self.split].0 - row);
        rows * self.inner_bytes
    }

    /// The axes of the `bytes` of output at `inside`, and where their first element is.
    fn tile(&self, inside: u64, bytes: u64) -> (Vec<Axis>, u64) {
        let mut row = inside / self.inner_bytes;
        let mut from = 0;
        for (size, stride) in self.dims[..=self.split].iter().rev() {
            from += row % size * stride;
            row /= size;
        }
        let (_, row_stride) = self.dims[self.split];
        (axes(bytes / self.inner_bytes, row_stride, &self.dims[self.split + 1..], self.inner_bytes), from)
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
    /// The lines of a block, when elements are turned.
    lines: Vec<u8>,
}

impl Window {
    fn forget(&mut self) {
        self.len = 0;
    }

    /// Copies the elements along `axes`, of which the first is at `from` in the source, to their places in `tile`.
    fn fill_tile(&mut self, tile: &mut [u8], mut axes: Vec<Axis>, from: u64, item: usize, region: &Region) -> Result<()> {
        let Some(run) = axes.pop() else { return Ok(()) };
        // Where neighbours in the output are far apart in the source, lines are read and turned many at a time.
        let across = axes.iter().position(|axis| axis.tile_stride == item as u64 && axis.source_stride > 0);
        let (run, across) = match across.map(|i| axes.remove(i)) {
            // Runs of a few elements close to one another are better walked the other way.
            Some(across) if run.size * (item as u64) < SHORT_RUN_BYTES && across.source_stride < 8 * SHORT_RUN_BYTES => {
                axes.push(run);
                (across, None)
            }
            across => (run, across),
        };
        // A run longer than the window, or than a line, is walked in pieces.
        let most_bytes = if across.is_some() { LINE_BYTES } else { WINDOW_BYTES };
        let steps = match run.source_stride {
            0 => run.size,
            stride => (WINDOW_BYTES as u64 - item as u64) / stride + 1,
        };
        let piece = run.size.min(steps).min((most_bytes / item) as u64);
        let piece_bytes = ((piece - 1) * run.source_stride) as usize + item;
        // Read ahead where what comes next is near enough that reading the gap is cheaper than another call.
        let next_run = axes.iter().map(|axis| axis.source_stride).filter(|&stride| stride > 0).min();
        let next_step = if piece < run.size { Some(piece * run.source_stride) } else { next_run };
        let wanted = if next_step.is_some_and(|step| step <= 8 * piece_bytes as u64) { WINDOW_BYTES } else { piece_bytes };

        // Lines are short and far from one another: a call for each would cost more than its bytes.
        let across = across.map(|across| region.bytes().map(|bytes| (across, bytes))).transpose()?;
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
                let to = (target + done * run.tile_stride) as usize;
                let run = Axis { size: n, ..run };
                match &across {
                    None => {
                        let line = self.bytes(at, run.reach() + item, wanted, region)?;
                        scatter(line, run.source_stride as usize, &mut tile[to..], run.tile_stride as usize, n as usize, item);
                    }
                    Some((across, source)) => self.turn(&source[at as usize..], run, *across, &mut tile[to..], item),
                }
                done += n;
            }
            if !advance(&mut index, axes.iter().map(|axis| axis.size)) {
                return Ok(());
            }
        }
    }

    /// Copies a rectangle: as many lines of `run` as make a block, and then element after element of all of them side by side.
    fn turn(&mut self, source: &[u8], run: Axis, across: Axis, tile: &mut [u8], item: usize) {
        self.lines.resize(BLOCK * LINE_STEP, 0);
        let mut first = 0;
        while first < across.size {
            let n_lines = (across.size - first).min(BLOCK as u64);
            for (line, i) in self.lines.chunks_exact_mut(LINE_STEP).zip(first..first + n_lines) {
                let stored = &source[(i * across.source_stride) as usize..][..run.reach() + item];
                scatter(stored, run.source_stride as usize, line, item, run.size as usize, item);
            }
            let tile = &mut tile[first as usize * item..];
            let (n_lines, n, step) = (n_lines as usize, run.size as usize, run.tile_stride as usize);
            match item {
                1 => turn_lines::<1>(&self.lines, n_lines, n, tile, step),
                2 => turn_lines::<2>(&self.lines, n_lines, n, tile, step),
                4 => turn_lines::<4>(&self.lines, n_lines, n, tile, step),
                8 => turn_lines::<8>(&self.lines, n_lines, n, tile, step),
                16 => turn_lines::<16>(&self.lines, n_lines, n, tile, step),
                other => unreachable!("no row of the dtype table has items of {other} bytes"),
            }
            first += n_lines as u64;
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

/// Writes the elements number 0 of all lines side by side, a step further those number 1, and so on.
fn turn_lines<const ITEM: usize>(lines: &[u8], n_lines: usize, n: usize, tile: &mut [u8], step: usize) {
    let line = |i: usize| lines[i * LINE_STEP..][..n * ITEM].as_chunks::<ITEM>().0;
    let mut first = 0;
    if n_lines == BLOCK {
        let lines: [&[[u8; ITEM]]; BLOCK] = std::array::from_fn(line);
        while n - first >= BLOCK {
            // Of a length that is known, nothing is checked element by element.
            let block: [&[[u8; ITEM]; BLOCK]; BLOCK] = std::array::from_fn(|i| match lines[i][first..].first_chunk() {
                Some(elements) => elements,
                None => unreachable!("as many elements are left"),
            });
            for k in 0..BLOCK {
                if let Some(out) = tile[(first + k) * step..].as_chunks_mut().0.first_chunk_mut::<BLOCK>() {
                    for (out, elements) in out.iter_mut().zip(&block) {
                        *out = elements[k];
                    }
                }
            }
            first += BLOCK;
        }
    }
    for k in first..n {
        for (i, out) in tile[k * step..][..n_lines * ITEM].as_chunks_mut::<ITEM>().0.iter_mut().enumerate() {
            *out = line(i)[k];
        }
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
    use crate::tensor::testing::{Random, elements};

    fn naive(view: &View, storage: &[u8]) -> Vec<u8> {
        elements(view, storage).flatten().copied().collect()
    }

    fn gathered(dtype: Dtype, view: View, storage: &[u8], transform: Transform) -> Vec<u8> {
        let tensor = Tensor { dtype, storage: StorageId(0), view, transform, place: Place::start_of("") };
        let region = Region::memory(Bytes::copy_from_slice(storage));
        let mut gather = Gather::default();
        let mut out = vec![0; tensor.output_bytes() as usize];
        let mut at = 0;
        while at < out.len() {
            let unit = Gather::unit(&tensor, at as u64).unwrap_or(48).min((out.len() - at) as u64) as usize;
            gather.fill(&tensor, &region, at as u64, &mut out[at..at + unit]).unwrap();
            at += unit;
        }
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
    fn permuted_tensors_of_any_element_size_are_gathered_in_blocks() {
        let mut random = Random(3);
        let dtypes = [Dtype::U8, Dtype::BF16, Dtype::F32, Dtype::F64, Dtype::C128];
        for n in 0..60 {
            let dtype = dtypes[n % 5];
            let sizes = [1, 2, 3, 31, 32, 33, 70, 150];
            let mut dims: Vec<(i64, i64)> = (0..3).map(|_| (sizes[random.below(8) as usize], 0)).collect();
            // Row-major with a gap behind each row, and then in another order.
            let mut stride = 1 + random.below(2) as i64;
            for (size, own) in dims.iter_mut().rev() {
                *own = stride;
                stride = stride * *size + random.below(3) as i64;
            }
            dims.rotate_left(n % 3);
            if n % 2 == 0 {
                dims.swap(0, 1);
            }
            let (shape, strides): (Vec<i64>, Vec<i64>) = dims.into_iter().unzip();
            let storage: Vec<u8> = (0..stride as u64 * u64::from(dtype.item_bytes())).map(|_| random.below(256) as u8).collect();
            let declared = Declared { shape: &shape, strides: &strides, offset: 0, step_bytes: dtype.item_bytes() };
            let view = View::new(&declared, dtype.item_bytes(), storage.len() as u64, &Place::start_of("")).unwrap();
            assert!(gathered(dtype, view.clone(), &storage, Transform::default()) == naive(&view, &storage), "{view:?}");
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
