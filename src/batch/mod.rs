//! One input file with all that is in it: a checkpoint becomes an output, a bundle of them an output for each, and the index of a set one
//! for each of its files.

mod set;

use std::path::{Path, PathBuf};

use crate::convert::{ConvertOptions, Converted, prepare_input, prepare_packaged};
use crate::error::{self, Code, Error, Result};
use crate::filenames;
use crate::input::Input;
use crate::ledger::Ledger;
use crate::progress::Progress;
use crate::set::Published;

/// The index that would be written for the outputs of a set.
#[derive(Debug)]
pub struct SetPlan {
    /// Tensors in all files.
    pub tensors: u64,
    /// Files of the set.
    pub files: u64,
    /// In what its index is wrong, in words.
    pub notes: Vec<String>,
}

/// Where the outputs of an input go.
#[derive(Debug, Clone)]
pub struct Target {
    /// The output of one checkpoint.
    pub file: PathBuf,
    /// The folder for those of a bundle; without one they are merged into `file`.
    pub folder: Option<PathBuf>,
}

/// What became of a checkpoint.
#[derive(Debug)]
pub enum Outcome {
    /// It was converted.
    Converted(Converted),
    /// It would be, in a run that writes nothing.
    Planned(Ledger),
    /// All files of a set were converted, and this index lists their outputs.
    Indexed(Published),
    /// The index of a set would be written.
    IndexPlanned(SetPlan),
    /// It is a pickle beside the weights in a bundle, and holds none.
    Skipped(Error),
    /// It was not, and why.
    Refused(Error),
}

/// A checkpoint, and what became of it.
#[derive(Debug)]
pub struct Done {
    /// The input; of a bundle, the input and the path in it.
    pub input: PathBuf,
    /// Its output.
    pub output: PathBuf,
    /// What became of it.
    pub outcome: Outcome,
}

/// Converts what is in `input`, or says what converting it would do, and gives what became of each checkpoint to `each`. `claim` is asked
/// once, before anything is written, for each output whether it may be; `progress` hears of one checkpoint after the other.
pub fn convert(
    input: &Path,
    target: &Target,
    options: &ConvertOptions,
    dry_run: bool,
    claim: impl FnOnce(&[PathBuf]) -> Vec<Result<()>>,
    progress: &dyn Progress,
    each: &mut dyn FnMut(Done),
) {
    let work = Work { options, dry_run, progress };
    if filenames::is_index(input) && target.folder.is_some() && options.max_shard_size.is_none() {
        return work.each_of_set(input, target, claim, each);
    }
    // What only plans leaves the place of the output alone.
    let scratch = (!dry_run).then(|| filenames::existing_folder_of(&target.file));
    let refused = |error| Done { input: input.to_owned(), output: target.file.clone(), outcome: Outcome::Refused(error) };
    let opened = match Input::open_any(input, &options.read, scratch) {
        Ok(opened) => opened,
        Err(error) => return each(refused(error)),
    };
    let names: Option<Vec<String>> = opened.checkpoints().map(|names| names.into_iter().map(str::to_owned).collect());
    match (names.filter(|names| !names.is_empty()), &target.folder) {
        (Some(names), Some(folder)) if options.extras.is_some() && names.len() > 1 => {
            let why = "--extras takes the values of one checkpoint, and this is a bundle of several; name one output file with -o";
            each(Done { output: folder.clone(), ..refused(Error::usage(why)) });
        }
        (Some(names), Some(folder)) => {
            let outputs: Vec<PathBuf> = names.iter().map(|name| folder.join(filenames::packaged_output(name))).collect();
            let claimed = claim(&outputs).into_iter().zip(&outputs).map(|(mine, output)| {
                mine.map_err(|error| match error.code() {
                    Code::OutputExists => error,
                    _ => Error::outputs_collide(output),
                })
            });
            work.unpack(input, &opened, names.iter().zip(&outputs).zip(claimed), each);
        }
        _ => {
            let claimed = claim(std::slice::from_ref(&target.file)).pop().unwrap_or(Ok(()));
            let outcome = claimed.and_then(|()| prepare_input(opened, &target.file, options));
            let outcome = outcome.and_then(|prepared| work.write(prepared, &target.file)).unwrap_or_else(Outcome::Refused);
            each(Done { input: input.to_owned(), output: target.file.clone(), outcome });
        }
    }
}

struct Work<'a> {
    options: &'a ConvertOptions,
    dry_run: bool,
    progress: &'a dyn Progress,
}

impl Work<'_> {
    fn write(&self, prepared: crate::convert::Prepared, output: &Path) -> Result<Outcome> {
        match self.dry_run {
            true => Ok(Outcome::Planned(prepared.ledger)),
            false => prepared.write(output, self.options, self.progress).map(Outcome::Converted),
        }
    }

    /// Converts every checkpoint of a bundle to a file of its own.
    fn unpack<'n>(
        &self,
        input: &Path,
        opened: &Input,
        checkpoints: impl Iterator<Item = ((&'n String, &'n PathBuf), Result<()>)>,
        each: &mut dyn FnMut(Done),
    ) {
        let (mut any, mut empty) = (false, Vec::new());
        for (index, ((name, output), claimed)) in checkpoints.enumerate() {
            if self.progress.cancelled() {
                let outcome = Outcome::Refused(error::interrupted());
                return each(Done { input: input.join(name), output: output.clone(), outcome });
            }
            let prepared = claimed.and_then(|()| prepare_packaged(opened, index, output, self.options));
            let (shown, written) = (input.join(name), output.clone());
            let done = move |outcome| Done { input: shown, output: written, outcome };
            match prepared {
                // Beside weights, bundles hold pickles of other things.
                Err(error) if matches!(error.code(), Code::NoTensors | Code::ObjectArray) => empty.push((done, error)),
                prepared => {
                    any = true;
                    let outcome = prepared.and_then(|prepared| self.write(prepared, output)).unwrap_or_else(Outcome::Refused);
                    each(done(outcome));
                }
            }
        }
        for (done, error) in empty {
            each(done(if any { Outcome::Skipped(error) } else { Outcome::Refused(error) }));
        }
    }
}
