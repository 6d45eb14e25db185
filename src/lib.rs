//! Reads Python pickle checkpoints without executing anything, extracts only the tensors, and writes verified
//! [safetensors](https://github.com/huggingface/safetensors) files with a manifest of every hash.
//!
//! A pickle is a program: loading one runs whatever its author put in. This crate never runs it. It decodes the opcodes,
//! builds a graph of inert nodes in which a call is only the record that something was to be called, and understands a
//! closed set of calls that make tensors. The result is exact or an error; nothing is dropped in silence.
//!
//! # A conversion
//!
//! ```
//! use std::path::Path;
//! use depickle::{ConvertOptions, convert};
//!
//! # fn main() -> depickle::Result<()> {
//! let folder = tempfile::tempdir().expect("a folder for the output");
//! let input = Path::new("testdata/torch-zip/2.15.0/training.pt");
//! let output = &folder.path().join("model.safetensors");
//!
//! let options = ConvertOptions::default();
//! let prepared = convert::prepare(input, output, &options)?; // reads and plans, writes nothing
//! assert_eq!(prepared.ledger.root, "state_dict");
//! assert_eq!(prepared.ledger.tensors.len(), 8);
//!
//! let converted = prepared.write(output, &options, &())?; // writes, reads back, compares, renames
//! assert!(converted.ledger().tensors.iter().all(|tensor| tensor.sha256.is_some()));
//! # Ok(())
//! # }
//! ```
//!
//! # The way of the bytes
//!
//! Each step knows only those before it; `ARCHITECTURE.md` has the map.
//!
//! 1. A file is opened and recognised by its content; the container finds the pickle and the storages.
//! 2. [`pickle`] decodes and runs the stream symbolically into a [`pickle::Graph`]. It knows nothing of torch.
//! 3. [`rules`] judge the calls and make [`finding`]s; [`convert::prepare`] refuses a file that would run code.
//! 4. The table of meanings turns known calls into tensors: a dtype and a checked view of a storage.
//! 5. [`select`] chooses what is written and under which names; what is left out is listed with the reason.
//! 6. The plan fixes every byte of the header; the writer streams the data and computes all digests on the way.
//! 7. [`verify`] reads the file back and compares it with the source through a second path; only then is it renamed
//!    into place, beside its manifest, a sealed [`ledger::Ledger`].
//!
//! [`inspect`] is steps 1 to 5. Errors are [`Error`]s with a stable [`error::Code`], a place and advice.

pub mod batch;
mod checkpoint;
mod container;
pub mod convert;
mod coverage;
mod describe;
mod digest;
pub mod error;
mod extras;
pub mod filenames;
pub mod finding;
mod globals;
pub mod index;
pub mod input;
pub mod inspect;
pub mod jobs;
pub mod ledger;
pub mod limits;
pub mod manifest;
#[doc(hidden)]
pub mod measured;
mod names;
mod numpy;
mod output;
pub mod pickle;
mod pipeline;
pub mod place;
mod plan;
pub mod progress;
pub mod report;
mod room;
pub mod rules;
pub mod scan;
mod scratch;
pub mod select;
pub mod set;
mod source;
mod split;
mod spool;
mod storage;
pub mod store;
mod temporary;
mod tensor;
pub mod text;
pub mod verify;
mod writer;

pub use convert::{ConvertOptions, Converted};
pub use error::{Error, Result};
pub use limits::{Limits, ReadOptions};
pub use place::Place;
