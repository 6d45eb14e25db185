//! Shapes, strides and offsets: all arithmetic on numbers from the file is checked here, once, when a view is made.

use std::collections::HashSet;
use std::sync::Arc;

use crate::error::{self, Result};
use crate::place::Place;

/// The most dimensions a tensor may have; torch itself stops at 64.
const MAX_RANK: usize = 64;

/// Which elements of a storage make a tensor: shape, strides and offset, all known to lie inside the storage.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct View {
    layout: Arc<Layout>,
    /// Bytes from the start of the storage to the first element.
    offset: u64,
}

/// Sizes and strides. Thousands of tensors have the same.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Layout {
    shape: Box<[u64]>,
    /// Bytes from one element to the next along each dimension.
    strides: Box<[u64]>,
    item_bytes: u8,
}

/// Layouts that were met, each once.
#[derive(Debug, Default)]
pub(crate) struct Layouts(HashSet<Arc<Layout>>);

impl Layouts {
    /// The same view with a layout that others share, and the bytes that it takes when it is the first with it.
    pub fn share(&mut self, view: View) -> (View, u64) {
        match self.0.get(&view.layout) {
            Some(known) => (View { layout: Arc::clone(known), ..view }, 0),
            None => {
                self.0.insert(Arc::clone(&view.layout));
                let bytes = size_of::<Layout>() + 16 * view.layout.shape.len() + 64;
                (view, bytes as u64)
            }
        }
    }
}

/// Shape, strides and offset as the file gives them.
#[derive(Debug, Clone)]
pub struct Declared<'a> {
    pub shape: &'a [i64],
    pub strides: &'a [i64],
    pub offset: i64,
    /// Bytes that the strides and the offset count in: those of an element, for torch.
    pub step_bytes: u8,
}

impl View {
    /// A view of `item_bytes`-sized elements in a storage of `storage_bytes`.
    ///
    /// # Errors
    /// `tensor-invalid` when a number is negative or the sizes overflow; `tensor-out-of-bounds` when the view reaches
    /// beyond the storage. A tensor without elements touches no byte and is always inside.
    pub fn new(declared: &Declared<'_>, item_bytes: u8, storage_bytes: u64, place: &Place) -> Result<Self> {
        let Declared { shape, strides, offset, step_bytes } = declared;
        if shape.len() != strides.len() {
            return Err(error::tensor_invalid(place, format!("a tensor has {} sizes and {} strides", shape.len(), strides.len())));
        }
        if shape.len() > MAX_RANK {
            return Err(error::tensor_invalid(place, format!("a tensor has {} dimensions, at most {MAX_RANK} are possible", shape.len())));
        }
        let unsigned = |values: &[i64], what: &str| -> Result<Vec<u64>> {
            values
                .iter()
                .map(|&v| u64::try_from(v).map_err(|_| error::tensor_invalid(place, format!("a tensor has a negative {what}: {v}"))))
                .collect()
        };
        let shape = unsigned(shape, "size")?;
        let strides = unsigned(strides, "stride")?;
        let offset = unsigned(&[*offset], "storage offset")?[0];
        let too_big = || error::tensor_invalid(place, format!("a tensor of shape {shape:?} has more bytes than 64 bits count"));

        // In u128: a product of two u64 fits, and every partial product is cut back to u64 at once.
        let (item, step) = (u128::from(item_bytes), u128::from(*step_bytes));
        if shape.contains(&0) {
            // The readers of the output multiply the sizes in this order, and stop at an overflow before the zero.
            shape.iter().try_fold(1u64, |n, &size| n.checked_mul(size)).ok_or_else(too_big)?;
            let strides = vec![0; shape.len()];
            return Ok(View::with(shape, strides, 0, item_bytes));
        }
        let mut last = u128::from(offset) * step;
        for (&size, &stride) in shape.iter().zip(&strides) {
            let reach = u128::from(size - 1) * u128::from(stride);
            last = last.saturating_add(reach.saturating_mul(step));
        }
        let needed = last.saturating_add(item);
        if needed > u128::from(storage_bytes) {
            let view = format!("shape {shape:?}, strides {strides:?}, offset {offset}, {item_bytes} bytes each");
            let view = if *step_bytes == item_bytes { view } else { format!("{view}, strides and offset in bytes") };
            return Err(error::out_of_bounds(place, &view, needed, storage_bytes));
        }
        let mut n_bytes = item;
        for &size in &shape {
            n_bytes = Some(n_bytes * u128::from(size)).filter(|&n| n <= u128::from(u64::MAX)).ok_or_else(too_big)?;
        }
        // The stride of a dimension of one element is never used; it may be any number.
        let strides =
            shape.iter().zip(&strides).map(|(&size, &stride)| if size == 1 { 0 } else { stride * u64::from(*step_bytes) }).collect();
        Ok(View::with(shape, strides, offset * u64::from(*step_bytes), item_bytes))
    }

    fn with(shape: Vec<u64>, strides: Vec<u64>, offset: u64, item_bytes: u8) -> Self {
        View { layout: Arc::new(Layout { shape: shape.into(), strides: strides.into(), item_bytes }), offset }
    }

    /// The same view, in a storage of which this one is the part that starts at byte `base`.
    pub(crate) fn based_at(mut self, base: u64) -> Self {
        // Inside a storage that the file holds, so the sum is below its size.
        self.offset = self.offset.saturating_add(base);
        self
    }

