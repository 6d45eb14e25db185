//! The stack of the pickle machine. Marks are a stack of their own, so that no value can forge one; values below the topmost mark are
//! out of reach, as in C.

use crate::error::Result;
use crate::pickle::machine::malformed;
use crate::pickle::node::NodeId;

#[derive(Default)]
pub(super) struct Stack {
    values: Vec<NodeId>,
    /// Heights of the stack.
    marks: Vec<usize>,
}

impl Stack {
    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn push(&mut self, id: NodeId) {
        self.values.push(id);
    }

    pub fn push_mark(&mut self) {
        self.marks.push(self.values.len());
    }

    /// The topmost value, whatever marks there are.
    pub fn last(&self) -> Option<NodeId> {
        self.values.last().copied()
    }

    /// # Errors
    /// `pickle-malformed`, for all of these, when the stack does not hold what `opcode` takes.
    pub fn pop(&mut self, opcode: &str) -> Result<NodeId> {
        let top = self.top(opcode)?;
        self.values.pop();
        Ok(top)
    }

    pub fn pop_n(&mut self, n: usize, opcode: &str) -> Result<Vec<NodeId>> {
        match self.values.len().checked_sub(n) {
            Some(from) if from >= self.fence() => Ok(self.values.split_off(from)),
            _ => Err(underflow(opcode)),
        }
    }

    pub fn top(&self, opcode: &str) -> Result<NodeId> {
        self.last().filter(|_| self.values.len() > self.fence()).ok_or_else(|| underflow(opcode))
    }

    /// The values above the topmost mark, which is taken too.
    pub fn above_mark(&mut self, opcode: &str) -> Result<Vec<NodeId>> {
        let mark = self.marks.pop().ok_or_else(|| malformed(format!("{opcode} has no mark below it")))?;
        Ok(self.values.split_off(mark))
    }

    /// `POP` takes a mark when one is on top.
    pub fn pop_value_or_mark(&mut self) -> Result<()> {
        if self.marks.last() == Some(&self.values.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop("POP").map(drop)
    }

    fn fence(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }
}

fn underflow(opcode: &str) -> crate::error::Error {
    malformed(format!("{opcode} needs more values than the stack holds above the last mark"))
}
