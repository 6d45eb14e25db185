//! Room for the rows of a large input, set aside at once.

/// A block from which on an allocator asks the system for pages of its own, and gives them back when it is freed. glibc keeps smaller
/// ones, once it has had such a block, and leaves holes between them.
const OWN_PAGES_BYTES: usize = 33 << 20;

/// Blocks below this are left to the allocator.
const LARGE_BYTES: usize = 1 << 20;

/// Sets room aside for `n` more, as far as there is some. What is not used of it is never touched, and takes no memory.
pub(crate) fn reserve<T>(rows: &mut Vec<T>, n: usize) {
    let bytes = n.saturating_mul(size_of::<T>());
    let n = if bytes < LARGE_BYTES { n } else { n.max(OWN_PAGES_BYTES / size_of::<T>().max(1)) };
    // Without it, the vector grows.
    let _ = rows.try_reserve_exact(n);
}

/// `n` times `value`.
pub(crate) fn filled<T: Clone>(value: T, n: usize) -> Vec<T> {
    let mut rows = Vec::new();
    reserve(&mut rows, n);
    rows.resize(n, value);
    rows
}
