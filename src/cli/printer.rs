//! What is said of inputs that are worked on side by side, in the order in which they were named.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What is said of one checkpoint.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// For standard output.
    pub(super) data: String,
    /// For standard error.
    pub(super) message: String,
    pub(super) code: u8,
}

/// Prints at once what is said of the input whose turn it is, and keeps what is said of others until it is theirs.
#[derive(Debug, Default)]
pub(super) struct Printer(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The input whose turn it is.
    next: usize,
    /// What was said of those behind it, and whether that is all.
    held: BTreeMap<usize, (Vec<Said>, bool)>,
}

impl Printer {
    /// Says something of input number `index`; gives the highest exit code of what was printed.
    pub(super) fn print(&self, index: usize, said: Said) -> u8 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if index == state.next {
            return put(&said);
        }
        let code = said.code;
        state.held.entry(index).or_default().0.push(said);
        code
    }

    /// Ends input number `index`.
    pub(super) fn end(&self, index: usize) -> u8 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.held.entry(index).or_default().1 = true;
        let mut worst = 0;
        loop {
            let next = state.next;
            let Some((held, ended)) = state.held.get_mut(&next) else { return worst };
            worst = std::mem::take(held).iter().map(put).fold(worst, u8::max);
            if !*ended {
                return worst;
            }
            state.held.remove(&next);
            state.next += 1;
        }
    }
}

fn put(said: &Said) -> u8 {
    if !said.message.is_empty() {
        super::say(&said.message);
    }
    let printed = if said.data.is_empty() { 0 } else { super::print(&said.data) };
    printed.max(said.code)
}
