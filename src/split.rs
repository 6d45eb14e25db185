//! How the tensors of one checkpoint are spread over several files, by the rule of the Hugging Face libraries
//! (`huggingface_hub.split_torch_state_dict_into_shards`): in the order of the state dict, a file closed before it would exceed
//! its size, and a tensor that exceeds it alone in a file of its own, which comes before the one that is open.
//!
//! A tied tensor is written once, so its names are together anyway; tensors without elements stay with the first of them, as
//! there. What counts is the bytes that are written: there it is those of the storage, which are the same for whole storages.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint::{Checkpoint, Content};
use crate::error::Result;
use crate::filenames::shard_path;
use crate::limits::Limits;
use crate::names::TensorName;
use crate::plan::{Plan, Planned};
use crate::select::Selected;

/// All files of a conversion: one, or several and their index.
#[derive(Debug)]
pub(crate) struct Plans {
    pub files: Vec<Arc<Plan>>,
    /// What the index of several lists.
    pub index: Option<IndexPlan>,
}

/// What the index of several files lists, in its order.
#[derive(Debug)]
pub(crate) struct IndexPlan {
    /// The number of each tensor in the plan of its file, file by file.
    order: Vec<Vec<u32>>,
    /// Dropped name and kept name.
    tied: Vec<(TensorName, TensorName)>,
}

impl Plans {
    /// Lays out the selected tensors in files of at most `max_bytes` of data.
    ///
    /// # Errors
    /// The limits on the header, the output and the number of files.
    pub fn new(checkpoint: &Checkpoint, selected: &mut Selected, max_bytes: Option<u64>, limits: &Limits) -> Result<Plans> {
        let aliases = std::mem::take(&mut selected.aliases);
        let tensors = Plan::ordered(checkpoint, selected, limits)?;
        let split = max_bytes.map(|max_bytes| spread(checkpoint, &tensors, max_bytes)).filter(|split| split.len() > 1);
        let Some(split) = split else {
            let plan = Plan::of(checkpoint, tensors, aliases, false, limits)?;
            return Ok(Plans { files: vec![Arc::new(plan)], index: None });
        };
        limits.shards(split.len() as u64)?;
        let mut file_of = vec![0; tensors.len()];
        for (numbers, file) in split.iter().zip(0..) {
            numbers.iter().for_each(|&number| file_of[number as usize] = file);
        }
        let tied = tied_in_order(checkpoint, &tensors, &aliases);
        let mut aliases_of: Vec<Vec<(TensorName, TensorName)>> = split.iter().map(|_| Vec::new()).collect();
        if !aliases.is_empty() {
            let by_name: HashMap<&str, usize> =
                tensors.iter().zip(&file_of).map(|(planned, file)| (planned.name.as_str(), *file)).collect();
            for (dropped, kept) in &aliases {
                if let Some(&file) = by_name.get(kept.as_str()) {
                    aliases_of[file].push((dropped.clone(), kept.clone()));
                }
            }
        }
        // Each file has its tensors in the order of the whole.
        let mut parts: Vec<Vec<Planned>> = split.iter().map(|numbers| Vec::with_capacity(numbers.len())).collect();
        let mut number_in_file = Vec::with_capacity(tensors.len());
        for (planned, &file) in tensors.into_iter().zip(&file_of) {
            number_in_file.push(parts[file].len() as u32);
            parts[file].push(planned);
        }
        let plan = |(tensors, aliases)| Plan::of(checkpoint, tensors, aliases, true, limits).map(Arc::new);
        let files = parts.into_iter().zip(aliases_of).map(plan).collect::<Result<_>>()?;
        let order = split.into_iter().map(|numbers| numbers.into_iter().map(|number| number_in_file[number as usize]).collect()).collect();
        Ok(Plans { files, index: Some(IndexPlan { order, tied }) })
    }

    /// The paths of the files, when `output` is what a single one would be called.
    pub fn paths(&self, output: &Path) -> Vec<PathBuf> {
        match self.files.len() {
            1 => vec![output.to_owned()],
            n => (1..=n).map(|number| shard_path(output, number, n)).collect(),
        }
    }

    /// Bytes of the tensors in all of them.
    pub fn data_bytes(&self) -> u64 {
        self.files.iter().map(|plan| plan.data_bytes).sum()
    }

