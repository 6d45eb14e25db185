//! Independent read-back. Right after writing, an output is opened again by the `safetensors` crate and compared, bit
//! for bit, with its source; at any later time it is compared with its manifest.
//!
//! `Verified` can only be made in this folder, and an output becomes visible and a manifest is sealed only with one.

mod against_manifest;
mod against_source;
mod elements;
mod header;
mod listing;
mod record;

pub use against_manifest::{Report, Sources, check_manifest, check_manifest_of};
pub(crate) use against_source::ReadBack;
pub(crate) use listing::{Listing, listing};

use crate::writer::Written;

/// Proof that an output was compared with its source and is the same.
#[derive(Debug)]
pub(crate) struct Verified {
    written: Written,
}

impl Verified {
    fn new(written: Written) -> Self {
        Verified { written }
    }

    /// The digests of what was verified.
    pub(crate) fn written(&self) -> &Written {
        &self.written
    }
}
