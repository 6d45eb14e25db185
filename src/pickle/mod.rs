//! The pickle machine: bytes to opcodes to a graph of inert nodes. It knows nothing of torch or numpy.
//!
//! Nothing here resolves a global, calls anything, or follows a persistent id: `GLOBAL` makes a node that is a name,
//! `REDUCE` a node that says what was to be called with what. The format is defined by CPython's `pickletools.py`
//! and, where that is silent, by `_pickle.c`, whose behaviour is the reference for every stack and mark rule below.
//! This folder imports only `place`, `error`, `limits`, `text` and `room`.

mod arena;
mod between;
mod broken;
mod budget;
mod decode;
mod graph;
mod hashable;
mod join;
mod machine;
mod memo;
mod mentions;
mod node;
mod oddity;
mod opcode;
mod recent_ints;
mod stack;
mod text;

pub use between::{Between, Skip};
pub use broken::{Breaks, Broken};
pub use decode::{Decoder, Op};
pub use graph::{GlobalUse, Graph, Stream, Text};
pub use machine::{run, run_with};
pub use node::{Blob, GlobalId, Node, NodeId, Object, Origin};
pub use oddity::{Mention, Oddity, OddityKind};
pub use opcode::name as opcode_name;
