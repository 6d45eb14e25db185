//! Which kind of checkpoint a zip archive is, by the names of its members.

use crate::container::{Member, Outcome, npz, torch_zip, zip_directory};
use crate::error::{self, Code, Error};
use crate::limits::ReadOptions;
use crate::place::Place;
use crate::source::Region;

/// A member, or the end record of an archive without members.
pub(super) fn sniff(head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06")
}

type IsKind = fn(&[Member]) -> bool;
type Open = fn(Vec<Member>, &Place, &ReadOptions) -> Outcome;

/// The kinds of archives, first match wins.
const KINDS: &[(IsKind, Open)] = &[(torch_zip::is_torch_zip, torch_zip::open), (npz::is_npz, npz::open)];

pub(super) fn open(region: &Region, start: &Place, options: &ReadOptions) -> Outcome {
    let members = zip_directory::read(region, &options.limits)?;
    if members.is_empty() {
        let error = Error::new(Code::NoTensors, "the file holds no tensors: it is a zip archive without members");
        return Err(error.help("if it should hold some, the save was interrupted; have its author save it again").into());
    }
    match KINDS.iter().find(|(is_kind, _)| is_kind(&members)) {
        Some((_, open)) => open(members, start, options),
        None => Err(no_checkpoint(&members).into()),
    }
}

fn no_checkpoint(members: &[Member]) -> Error {
    if members.iter().any(|m| m.name == "data.pkl") {
        return Error::new(Code::ZipMalformed, "member data.pkl is not in a folder, where torch writes it")
            .help("the archive was zipped again without its folder; zip the folder itself");
    }
    error::missing_entry("data.pkl", "describes the checkpoint")
}
