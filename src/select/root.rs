//! Where in a checkpoint the tensors are: a well-known key, a dotted name, or the whole of it.

use std::collections::BTreeSet;

use crate::checkpoint::{Checkpoint, Content};
use crate::container::Kind;
use crate::error::{Error, Result};
use crate::names::{PathId, StepKind};
use crate::select::Root;

/// Where training programs keep the weights inside a checkpoint, best first.
const WEIGHT_KEYS: &[&str] = &[
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "net",
    "network",
    "weights",
    "params_ema",
    "params",
    "model_ema",
    "ema",
    "generator",
];

/// How many of them may be inside one another.
const MAX_AUTO_DEPTH: usize = 8;

/// The path of the root that is meant.
///
/// # Errors
/// `usage` when no tensor is below a dotted name, or when it is two places.
pub(super) fn find(root: &Root, checkpoint: &Checkpoint) -> Result<PathId> {
    match root {
        Root::Whole => Ok(PathId::ROOT),
        Root::Auto => Ok(auto_root(checkpoint, only_file(checkpoint))),
        Root::Path(wanted) => named_root(checkpoint, wanted),
    }
}

/// In a package of several pickles, the only one with tensors; else the whole checkpoint.
fn only_file(checkpoint: &Checkpoint) -> PathId {
    if checkpoint.document.kind != Kind::TorchPackage {
        return PathId::ROOT;
    }
    let files: BTreeSet<PathId> = checkpoint.leaves.iter().filter_map(|leaf| checkpoint.paths.ids(leaf.path).first().copied()).collect();
    match files.into_iter().collect::<Vec<_>>().as_slice() {
        [only] => *only,
        _ => PathId::ROOT,
    }
}

/// From `root` down well-known keys as long as what is beside them are no weights.
fn auto_root(checkpoint: &Checkpoint, mut root: PathId) -> PathId {
    for _ in 0..MAX_AUTO_DEPTH {
        let depth = checkpoint.paths.ids(root).len();
        let mut best: Option<(usize, PathId)> = None;
        for leaf in &checkpoint.leaves {
            let ids = checkpoint.paths.ids(leaf.path);
            if depth > 0 && ids.get(depth - 1) != Some(&root) {
                continue;
            }
            match ids.get(depth) {
                None => return root, // the root is a tensor itself
                Some(&child) if child == leaf.path => {
                    // A tensor right here that is more than a number, such as a best score, makes this a state dict.
                    let weights = match &leaf.content {
                        Content::Tensor(id) => checkpoint.tensor(*id).view.n_elements() > 1,
                        Content::Absent(_) => false,
                        Content::Unsupported(_) | Content::Wrapper => true,
                    };
                    if weights {
                        return root;
                    }
                }
                Some(&child) => {
                    let Some(step) = checkpoint.paths.steps(child).last().copied() else { continue };
                    let rank = WEIGHT_KEYS.iter().position(|key| *key == &*step.name).filter(|_| step.kind == StepKind::Key);
                    if let Some(rank) = rank.filter(|rank| best.is_none_or(|(best, _)| *rank < best)) {
                        best = Some((rank, child));
                    }
                }
            }
        }
        match best {
            Some((_, child)) => root = child,
            None => return root,
        }
    }
    root
}

/// The one part of the tree whose dotted name is `wanted`.
fn named_root(checkpoint: &Checkpoint, wanted: &str) -> Result<PathId> {
    let paths = &checkpoint.paths;
    let mut found: BTreeSet<PathId> = BTreeSet::new();
    for leaf in &checkpoint.leaves {
        let mut name = String::new();
        for id in paths.ids(leaf.path) {
            let Some(step) = paths.steps(id).last().copied() else { continue };
            if !name.is_empty() {
                name.push('.');
            }
            name.push_str(&step.name);
            if name == wanted {
                found.insert(id);
            }
            if name.len() >= wanted.len() {
                break;
            }
        }
    }
    match found.into_iter().collect::<Vec<_>>().as_slice() {
        [only] => Ok(*only),
        [] => {
            let firsts = checkpoint.leaves.iter().filter_map(|leaf| paths.ids(leaf.path).first().copied());
            let firsts: BTreeSet<PathId> = firsts.collect();
            let known: Vec<String> = firsts.into_iter().map(|id| paths.steps(id)[0].name.to_string()).collect();
            let more = if known.len() > 8 { ", ..." } else { "" };
            let known: Vec<String> = known.iter().take(8).map(|name| crate::text::quoted(name, 60)).collect();
            Err(Error::usage(format!("--root finds no tensors under {}", crate::text::quoted(wanted, 200)))
                .help(format!("there are tensors under {}{more}; --root . takes everything", known.join(", "))))
        }
        [first, second, ..] => {
            let message =
                format!("--root {} is two places: {} and {}", crate::text::quoted(wanted, 200), paths.show(*first), paths.show(*second));
            Err(Error::usage(message).help("choose the part above both, or use --include"))
        }
    }
}
