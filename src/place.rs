//! Where something is in the input. Every error and finding that speaks of a byte carries a [`Place`].

use std::fmt;
use std::sync::Arc;

/// A byte position: the archive member and the offset of the byte within it.
///
/// For a file that is not an archive the member is empty and the offset counts from the start of the file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The archive member as the archive spells it; empty for a file without members.
    pub member: Arc<str>,
    /// Bytes from the start of the member's (uncompressed) content.
    pub offset: u64,
}

impl Place {
    /// The start of the member called `member`.
    pub fn start_of(member: &str) -> Self {
        Place { member: Arc::from(member), offset: 0 }
    }

    /// The same member, `offset` bytes from its start.
    #[must_use]
    pub fn with_offset(&self, offset: u64) -> Self {
        Place { member: Arc::clone(&self.member), offset }
    }

    /// The start of the member called `name` of the archive that is here.
    pub(crate) fn inside(&self, name: &str) -> Self {
        if self.member.is_empty() { Place::start_of(name) } else { Place::start_of(&format!("{}/{name}", self.member)) }
    }

    /// The start of a whole file that is kept in the bytes at this place.
    pub(crate) fn nested(&self) -> Self {
        let outer = if self.member.is_empty() { "" } else { " in " };
        Place::start_of(&format!("file nested at {:#x}{outer}{}", self.offset, self.member))
    }

    /// The same member, `bytes` further on.
    #[must_use]
    pub fn advanced(&self, bytes: u64) -> Self {
        self.with_offset(self.offset.saturating_add(bytes))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.member {
            "" => write!(f, "offset {:#x}", self.offset),
            member => write!(f, "{}+{:#x}", crate::text::printable(member), self.offset),
        }
    }
}
