//! Which kind of checkpoint a zip archive is, by the names of its members.

use crate::container::bundle::{Bundle, Packed, PackedContent};
use crate::container::zip_directory::Directory;
use crate::container::{
    Inner, Kind, Member, Outcome, hidden, npz, pt2, torch_package, torch_zip, torchscript, torchscript_json, zip_directory,
};
use crate::error::{self, Code, Error, Result};
use crate::finding::Finding;
use crate::limits::ReadOptions;
use crate::pickle::{Broken, Graph};
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

pub(super) fn peek(region: &Region, start: &Place, options: &ReadOptions, depth: u64) -> Result<Inner> {
    let Directory { members, findings, gaps } = match zip_directory::read(region, start, &options.limits) {
        Ok(directory) => directory,
        // What its pickles would run is said all the same.
        Err(error) => {
            let (region, start, options) = (region.clone(), start.clone(), options.clone());
            return Ok(Inner::Document(Box::new(move || {
                let graphs = hidden::in_gap(&region, &start, &options);
                Err(Box::<Broken>::from(error).after(graphs))
            })));
        }
    };
    let unlisted = || -> Vec<Graph> { gaps.iter().flat_map(|(place, gap)| hidden::in_gap(gap, place, options)).collect() };
    if let Some((_, open)) = KINDS.iter().find(|(is_kind, _)| is_kind(&members)) {
        let side_pickles = unlisted();
        let (start, options) = (start.clone(), options.clone());
        return Ok(Inner::Document(Box::new(move || {
            with_the_rest(open(members, &start, &options), findings, side_pickles, &options, depth)
        })));
    }
    let error = if members.is_empty() {
        let error = Error::new(Code::NoTensors, "the file holds no tensors: it is a zip archive without members");
        error.help("if it should hold some, the save was interrupted; have its author save it again")
    } else if members.iter().any(|m| m.name() == "data.pkl") {
        Error::new(Code::ZipMalformed, "member data.pkl is not in a folder, where torch writes it")
            .help("the archive was zipped again without its folder; zip the folder itself")
    } else if members.iter().any(torch_zip::is_storage) {
        error::missing_entry("data.pkl", "describes the checkpoint")
    } else {
        let side_pickles = unlisted();
        let files = members.into_iter().filter(|member| !member.name().ends_with('/'));
        let files = files.map(|member| Packed { name: member.name().into_owned(), content: PackedContent::Zipped(member) }).collect();
        return Ok(Inner::Bundle(Bundle { kind: Kind::Zip, facts: Vec::new(), files, findings, side_pickles }));
    };
    let mut graphs = unlisted();
    let error = error.with_findings(&findings);
    let options = options.clone();
    Ok(Inner::Document(Box::new(move || {
        graphs.extend(hidden::in_members(members.iter(), &options, depth + 1));
        Err(Box::<Broken>::from(error).after(graphs))
    })))
}

/// What was read of an archive, with what its format has no place for.
fn with_the_rest(opened: Outcome, findings: Vec<Finding>, graphs: Vec<Graph>, options: &ReadOptions, depth: u64) -> Outcome {
    let mut document = opened.map_err(|mut broken| {
        broken.error = broken.error.with_findings(&findings);
        broken.after(graphs.clone())
    })?;
    document.side_pickles.extend(graphs);
    let is_data = document.are_storages();
    let others = document.members.iter().zip(is_data).filter(|(member, is_data)| !member.structural && (options.everywhere || !is_data));
    let hidden = hidden::in_members(others.map(|(member, _)| member), options, depth + 1);
    document.side_pickles.extend(hidden);
    document.findings.splice(0..0, findings);
    Ok(document)
}
