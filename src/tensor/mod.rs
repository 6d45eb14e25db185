//! What a tensor is once the pickle has been understood: a dtype and a checked view of a storage.

pub mod dtype;
pub mod gather;
pub mod layout;
#[cfg(test)]
pub(crate) mod testing;

pub use dtype::Dtype;
pub use layout::View;

use crate::place::Place;
use crate::storage::StorageId;

/// A tensor with data: which bytes, how they are laid out, and what is done to each element on the way out.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// The dtype in the input.
    pub dtype: Dtype,
    /// The storage that holds the elements.
    pub storage: StorageId,
    /// Which elements, in which order. Its extent lies inside the storage.
    pub view: View,
    /// Elementwise changes that turn stored bytes into values.
    pub transform: Transform,
    /// The opcode that rebuilds the tensor.
    pub place: Place,
}

/// What happens to each element between storage and output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Transform {
    /// The storage is big-endian: reverse the bytes of each part.
    pub swap: bool,
    /// torch's lazy conjugation: flip the sign of the imaginary part.
    pub conj: bool,
    /// torch's lazy negation: flip the sign of each part.
    pub neg: bool,
}

impl Tensor {
    /// The shape in the output: complex pairs get a trailing dimension of 2, packed float4 doubles its last one.
    pub fn output_shape(&self) -> Vec<u64> {
        self.dtype.output_shape(self.view.shape())
    }

    /// Bytes in the output: elements times the size of one.
    pub fn output_bytes(&self) -> u64 {
        // `View::new` checked that this product fits.
        self.view.n_elements() * u64::from(self.dtype.item_bytes())
    }

    /// What makes two tensors the same view.
    pub(crate) fn identity(&self) -> (StorageId, Dtype, &View, Transform) {
        (self.storage, self.dtype, &self.view, self.transform)
    }
}
