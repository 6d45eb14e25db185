//! What a graph costs: every byte is debited before it is taken.

use crate::error::Result;
use crate::limits::Limits;
use crate::pickle::arena::Gifts;
use crate::pickle::graph::GlobalUse;
use crate::pickle::node::GlobalId;

/// The memory that one pickle may take, and what it has taken.
pub(super) struct Budget<'a> {
    pub used: u64,
    pub limits: &'a Limits,
}

impl Budget<'_> {
    /// # Errors
    /// The limit on memory.
    pub fn debit(&mut self, bytes: usize) -> Result<()> {
        self.used = self.used.saturating_add(bytes as u64);
        self.limits.memory_bytes(self.used)
    }
}

/// A node and the offset of its opcode.
pub(super) const NODE_BYTES: usize = 16;
/// What an object costs beyond its node: a row of what is known of it, and the time in which it is judged, which memory stands for here.
pub(super) const OBJECT_BYTES: usize = 112;
/// A slot of a hash map at its usual load.
pub(super) const MEMO_BYTES: usize = 16;
pub(super) const CHANGE_BYTES: usize = 32;
/// An allocation of its own, the vector, and where it stands.
pub(super) const VEC_BYTES: usize = 56;
/// The only state of an object.
pub(super) const STATE_BYTES: usize = 16;
/// What else it is given, without the items.
pub(super) const GIFTS_BYTES: usize = size_of::<Gifts>() + 48;
/// A row of the table of globals and one of those by their names, both with room to grow, the allocations of four texts, and a row of
/// the record.
pub(super) const GLOBAL_BYTES: usize = 2 * (size_of::<GlobalUse>() + size_of::<((String, String), GlobalId)>()) + 4 * 16 + 256;
