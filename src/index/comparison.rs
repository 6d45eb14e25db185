//! What an index says of its files against what is in them.

use std::collections::{HashMap, HashSet};

use super::{ShardIndex, listed};
use crate::error::{self, Result};
use crate::text::{count, quoted};

/// Which of the tensors that an index lists are in which files.
#[derive(Debug, Default)]
pub(crate) struct Comparison<'a> {
    /// The file of each tensor that was seen.
    files: HashMap<&'a str, &'a str>,
}

impl<'a> Comparison<'a> {
    /// Notes that a file of the set has a tensor.
    ///
    /// # Errors
    /// `name-collision` when another one has it too.
    pub fn see(&mut self, name: &'a str, file: &'a str) -> Result<()> {
        match self.files.insert(name, file) {
            Some(other) if other != file => Err(error::in_two_shards(name, other.min(file), other.max(file))),
            _ => Ok(()),
        }
    }

    /// What the index says otherwise, in words: names that another file has than it says, and those that it does not list. What is
    /// in the files counts, so none of them is an error.
    ///
    /// # Errors
    /// `set-incomplete` for names that no file has, unless they are `known` to be something else than a tensor.
    pub fn finish(self, index: &'a ShardIndex, known: impl Fn(&str) -> bool) -> Result<Vec<String>> {
        let missing: Vec<&str> =
            index.names().map(|(name, _)| name).filter(|name| !self.files.contains_key(name) && !known(name)).collect();
        if !missing.is_empty() {
            let n = count(missing.len() as u64, "tensor");
            return Err(error::incomplete(format!("the index lists {n} that no file of the set has: {}", listed(missing.into_iter()))));
        }
        let elsewhere = index.names().filter(|(name, said)| self.files.get(name).is_some_and(|file| file != said));
        let elsewhere = elsewhere.map(|(name, said)| {
            let (name, said, file) = (quoted(name, 200), quoted(said, 200), quoted(self.files[name], 200));
            format!("the index says that {name} is in {said}, and it is in {file}")
        });
        let listed: HashSet<&str> = index.names().map(|(name, _)| name).collect();
        let mut unlisted: Vec<(&str, &str)> =
            self.files.iter().map(|(name, file)| (*name, *file)).filter(|(name, _)| !listed.contains(name)).collect();
        unlisted.sort_unstable();
        let unlisted = unlisted
            .into_iter()
            .map(|(name, file)| format!("the index does not list {}, which is in {}", quoted(name, 200), quoted(file, 200)));
        Ok(elsewhere.chain(unlisted).collect())
    }
}
