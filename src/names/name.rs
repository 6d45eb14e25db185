//! Text that often stands in a pickle: it is kept as a counted slice of the stream, not as a copy.

use std::fmt;
use std::ops::Deref;

use ::bytes::Bytes;

/// Text that is cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Bytes);

impl Name {
    /// The text of some bytes, when they are UTF-8.
    pub(crate) fn of(bytes: Bytes) -> Option<Name> {
        std::str::from_utf8(&bytes).is_ok().then_some(Name(bytes))
    }

    /// Bytes of memory that it takes beside its own place: none where it is a part of something else.
    pub(crate) fn memory(&self) -> u64 {
        if self.0.is_unique() { self.0.len() as u64 + 16 } else { 0 }
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default() // it was UTF-8 when it was made
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Name(text.into())
    }
}

impl From<&'static str> for Name {
    fn from(text: &'static str) -> Self {
        Name(Bytes::from_static(text.as_bytes()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}
