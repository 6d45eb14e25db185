//! The memo of a pickle: values by the numbers that the stream gives them. Picklers count up from 0; a hostile stream may take
//! any number, and that costs one entry.

use std::collections::HashMap;

use crate::pickle::arena::{MANY, MAX_RESERVED_BYTES};
use crate::pickle::node::NodeId;
use crate::room::reserve;

/// The values that a stream may refer to again.
#[derive(Default)]
pub(super) struct Memo {
    /// Those of the numbers from 0 on, without a gap.
    dense: Vec<NodeId>,
    /// The others.
    sparse: HashMap<u32, NodeId>,
    stream_bytes: usize,
}

impl Memo {
    /// A memo for a stream.
    pub fn for_stream(bytes: usize) -> Self {
        Memo { stream_bytes: bytes.min(MAX_RESERVED_BYTES), ..Memo::default() }
    }

    pub fn get(&self, index: u32) -> Option<NodeId> {
        self.dense.get(index as usize).or_else(|| self.sparse.get(&index)).copied()
    }

    /// Sets an entry; true when there was none.
    pub fn set(&mut self, index: u32, value: NodeId) -> bool {
        if let Some(known) = self.dense.get_mut(index as usize) {
            *known = value;
            return false;
        }
        if index as usize != self.dense.len() {
            return self.sparse.insert(index, value).is_none();
        }
        if self.dense.len() == MANY {
            reserve(&mut self.dense, self.stream_bytes / 8);
        }
        self.dense.push(value);
        // It may have been set before those that are below it.
        self.sparse.is_empty() || self.sparse.remove(&index).is_none()
    }

    /// The number of entries that are set.
    pub fn len(&self) -> usize {
        self.dense.len() + self.sparse.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_in_whatever_order_they_are_set() {
        let mut memo = Memo::default();
        for (index, new, len) in [(1, true, 1), (u32::MAX, true, 2), (0, true, 3), (1, false, 3), (2, true, 4), (1, false, 4)] {
            assert_eq!((memo.set(index, NodeId(index)), memo.len()), (new, len), "{index}");
        }
        assert_eq!((memo.get(1), memo.get(u32::MAX), memo.get(3)), (Some(NodeId(1)), Some(NodeId(u32::MAX)), None));
    }
}
