//! Reads Python pickle checkpoints without executing anything, extracts the tensors, and writes verified safetensors.

pub mod checkpoint;
pub mod container;
pub mod convert;
mod coverage;
mod describe;
pub mod digest;
pub mod error;
mod extras;
pub mod globals;
pub mod inspect;
pub mod ledger;
pub mod limits;
pub mod names;
pub mod output;
pub mod pickle;
pub mod place;
pub mod plan;
pub mod progress;
pub mod report;
pub mod rules;
pub mod select;
pub mod source;
mod spool;
pub mod storage;
pub mod tensor;
pub mod text;
pub mod verify;
pub mod writer;

pub use convert::{ConvertOptions, Converted};
pub use error::{Error, Result};
pub use limits::{Limits, ReadOptions};
pub use place::Place;
