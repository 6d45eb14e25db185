//! `.npz`: a zip archive of `.npy` files. Defined by `numpy/lib/npyio.py`.

use std::io::Read;

use crate::container::bundle::may_be_checkpoint;
use crate::container::{Document, Kind, Member, Outcome, npy};
use crate::limits::ReadOptions;
use crate::numpy::MAGIC;
use crate::pickle::{Breaks, Graph};
use crate::place::Place;
use crate::source::Region;

const ENDING: &str = ".npy";

/// Whether these are the members of such an archive: numpy takes every member for an array that starts like one, and leaves
/// others alone. An archive of other checkpoints too is a bundle.
pub(super) fn is_npz(members: &[Member]) -> bool {
    let (arrays, others): (Vec<&Member>, Vec<&Member>) = members.iter().partition(|member| is_array(member));
    arrays.iter().any(|member| member.name().ends_with(ENDING)) && !others.iter().any(|member| may_be_checkpoint(member))
}

fn is_array(member: &Member) -> bool {
    let mut head = [0; MAGIC.len()];
    member.reader().read_exact(&mut head).is_ok() && head == MAGIC
}

pub(super) fn open(mut members: Vec<Member>, start: &Place, options: &ReadOptions) -> Outcome {
    members.iter_mut().for_each(|member| member.structural = is_array(member));
    let arrays = || members.iter().filter(|member| member.structural);
    let keys: Vec<String> = arrays().map(|member| member.name().strip_suffix(ENDING).unwrap_or(&member.name()).to_owned()).collect();
    let (graph, values) = Graph::given(start, Some(&keys))?;
    let mut document = Document::of_pickle(Kind::Npz, graph, Region::memory(Default::default()));
    let mut breaks = Breaks::default();
    for (member, value) in arrays().zip(values) {
        if let Some(array) = breaks.take(npy::open_member(member, options)) {
            document.put(value, array)?;
        }
    }
    document.members = members.into();
    document.unless(breaks)
}
