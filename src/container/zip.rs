//! Which kind of checkpoint a zip archive is, by the names of its members.

use crate::container::bundle::{Bundle, Packed, PackedContent};
use crate::container::{Inner, Kind, Member, Outcome, npz, pt2, torch_package, torch_zip, torchscript, torchscript_json, zip_directory};
use crate::error::{self, Code, Error, Result};
use crate::limits::ReadOptions;
use crate::place::Place;
use crate::source::Region;

/// A member, or the end record of an archive without members.
pub(super) fn sniff(head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06")
}

type IsKind = fn(&[Member]) -> bool;
type Open = fn(Vec<Member>, &Place, &ReadOptions) -> Outcome;

/// The kinds of archives, first match wins. Any other is a bundle of files.
const KINDS: &[(IsKind, Open)] = &[
    (torch_package::is_torch_package, torch_package::open),
    (pt2::is_pt2, pt2::open),
    (torchscript::is_torchscript, torchscript::open),
    (torchscript_json::is_torchscript_json, torchscript_json::open),
    (torch_zip::is_torch_zip, torch_zip::open),
    (npz::is_npz, npz::open),
];

pub(super) fn peek(region: &Region, start: &Place, options: &ReadOptions, _depth: u64) -> Result<Inner> {
    let members = zip_directory::read(region, start, &options.limits)?;
    if members.is_empty() {
        let error = Error::new(Code::NoTensors, "the file holds no tensors: it is a zip archive without members");
        return Err(error.help("if it should hold some, the save was interrupted; have its author save it again"));
    }
    if let Some((_, open)) = KINDS.iter().find(|(is_kind, _)| is_kind(&members)) {
        let (start, options) = (start.clone(), options.clone());
        return Ok(Inner::Document(Box::new(move || open(members, &start, &options))));
    }
    if members.iter().any(|m| m.name == "data.pkl") {
        return Err(Error::new(Code::ZipMalformed, "member data.pkl is not in a folder, where torch writes it")
            .help("the archive was zipped again without its folder; zip the folder itself"));
    }
    if members.iter().any(torch_zip::is_storage) {
        return Err(error::missing_entry("data.pkl", "describes the checkpoint"));
    }
    let files = members.into_iter().filter(|member| !member.name.ends_with('/'));
    let files = files.map(|member| Packed { name: member.name.clone(), content: PackedContent::Zipped(member) }).collect();
    Ok(Inner::Bundle(Bundle { kind: Kind::Zip, facts: Vec::new(), files }))
}
