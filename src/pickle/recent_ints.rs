//! Integers that a stream had before. They are equal whoever made them, and the sizes of tensors repeat: one node stands for each of
//! the recent ones.

use crate::pickle::node::NodeId;

/// A power of two: an integer replaces another one that ends in the same bits.
const SLOTS: usize = 256;

pub(super) struct RecentInts([Option<(i64, NodeId)>; SLOTS]);

impl Default for RecentInts {
    fn default() -> Self {
        RecentInts([None; SLOTS])
    }
}

impl RecentInts {
    pub fn get(&self, value: i64) -> Option<NodeId> {
        self.0[slot(value)].filter(|(known, _)| *known == value).map(|(_, id)| id)
    }

    pub fn set(&mut self, value: i64, id: NodeId) {
        self.0[slot(value)] = Some((value, id));
    }
}

fn slot(value: i64) -> usize {
    value as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_is_found_until_another_takes_its_slot() {
        let mut ints = RecentInts::default();
        ints.set(-1, NodeId(1));
        ints.set(7, NodeId(2));
        assert_eq!((ints.get(-1), ints.get(7), ints.get(263)), (Some(NodeId(1)), Some(NodeId(2)), None));
        ints.set(263, NodeId(3));
        assert_eq!((ints.get(7), ints.get(263)), (None, Some(NodeId(3))));
    }
}
