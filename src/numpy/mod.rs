//! How numpy describes arrays: dtypes in all their spellings, and the header of `.npy` files.
//!
//! Nothing here reads data. What an array of such a dtype becomes is decided in `globals/array.rs`.

mod dtype;
mod literal;
mod npy;
mod pickled;

pub use dtype::{Field, NumpyDtype};
pub(crate) use npy::{MAGIC, NpyHeader};
pub(crate) use pickled::is_fortran;

use crate::place::Place;
use crate::storage::Content;

/// An array as its container describes it: the data stands in one piece, in one of numpy's two orders.
#[derive(Debug, Clone)]
pub struct RawArray {
    /// What an element is.
    pub dtype: NumpyDtype,
    /// The sizes of the dimensions, as the file gives them.
    pub shape: Vec<i64>,
    /// Column-major (Fortran) order; else row-major.
    pub fortran: bool,
    /// What the bytes are part of, and how long that is.
    pub content: Content,
    pub content_bytes: u64,
    /// Bytes of it before the data.
    pub offset: u64,
    /// Bytes of data.
    pub len: u64,
    /// Where the content starts in the input.
    pub place: Place,
}
