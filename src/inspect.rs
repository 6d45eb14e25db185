//! What a checkpoint holds and what converting it would write, without writing anything.

use std::path::Path;

use crate::convert::{self, ConvertOptions, Prepared};
use crate::error::Result;
use crate::filenames;
use crate::index::ShardIndex;
use crate::input::Input;
use crate::select::Purpose;

/// Reads `input`, or all files of a set when that is its index, and plans its conversion to the default output.
///
/// Only the directory and the pickles are read, not the tensors.
///
/// # Errors
/// Whatever is wrong with the input. Findings, unsupported tensors and the lack of tensors are no errors here.
pub fn inspect(input: &Path, options: &ConvertOptions) -> Result<Prepared> {
    let output = filenames::default_output(input);
    let input = match filenames::is_index(input) {
        true => Input::of_set(ShardIndex::read(input, &options.read.limits)?, &options.read, None)?,
        false => Input::open(input, &options.read, None)?,
    };
    convert::plan(input.read(), &output, options, Purpose::Inspect)
}
