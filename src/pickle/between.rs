//! Streams with other bytes between their opcodes: who knows them is asked where they may stand.

use crate::error::Result;
use crate::pickle::graph::Graph;
use crate::pickle::node::NodeId;

/// What stands between the opcodes of some streams.
pub trait Between {
    /// Asked after each `BUILD`, with the object and the offset behind the opcode, for what stands there when it is no opcode.
    ///
    /// # Errors
    /// Whatever is wrong with those bytes.
    fn after_build(&mut self, graph: &Graph, object: NodeId, at: u64) -> Result<Option<Skip>>;

    /// Asked when a value is put on the stack again, by the memo or by `DUP`.
    ///
    /// # Errors
    /// When that must not be.
    fn reused(&self, graph: &Graph, value: NodeId) -> Result<()>;
}

/// Bytes between the opcodes.
#[derive(Debug, Clone, Copy)]
pub struct Skip {
    /// The offset at which the opcodes go on.
    pub to: u64,
    /// Memory that what was read there took, in bytes.
    pub memory: u64,
}

/// Only opcodes.
pub(super) struct Nothing;

impl Between for Nothing {
    fn after_build(&mut self, _graph: &Graph, _object: NodeId, _at: u64) -> Result<Option<Skip>> {
        Ok(None)
    }

    fn reused(&self, _graph: &Graph, _value: NodeId) -> Result<()> {
        Ok(())
    }
}