    /// The sizes of the dimensions, outermost first.
    pub fn shape(&self) -> &[u64] {
        &self.layout.shape
    }

    /// The same as signed integers, which records of shapes have.
    pub(crate) fn signed_shape(&self) -> Vec<i64> {
        self.layout.shape.iter().map(|&size| i64::try_from(size).unwrap_or(i64::MAX)).collect()
    }

    /// Bytes from one element to the next along each dimension; 0 where it has one element or is expanded.
    pub fn strides(&self) -> &[u64] {
        &self.layout.strides
    }

    /// Bytes from the start of the storage to the first element.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes of one element.
    pub fn item_bytes(&self) -> u8 {
        self.layout.item_bytes
    }

    /// The number of elements.
    pub fn n_elements(&self) -> u64 {
        self.layout.shape.iter().product()
    }

    /// Whether the elements stand in the storage one after another in row-major order.
    pub fn is_contiguous(&self) -> bool {
        let dims = self.coalesced();
        match dims.as_slice() {
            [] => true,
            [(_, stride)] => *stride == u64::from(self.item_bytes()),
            _ => false,
        }
    }

    /// `(size, stride in bytes)` of the dimensions with more than one element, neighbours that form one run merged.
    /// Empty for a single element, and for a tensor without elements.
    pub fn coalesced(&self) -> Vec<(u64, u64)> {
        let mut dims: Vec<(u64, u64)> = Vec::with_capacity(self.layout.shape.len());
        if self.n_elements() == 0 {
            return dims;
        }
        for (&size, &stride) in self.layout.shape.iter().zip(&self.layout.strides).filter(|(size, _)| **size != 1) {
            match dims.last_mut() {
                Some((outer_size, outer_stride)) if *outer_stride == size * stride => {
                    *outer_size *= size;
                    *outer_stride = stride;
                }
                _ => dims.push((size, stride)),
            }
        }
        dims
    }

    /// The bytes of the storage from the first element's first to the last element's last; empty without elements.
    pub fn extent(&self) -> std::ops::Range<u64> {
        if self.n_elements() == 0 {
            return self.offset..self.offset;
        }
        let reach: u64 = self.layout.shape.iter().zip(&self.layout.strides).map(|(size, stride)| (size - 1) * stride).sum();
        self.offset..self.offset + reach + u64::from(self.item_bytes())
    }
}

/// Row-major strides, in elements, for a shape.
pub fn row_major(shape: &[i64]) -> Vec<i64> {
    let mut strides = vec![1i64; shape.len()];
    for d in (0..shape.len().saturating_sub(1)).rev() {
        strides[d] = strides[d + 1].saturating_mul(shape[d + 1].max(1));
    }
    strides
}

/// Column-major strides, in elements, for a shape.
pub fn column_major(shape: &[i64]) -> Vec<i64> {
    let mut strides = vec![1i64; shape.len()];
    for d in 1..shape.len() {
        strides[d] = strides[d - 1].saturating_mul(shape[d - 1].max(1));
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    fn view(shape: &[i64], strides: &[i64], offset: i64, storage_bytes: u64) -> Result<View> {
        View::new(&Declared { shape, strides, offset, step_bytes: 4 }, 4, storage_bytes, &Place::start_of(""))
    }

    #[test]
    fn a_view_must_lie_inside_its_storage_to_the_last_byte() {
        assert!(view(&[2, 3], &[3, 1], 0, 24).is_ok());
        assert!(view(&[2, 3], &[1, 2], 0, 24).is_ok());
        for (shape, strides, offset) in [
            (&[2, 3][..], &[3, 1][..], 1),
            (&[2, 4], &[3, 1], 0),
            (&[i64::MAX, 2], &[0, 1], 0),
            (&[2], &[i64::MAX], 0),
            (&[1], &[1], i64::MAX),
        ] {
            let code = view(shape, strides, offset, 24).map_err(|e| e.code());
            assert!(matches!(code, Err(Code::TensorOutOfBounds | Code::TensorInvalid)), "{shape:?} {strides:?} {offset}: {code:?}");
        }
    }

    #[test]
    fn a_negative_number_is_never_a_tensor() {
        for (shape, strides, offset) in [(&[-1][..], &[1][..], 0), (&[1], &[-1], 0), (&[1], &[1], -1), (&[0, -1], &[1, 1], 0)] {
            assert_eq!(view(shape, strides, offset, 24).unwrap_err().code(), Code::TensorInvalid);
        }
    }

    #[test]
    fn a_tensor_without_elements_touches_no_byte() {
        let empty = view(&[3, 0, i64::MAX], &[i64::MAX, 1, 1], i64::MAX, 0).unwrap();
        assert_eq!((empty.n_elements(), empty.extent(), empty.is_contiguous()), (0, 0..0, true));
    }

    #[test]
    fn contiguity_ignores_dimensions_of_one() {
        assert!(view(&[1, 6], &[999, 1], 0, 24).unwrap().is_contiguous());
        assert!(view(&[], &[], 5, 24).unwrap().is_contiguous());
        assert!(!view(&[2, 3], &[1, 2], 0, 24).unwrap().is_contiguous());
        assert!(!view(&[3], &[2], 0, 24).unwrap().is_contiguous());
        assert!(!view(&[6], &[0], 0, 24).unwrap().is_contiguous());
    }
}