    /// Every tensor with the number of its file, in the order of the index.
    pub fn indexed<'a>(&'a self, index: &'a IndexPlan) -> impl Iterator<Item = (&'a str, usize)> {
        let files = self.files.iter().zip(&index.order).enumerate();
        files.flat_map(|(file, (plan, order))| order.iter().map(move |&number| (plan.tensors[number as usize].name.as_str(), file)))
    }
}

impl IndexPlan {
    /// The tied names, in the order of the index.
    pub fn tied(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tied.iter().map(|(dropped, kept)| (dropped.as_str(), kept.as_str()))
    }
}

/// The numbers of the tensors of each file.
fn spread(checkpoint: &Checkpoint, tensors: &[Planned], max_bytes: u64) -> Vec<Vec<u32>> {
    // Where each stands in the file: a lowered one has several tensors in one place.
    let mut places = HashMap::new();
    for (leaf, place) in checkpoint.leaves.iter().zip(0u32..) {
        if let Content::Tensor(id) = leaf.content {
            places.entry((leaf.path, id)).or_insert(place);
        }
    }
    let mut in_order: Vec<u32> = (0..tensors.len() as u32).collect();
    in_order.sort_by_key(|&number| {
        let planned = &tensors[number as usize];
        (places.get(&(planned.path, planned.tensor)).copied(), number)
    });
    let sizes = in_order.iter().map(|&number| (number, tensors[number as usize].len()));
    spread_sizes(sizes, max_bytes)
}

fn spread_sizes(sizes: impl Iterator<Item = (u32, u64)>, max_bytes: u64) -> Vec<Vec<u32>> {
    let mut files: Vec<Vec<u32>> = Vec::new();
    let (mut open, mut open_bytes) = (Vec::new(), 0u64);
    let mut without_elements = Vec::new();
    for (number, bytes) in sizes {
        if bytes == 0 {
            without_elements.push(number);
            if without_elements.len() > 1 {
                continue;
            }
        }
        if bytes > max_bytes {
            files.push(vec![number]);
            continue;
        }
        if open_bytes.saturating_add(bytes) > max_bytes {
            files.push(std::mem::take(&mut open));
            open_bytes = 0;
        }
        open.push(number);
        open_bytes += bytes;
    }
    files.extend(Some(open).filter(|open| !open.is_empty()));
    if let Some((first, others)) = without_elements.split_first()
        && let Some(file) = files.iter_mut().find(|file| file.contains(first))
    {
        file.extend(others);
    }
    files
}

/// Tied names, those first whose tensor the checkpoint has first.
fn tied_in_order(checkpoint: &Checkpoint, tensors: &[Planned], aliases: &[(TensorName, TensorName)]) -> Vec<(TensorName, TensorName)> {
    let mut tied = aliases.to_vec();
    if tied.is_empty() {
        return tied;
    }
    let mut first = HashMap::new();
    for (leaf, place) in checkpoint.leaves.iter().zip(0u32..) {
        if let Content::Tensor(id) = leaf.content {
            first.entry(checkpoint.tensor(id).identity()).or_insert(place);
        }
    }
    let kept: HashMap<&str, Option<u32>> =
        tensors.iter().map(|planned| (planned.name.as_str(), first.get(&checkpoint.tensor(planned.tensor).identity()).copied())).collect();
    tied.sort_by_key(|(_, name)| kept.get(name.as_str()).copied());
    tied
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_closed_before_they_would_be_too_large() {
        let check = |sizes: &[u64], max_bytes, expected: &[&[u32]]| {
            let files = spread_sizes((0..).zip(sizes.iter().copied()), max_bytes);
            assert_eq!(files, expected, "{sizes:?}");
        };
        check(&[6, 6, 2, 6, 2, 2], 10, &[&[0], &[1, 2], &[3, 4, 5]]);
        check(&[5, 5, 1], 10, &[&[0, 1], &[2]]);
        check(&[1, 11, 1], 10, &[&[1], &[0, 2]]);
        check(&[11, 12], 10, &[&[0], &[1]]);
        check(&[0, 9, 0, 9, 0], 10, &[&[0, 1, 2, 4], &[3]]);
        check(&[3], 10, &[&[0]]);
    }
}
