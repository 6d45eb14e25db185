//! One member of a zip archive, in few bytes: an archive of 200,000 storages has as many.

use std::borrow::Cow;
use std::sync::Arc;

use ::bytes::Bytes;

use crate::container::zip_entry::name_of_record;
use crate::place::Place;
use crate::source::Region;

/// The archive that members are in.
#[derive(Debug)]
pub(super) struct Archived {
    pub region: Region,
    /// Its bytes, in which the directory is.
    pub bytes: Bytes,
    /// Where it is; it may itself be inside another one.
    pub start: Place,
}

/// One member of an archive.
#[derive(Debug, Clone)]
pub struct Member {
    pub(super) archive: Arc<Archived>,
    /// Where its record in the directory is; its name stays there.
    pub(super) record: u64,
    /// Where its stored bytes are.
    pub(super) data_start: u64,
    /// Their number.
    pub stored_len: u64,
    /// Bytes once decompressed.
    pub len: u64,
    /// The recorded CRC-32. torch writes 0 when it was told not to compute it.
    pub crc: u32,
    pub deflated: bool,
    /// Whether its content is an archive whose members are listed too.
    pub is_archive: bool,
    /// Whether the member has a part in the format other than as a storage.
    pub structural: bool,
}

impl Member {
    /// Its name in the archive.
    pub fn name(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(name_of_record(&self.archive.bytes, self.record).unwrap_or_default())
    }

    /// Its first byte.
    pub fn place(&self) -> Place {
        self.archive.start.inside(&self.name())
    }

    /// Its stored bytes.
    pub fn stored(&self) -> Region {
        let stored = self.archive.region.slice(self.data_start, self.stored_len);
        stored.unwrap_or_else(|| unreachable!("the directory was checked when the member was made"))
    }
}
