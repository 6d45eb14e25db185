//! Bytes of the storages that no tensor is a view of: what a view of a larger buffer left behind when it was saved.

use std::ops::Range;

use crate::checkpoint::{Checkpoint, Content};
use crate::container::Member;
use crate::finding::{Finding, capped};
use crate::storage::Content as Stored;
use crate::tensor::View;

/// A storage with bytes that no tensor covers.
pub(crate) struct Uncovered {
    pub storage: String,
    pub bytes: u64,
    pub uncovered_bytes: u64,
}

/// Separate runs that are followed in all views together; a view beyond that counts as covering all bytes from its first
/// to its last.
const MAX_RUNS: u64 = 1_000_000;

/// Every storage with bytes that no tensor of the checkpoint covers, written or not, in the order of the file.
pub(crate) fn uncovered(checkpoint: &Checkpoint) -> Vec<Uncovered> {
    let mut runs_left = MAX_RUNS;
    // Sorted by storage, so that the runs of one are followed at a time.
    let mut views: Vec<u32> = (0..checkpoint.tensors.len() as u32).collect();
    views.sort_by_key(|&tensor| checkpoint.tensors[tensor as usize].storage);
    let mut views = views.into_iter().map(|tensor| &checkpoint.tensors[tensor as usize]).peekable();
    let mut uncovered = Vec::new();
    for id in checkpoint.storage_ids() {
        let mut ranges: Vec<Range<u64>> = std::iter::once(0..checkpoint.storage_head(id)).collect();
        while let Some(tensor) = views.next_if(|tensor| tensor.storage == id) {
            ranges.extend(runs(&tensor.view, &mut runs_left));
        }
        let uncovered_bytes = checkpoint.storage_len(id).saturating_sub(total(ranges));
        if uncovered_bytes == 0 {
            continue;
        }
        let storage = checkpoint.storage(id);
        if !matches!(storage.content, Stored::Meta) {
            uncovered.push(Uncovered { storage: storage.key, bytes: storage.len, uncovered_bytes });
        }
    }
    uncovered
}

/// Members of the archive that have no part in the format and are no storage that is used.
pub(crate) fn unreferenced(checkpoint: &Checkpoint) -> impl Iterator<Item = &Member> {
    let referenced = checkpoint.document.are_among(checkpoint.storages.iter());
    let members = checkpoint.document.members.iter().zip(referenced);
    members.filter(|(member, referenced)| !member.structural && !referenced).map(|(member, _)| member)
}

/// What a checkpoint leaves aside, as findings: members that it does not use, tensors that cannot be written.
pub(crate) fn findings(checkpoint: &Checkpoint) -> Vec<Finding> {
    let members = unreferenced(checkpoint).map(|member| {
        let message = format!("the checkpoint does not use this member of {} bytes", member.len);
        Finding::note("unreferenced-entry", member.place(), message)
    });
    let tensors = checkpoint.leaves.iter().filter_map(|leaf| match &leaf.content {
        Content::Unsupported(error) => {
            let message = format!("{} is not written: {}", checkpoint.paths.show(leaf.path), error.message());
            Some(Finding::note("unsupported-tensor", checkpoint.document.graph.place(leaf.node), message))
        }
        Content::Absent(absence) => {
            let message = format!("{} is not written: {}", checkpoint.paths.show(leaf.path), absence.reason);
            Some(Finding::note("unsupported-tensor", checkpoint.document.graph.place(leaf.node), message))
        }
        _ => None,
    });
    capped(members.chain(tensors))
}

/// The runs of consecutive bytes that a view touches.
fn runs(view: &View, runs_left: &mut u64) -> Vec<Range<u64>> {
    let item = u64::from(view.item_bytes());
    if view.n_elements() == 0 {
        return Vec::new();
    }
    // In the order of memory, each dimension that continues the run below it is merged into it.
    let mut dims: Vec<(u64, u64)> = view.coalesced().into_iter().filter(|(_, stride)| *stride > 0).collect();
    dims.sort_by_key(|(_, stride)| *stride);
    let mut run_bytes = item;
    let mut outer = Vec::new();
    for (size, stride) in dims {
        if outer.is_empty() && stride <= run_bytes {
            run_bytes += (size - 1) * stride;
        } else {
            outer.push((size, stride));
        }
    }
    let n_runs = outer.iter().try_fold(1u64, |n, (size, _)| n.checked_mul(*size));
    match n_runs.and_then(|n| runs_left.checked_sub(n)) {
        Some(left) => *runs_left = left,
        None => return vec![view.extent()],
    }
    let mut starts = vec![view.offset()];
    for (size, stride) in outer {
        starts = starts.iter().flat_map(|start| (0..size).map(move |i| start + i * stride)).collect();
    }
    starts.into_iter().map(|start| start..start + run_bytes).collect()
}

/// The number of bytes in a union of ranges.
fn total(mut ranges: Vec<Range<u64>>) -> u64 {
    ranges.sort_by_key(|range| range.start);
    let (mut total, mut end) = (0, 0);
    for range in ranges {
        let start = range.start.max(end);
        total += range.end.saturating_sub(start);
        end = end.max(range.end);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Place;
    use crate::tensor::layout::Declared;

    #[test]
    fn transposed_views_cover_everything_and_steps_leave_gaps() {
        for (shape, strides, covered) in
            [(&[3, 2][..], &[1, 3][..], 24), (&[2], &[2], 8), (&[2, 2], &[3, 1], 16), (&[4], &[0], 4), (&[0], &[1], 0)]
        {
            let view = View::new(&Declared { shape, strides, offset: 0, step_bytes: 4 }, 4, 24, &Place::start_of("")).unwrap();
            assert_eq!(total(runs(&view, &mut MAX_RUNS.clone())), covered, "{shape:?} {strides:?}");
        }
    }
}
