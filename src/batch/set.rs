//! A set of files, each of which becomes a file of its own, with a new index at the end. Nothing is written before all are read and
//! compared with the index.

use std::path::{Path, PathBuf};

use super::{Done, Outcome, SetPlan, Target, Work};
use crate::convert::prepare;
use crate::error::{self, Error, Result};
use crate::filenames::{default_output, folder_of, index_path};
use crate::index::ShardIndex;
use crate::set::{self, Names};

impl Work<'_> {
    /// Converts each file of a set.
    pub(super) fn each_of_set(
        &self,
        input: &Path,
        target: &Target,
        claim: impl FnOnce(&[PathBuf]) -> Vec<Result<()>>,
        each: &mut dyn FnMut(Done),
    ) {
        let index_path = index_path(&target.file);
        let outcome = self.try_each_of_set(input, target, &index_path, claim, each);
        // What is wrong with one of its files was said of that file.
        if let Some(outcome) = outcome.unwrap_or_else(|error| Some(Outcome::Refused(error))) {
            each(Done { input: input.to_owned(), output: index_path, outcome });
        }
    }

    fn try_each_of_set(
        &self,
        input: &Path,
        target: &Target,
        index_path: &Path,
        claim: impl FnOnce(&[PathBuf]) -> Vec<Result<()>>,
        each: &mut dyn FnMut(Done),
    ) -> Result<Option<Outcome>> {
        let index = ShardIndex::read(input, &self.options.read.limits)?;
        index.check_shards()?;
        if self.options.extras.is_some() {
            let why = "--extras takes the values of one checkpoint; name one output file with -o, or convert the files one by one";
            return Err(Error::usage(why));
        }
        let outputs: Vec<PathBuf> = index.shards().iter().map(|shard| output_of(shard, target)).collect();
        let files: Vec<(PathBuf, &PathBuf)> = index.shards().into_iter().zip(&outputs).collect();
        let done = |(shard, output): &(PathBuf, &PathBuf), outcome| Done { input: shard.clone(), output: (*output).clone(), outcome };

        let mut names = Vec::new();
        for (((shard, output), name), claimed) in files.iter().zip(index.shard_names()).zip(claim(&outputs)) {
            match claimed.and_then(|()| prepare(shard, output, self.options)) {
                Ok(prepared) => names.push((name.clone(), Names::of(&prepared))),
                Err(error) => {
                    each(done(&(shard.clone(), output), Outcome::Refused(error)));
                    return Ok(None);
                }
            }
        }
        let (tensors, notes) = set::check_prepared(&index, &names, index_path, self.options.force)?;
        drop(names);
        for file in &files {
            let outcome = prepare(&file.0, file.1, self.options).and_then(|prepared| self.write(prepared, file.1));
            let outcome = outcome.unwrap_or_else(Outcome::Refused);
            let failed = matches!(outcome, Outcome::Refused(_));
            each(done(file, outcome));
            if failed {
                return Ok(None);
            }
            if self.progress.cancelled() {
                return Err(error::interrupted());
            }
        }
        if self.dry_run {
            return Ok(Some(Outcome::IndexPlanned(SetPlan { tensors, files: files.len() as u64, notes })));
        }
        let outputs: Vec<(String, PathBuf)> = index.shard_names().iter().cloned().zip(outputs.iter().cloned()).collect();
        set::publish(&index, &outputs, index_path, self.options.force).map(|published| Some(Outcome::Indexed(published)))
    }
}

/// The output of a file of a set, in the folder of the others.
fn output_of(shard: &Path, target: &Target) -> PathBuf {
    folder_of(&target.file).join(default_output(shard).file_name().unwrap_or_default())
}
