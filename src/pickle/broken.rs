//! A pickle that does not come to its end, and what is known of it all the same.

use crate::error::Error;
use crate::limits::Limits;
use crate::pickle::decode::Decoder;
use crate::pickle::{Graph, mentions};
use crate::place::Place;

/// A pickle that does not come to its end, and what it had built until then: loading it would have made those calls.
#[derive(Debug)]
pub struct Broken {
    /// Why it does not.
    pub error: Error,
    /// What was built: by pickles before it, and by the one that broke, whose root means nothing.
    pub graphs: Vec<Graph>,
    /// Bytes of its stream that were read.
    pub read_to: u64,
}

impl Broken {
    /// Notes the names behind the place where `stream` broke, which starts at `start`: another reader may go on there. Bytes from
    /// `end` on are not looked at, and that is said.
    pub fn look_behind(&mut self, stream: &[u8], end: usize, start: &Place, limits: &Limits) {
        let Some(graph) = self.graphs.last_mut() else { return };
        let rest = stream.get(..end).unwrap_or(stream);
        graph.mentions = mentions::of_the_rest(Decoder::at(rest, start, limits, self.read_to), limits);
        if rest.len() < stream.len() {
            graph.note_unread(&format!("it breaks, and of what follows {} bytes are not searched for names", stream.len() - rest.len()));
        }
    }

    /// The same, after `earlier` pickles.
    #[must_use]
    pub fn after(mut self: Box<Self>, earlier: Vec<Graph>) -> Box<Self> {
        self.graphs.splice(0..0, earlier);
        self
    }
}

/// Those of the pickles of one file that break. The others are read all the same: what they would run must not be lost.
#[derive(Debug, Default)]
pub struct Breaks {
    first: Option<Box<Broken>>,
}

impl Breaks {
    /// What was read; `None` for a pickle that broke, which is kept.
    pub fn take<T>(&mut self, read: Result<T, Box<Broken>>) -> Option<T> {
        match (read, &mut self.first) {
            (Ok(value), _) => return Some(value),
            (Err(broken), None) => self.first = Some(broken),
            (Err(broken), Some(first)) => first.graphs.extend(broken.graphs),
        }
        None
    }

    /// The error of the first one, with what all of them had built.
    pub fn into_first(self) -> Option<Box<Broken>> {
        self.first
    }
}

/// Whatever else ends the reading of a file.
impl From<Error> for Box<Broken> {
    fn from(error: Error) -> Self {
        Box::new(Broken { error, graphs: Vec::new(), read_to: 0 })
    }
}

impl From<Box<Broken>> for Error {
    fn from(broken: Box<Broken>) -> Self {
        broken.error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pickle::OddityKind;

    #[test]
    fn what_is_not_searched_for_names_is_said() {
        let (limits, place) = (Limits::default(), Place::start_of(""));
        let stream = bytes::Bytes::from_static(b"\x80\x02\xffcos\nsystem\n.");
        for (end, names, unread) in [(stream.len(), 1, false), (4, 0, true)] {
            let mut broken = crate::pickle::run(&stream, &place, &limits).expect_err("a byte that is no opcode");
            broken.look_behind(&stream, end, &place, &limits);
            assert_eq!(broken.graphs[0].mentions().len(), names);
            assert_eq!(broken.graphs[0].oddities().iter().any(|oddity| matches!(oddity.what, OddityKind::Unread(_))), unread);
        }
    }
}
