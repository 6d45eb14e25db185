//! One part of a store: several machines share a store by each taking its own part.

use std::fmt;

use crate::digest::Hasher;
use crate::error::{Error, Result};

/// Part number `index` of `of`, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    index: u64,
    of: u64,
}

/// Where a scheduler says which part this process is: the number, the lowest number, the step between them, and how many there are.
struct Scheduler {
    number: &'static str,
    lowest: Option<&'static str>,
    step: Option<&'static str>,
    of: Option<&'static str>,
    /// The number of the first part where N is given: of an array that is run again in part, the lowest number is not that of the first.
    first: u64,
}

const SCHEDULERS: &[Scheduler] = &[
    Scheduler {
        number: "SLURM_ARRAY_TASK_ID",
        lowest: Some("SLURM_ARRAY_TASK_MIN"),
        step: Some("SLURM_ARRAY_TASK_STEP"),
        of: Some("SLURM_ARRAY_TASK_COUNT"),
        first: 1,
    },
    // Kubernetes counts from 0 and does not tell how many there are.
    Scheduler { number: "JOB_COMPLETION_INDEX", lowest: None, step: None, of: None, first: 0 },
];

impl Part {
    /// `I/N`; or `env` or `env/N`, of which `variable` tells what the scheduler says.
    ///
    /// # Errors
    /// `usage` when it is none of them, or the environment does not say it.
    pub fn parse(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Part> {
        let (index, of) = match text.split_once('/') {
            Some((index, of)) => (index, Some(number(of, "the number of parts")?)),
            None => (text, None),
        };
        let (index, of) = match (index, of) {
            ("env", of) => from_scheduler(of, variable)?,
            (index, Some(of)) => (number(index, "the part")?, of),
            (_, None) => return Err(wrong(&format!("{text:?} does not say which part of how many"))),
        };
        match (1..=of).contains(&index) {
            true => Ok(Part { index, of }),
            false => Err(wrong(&format!("there is no part {index} of {of}; parts are counted from 1"))),
        }
    }

    /// Whether something of this name belongs to the part: by its digest, so that it is the same on every machine and at any time.
    pub fn has(&self, name: &str) -> bool {
        let mut hasher = Hasher::default();
        hasher.update(name.as_bytes());
        let head = hasher.finish().0.into_iter().take(8).fold(0u64, |n, byte| n << 8 | u64::from(byte));
        head % self.of == self.index - 1
    }

    /// The part in the name of a file.
    pub fn in_name(&self) -> String {
        format!("{}-of-{}", self.index, self.of)
    }

    /// Whether this is a part in the name of a file.
    pub(crate) fn is_in_name(text: &str) -> bool {
        text.split_once("-of-").is_some_and(|(index, of)| [index, of].iter().all(|n| n.parse::<u64>().is_ok()))
    }

    /// How many parts there are.
    pub fn of(&self) -> u64 {
        self.of
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

fn from_scheduler(of: Option<u64>, variable: impl Fn(&str) -> Option<String>) -> Result<(u64, u64)> {
    let known = SCHEDULERS.iter().find_map(|scheduler| Some((scheduler, variable(scheduler.number)?)));
    let Some((scheduler, text)) = known else {
        let names: Vec<_> = SCHEDULERS.iter().map(|scheduler| scheduler.number).collect();
        return Err(wrong(&format!("the environment has no {}", names.join(" and no "))));
    };
    let read = |name: Option<&'static str>| name.and_then(|name| Some((name, variable(name)?)));
    let read = |name, default| read(name).map_or(Ok(default), |(name, text)| number(&text, name));
    let index = number(&text, scheduler.number)?;
    match (of, read(scheduler.of, 0)?) {
        (Some(of), _) => Ok(((index + 1).saturating_sub(scheduler.first), of)),
        (None, 0) => Err(wrong(&format!("{} does not tell how many parts there are; write --shard env/N", scheduler.number))),
        (None, of) => Ok((index.saturating_sub(read(scheduler.lowest, 0)?) / read(scheduler.step, 1)?.max(1) + 1, of)),
    }
}

fn number(text: &str, what: &str) -> Result<u64> {
    text.parse().map_err(|_| wrong(&format!("{what} is {text:?}, which is no number")))
}

fn wrong(why: &str) -> Error {
    Error::usage(format!("--shard: {why}"))
        .help("for example --shard 3/16, the third of sixteen parts, or --shard env in an array of Slurm jobs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(text: &str, variables: &[(&str, &str)]) -> Result<Part> {
        Part::parse(text, |name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn every_name_is_in_one_part() {
        let parts: Vec<Part> = (1..=7).map(|i| part(&format!("{i}/7"), &[]).unwrap()).collect();
        let mut counts = [0; 7];
        for i in 0..7_000 {
            let name = format!("models/{i}/pytorch_model.bin");
            let mine: Vec<usize> = (0..7).filter(|&part| parts[part].has(&name)).collect();
            assert_eq!(mine.len(), 1);
            counts[mine[0]] += 1;
        }
        assert!(counts.iter().all(|&n| (900..1_100).contains(&n)), "{counts:?}");
        // The same for ever: other machines, other versions.
        assert!(part("2/3", &[]).unwrap().has("a/b.pt"), "its sha256 starts with 5032bea46385beac");
    }

    #[test]
    fn schedulers_say_which_part_it_is() {
        let slurm = [
            ("SLURM_ARRAY_TASK_ID", "14"),
            ("SLURM_ARRAY_TASK_MIN", "10"),
            ("SLURM_ARRAY_TASK_STEP", "2"),
            ("SLURM_ARRAY_TASK_COUNT", "5"),
        ];
        assert_eq!(part("env", &slurm).unwrap(), Part { index: 3, of: 5 });
        // One task of an array of 16 again: `sbatch --array=7`.
        let again = [("SLURM_ARRAY_TASK_ID", "7"), ("SLURM_ARRAY_TASK_MIN", "7"), ("SLURM_ARRAY_TASK_COUNT", "1")];
        assert_eq!(part("env/16", &again).unwrap(), Part { index: 7, of: 16 });
        assert!(part("env/16", &[("SLURM_ARRAY_TASK_ID", "0")]).is_err(), "parts are counted from 1");
        assert_eq!(part("env/8", &[("JOB_COMPLETION_INDEX", "0")]).unwrap(), Part { index: 1, of: 8 });
        for (text, variables) in [("env", &[][..]), ("env", &[("JOB_COMPLETION_INDEX", "0")]), ("env/2", &[("JOB_COMPLETION_INDEX", "2")])]
        {
            assert!(part(text, variables).is_err(), "{text} {variables:?}");
        }
    }

    #[test]
    fn what_is_no_part_is_refused() {
        for text in ["", "3", "0/3", "4/3", "1/0", "a/3", "1/b", "-1/3", "1/3/4"] {
            assert!(part(text, &[]).is_err(), "{text}");
        }
    }
}
