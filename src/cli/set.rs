//! `depickle convert` of the index of a set: file by file, with a new index at the end, or all of it as one checkpoint.

use std::path::Path;
use std::sync::atomic::Ordering;

use depickle::convert::{prepare, prepare_input};
use depickle::filenames::{existing_folder_of, index_path};
use depickle::index::ShardIndex;
use depickle::input::Input;
use depickle::report::{json, text};
use depickle::set::{self, Names};
use depickle::{Error, Result};

use super::convert::{Run, output_of, refused, write};
use super::progress::stop_requested;

impl Run<'_> {
    /// Converts all files of a set as one checkpoint, which may be split again.
    pub(super) fn join(&mut self, input: &Path, output: &Path) -> u8 {
        let scratch = (!self.args.dry_run).then(|| existing_folder_of(output));
        let read = ShardIndex::read(input, &self.options.read.limits);
        let opened = read.and_then(|index| Input::of_set(index, &self.options.read, scratch));
        let prepared = opened.and_then(|opened| self.claim(output).and_then(|()| prepare_input(opened, output, self.options)));
        write(input, output, self.args, self.options, prepared)
    }

    /// Converts each file of a set to one of its own, and lists them in a new index. Nothing is written before all are read and
    /// compared with the index. `output` is what one file would be called.
    pub(super) fn convert_set(&mut self, input: &Path, output: &Path, folder: Option<&Path>) -> u8 {
        let read = ShardIndex::read(input, &self.options.read.limits).and_then(|index| index.check_shards().map(|()| index));
        let index = match read {
            Ok(index) => index,
            Err(error) => return refused(input, self.args, &error),
        };
        if self.args.extras.is_some() {
            let message = "--extras takes the values of one checkpoint; name one output file with -o, or convert the files one by one";
            return refused(input, self.args, &Error::usage(message));
        }
        let target = index_path(output);
        let shards = index.shards();
        let outputs: Vec<_> =
            index.shard_names().iter().zip(&shards).map(|(name, shard)| (name.clone(), output_of(shard, self.args, folder))).collect();
        let mut names = Vec::new();
        for ((name, output), shard) in outputs.iter().zip(&shards) {
            let prepared = self.claim(output).and_then(|()| prepare(shard, output, self.options));
            match prepared {
                Ok(prepared) => names.push((name.clone(), Names::of(&prepared))),
                Err(error) => return refused(shard, self.args, &error),
            }
        }
        let (tensors, notes) = match set::check_prepared(&index, &names, &target, self.options.force) {
            Ok(checked) => checked,
            Err(error) => return refused(input, self.args, &error),
        };
        drop(names);
        for ((_, output), shard) in outputs.iter().zip(&shards) {
            let code = write(shard, output, self.args, self.options, prepare(shard, output, self.options));
            if code != 0 || stop_requested().load(Ordering::Relaxed) {
                return code.max(u8::from(stop_requested().load(Ordering::Relaxed)));
            }
        }
        if self.args.dry_run {
            return match self.args.json {
                true => super::print(&(json::line(&json::Conversion::would_index(input, tensors, &notes)) + "\n")),
                false => super::print(&text::would_index(input, &target, tensors, shards.len() as u64, &notes)),
            };
        }
        let published: Result<_> = set::publish(&index, &outputs, &target, self.options.force);
        match published {
            Ok(published) if self.args.json => super::print(&(json::line(&json::Conversion::indexed(input, &published)) + "\n")),
            Ok(published) => {
                if !self.args.quiet {
                    super::say(&text::indexed(input, &published));
                }
                0
            }
            Err(error) => refused(input, self.args, &error),
        }
    }
}
