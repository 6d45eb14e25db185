//! A pickle that does not come to its end, and what is known of it all the same.

use crate::error::Error;
use crate::pickle::Graph;

/// A pickle that does not come to its end, and what it had built until then: loading it would have made those calls.
#[derive(Debug)]
pub struct Broken {
    /// Why it does not.
    pub error: Error,
    /// What was built: by pickles before it, and by the one that broke, whose root means nothing.
    pub graphs: Vec<Graph>,
}

impl Broken {
    /// The same, after `earlier` pickles.
    #[must_use]
    pub fn after(mut self: Box<Self>, earlier: Vec<Graph>) -> Box<Self> {
        self.graphs.splice(0..0, earlier);
        self
    }
}

/// Whatever else ends the reading of a file.
impl From<Error> for Box<Broken> {
    fn from(error: Error) -> Self {
        Box::new(Broken { error, graphs: Vec::new() })
    }
}

impl From<Box<Broken>> for Error {
    fn from(broken: Box<Broken>) -> Self {
        broken.error
    }
}
