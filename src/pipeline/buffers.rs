//! Buffers for chunks, kept from one run to the next: the pages of new ones cost as much as a digest of what is in them, and a store may
//! have thousands of small files.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use super::CHUNK_BYTES;

/// Buffers that are kept, all of the size of a chunk.
static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// The most that are kept, together 8 MiB.
const MOST: usize = 32;

/// Bytes to work with; what is in them at first is anything.
#[derive(Debug, Default)]
pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    /// Makes it at least `bytes` long; what was in it may be lost.
    pub fn make(&mut self, bytes: usize) -> &mut [u8] {
        if self.0.len() < bytes {
            let kept = if bytes <= CHUNK_BYTES { KEPT.lock().unwrap_or_else(PoisonError::into_inner).pop() } else { None };
            // Pages of zeros from the system cost less than writing zeros.
            *self = Buffer(kept.unwrap_or_else(|| vec![0; bytes]));
        }
        &mut self.0[..bytes]
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.0.len() == CHUNK_BYTES {
            let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() < MOST {
                kept.push(std::mem::take(&mut self.0));
            }
        }
    }
}
