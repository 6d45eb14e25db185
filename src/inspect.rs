//! What a checkpoint holds and what converting it would write, without writing anything.

use std::path::Path;

use crate::convert::{self, ConvertOptions, Prepared};
use crate::error::Result;
use crate::output;

/// Reads `input` and plans its conversion to the default output.
///
/// Only the directory and the pickles are read, not the tensors.
///
/// # Errors
/// As [`convert::prepare`].
pub fn inspect(input: &Path, options: &ConvertOptions) -> Result<Prepared> {
    convert::prepare(input, &output::default_output(input), options)
}
