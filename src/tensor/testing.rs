//! What the tests of the gather and of its verification have in common: what they are compared with is the definition of strides.

use crate::tensor::layout::View;

/// A small deterministic generator, so that a failure can be repeated.
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

/// The bytes of each element of a view, in its order.
pub(crate) fn elements<'a>(view: &'a View, storage: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let item = usize::from(view.item_bytes());
    (0..view.n_elements()).map(move |mut n| {
        let mut at = view.offset();
        for (size, stride) in view.shape().iter().zip(view.strides()).rev() {
            at += n % size * stride;
            n /= size;
        }
        &storage[at as usize..at as usize + item]
    })
}
