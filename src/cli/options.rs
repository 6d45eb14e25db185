//! Arguments that several commands share, and what they mean to the library.

use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use depickle::ConvertOptions;
use depickle::limits::{Limits, ReadOptions};
use depickle::rules::Deny;
use depickle::select::{Lower, Root, Selection, Shared};

/// Which tensors are taken, and how the input is read.
#[derive(Debug, Clone, Args)]
pub(super) struct InputArgs {
    /// Where the tensors are: auto, a dotted name such as model.ema, or . for everything
    #[arg(long, default_value = "auto", value_name = "auto|NAME|.")]
    root: String,

    /// Tensors that are the same under several names: drop keeps one name and records the others, copy writes all
    #[arg(long, value_enum, default_value_t = SharedArg::Drop)]
    shared: SharedArg,

    /// Tensors that safetensors cannot hold as they are (quantized, sparse, nested ...): plain writes what they are made of
    /// and records it, refuse is an error
    #[arg(long, value_enum, default_value_t = LowerArg::Plain)]
    lower: LowerArg,

    /// Take only tensors whose name matches; may be given several times
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,

    /// Leave out tensors whose name matches; may be given several times
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,

    /// Give a tensor another name; OLD is a name or a path as messages show it
    #[arg(long, value_name = "OLD=NEW", value_parser = parse_rename)]
    rename: Vec<(String, String)>,

    /// Read archive members whose checksum is wrong, with the damage
    #[arg(long)]
    ignore_crc: bool,

    #[command(flatten)]
    limit: LimitArgs,
}

/// What an input may cost.
#[derive(Debug, Clone, Args)]
pub(super) struct LimitArgs {
    /// Raise or lower a limit, for example pickle-bytes=2G; the names are in the error that a limit gives
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_limit)]
    limit: Vec<(String, u64)>,
}

impl LimitArgs {
    /// What the arguments mean.
    ///
    /// # Errors
    /// `usage` for an unknown limit.
    pub(super) fn limits(&self) -> depickle::Result<Limits> {
        let mut limits = Limits::default();
        for (name, value) in &self.limit {
            limits.set(name, *value)?;
        }
        Ok(limits)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SharedArg {
    Drop,
    Copy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LowerArg {
    Plain,
    Refuse,
}

/// From which severity on findings refuse a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum DenyArg {
    Dangerous,
    Unrecognized,
    None,
}

impl DenyArg {
    /// What it means.
    pub(super) fn meant(self) -> Deny {
        match self {
            DenyArg::Dangerous => Deny::Dangerous,
            DenyArg::Unrecognized => Deny::Unrecognized,
            DenyArg::None => Deny::None,
        }
    }
}

impl InputArgs {
    /// What the arguments mean.
    ///
    /// # Errors
    /// `usage` for an unknown limit.
    pub(super) fn options(&self, deny: DenyArg, extras: Option<PathBuf>, force: bool) -> depickle::Result<ConvertOptions> {
        let mut read = ReadOptions::default();
        read.limits = self.limit.limits()?;
        read.ignore_crc = self.ignore_crc;
        let mut selection = Selection::default();
        selection.root = match self.root.as_str() {
            "auto" => Root::Auto,
            "." => Root::Whole,
            path => Root::Path(path.to_owned()),
        };
        selection.shared = match self.shared {
            SharedArg::Drop => Shared::Drop,
            SharedArg::Copy => Shared::Copy,
        };
        selection.lower = match self.lower {
            LowerArg::Plain => Lower::Plain,
            LowerArg::Refuse => Lower::Refuse,
        };
        selection.include.clone_from(&self.include);
        selection.exclude.clone_from(&self.exclude);
        selection.rename.clone_from(&self.rename);
        let mut options = ConvertOptions::default();
        options.read = read;
        options.selection = selection;
        options.deny = deny.meant();
        options.extras = extras;
        options.force = force;
        Ok(options)
    }
}

fn parse_rename(text: &str) -> Result<(String, String), String> {
    match text.rsplit_once('=') {
        Some((old, new)) => Ok((old.to_owned(), new.to_owned())),
        None => Err("expected OLD=NEW".to_owned()),
    }
}

/// `NAME=VALUE` with a value such as `1000`, `64K`, `2M`, `1G` (powers of 1024).
fn parse_limit(text: &str) -> Result<(String, u64), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let (digits, shift) = match value.char_indices().last() {
        Some((i, 'k' | 'K')) => (&value[..i], 10),
        Some((i, 'm' | 'M')) => (&value[..i], 20),
        Some((i, 'g' | 'G')) => (&value[..i], 30),
        Some((i, 't' | 'T')) => (&value[..i], 40),
        _ => (value, 0),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{value:?} is no number, expected for example 1000 or 2G"))?;
    let value = number.checked_mul(1 << shift).ok_or_else(|| format!("{value:?} is too large"))?;
    Ok((name.to_owned(), value))
}

/// A size such as `5GB`, as the Hugging Face libraries read it (powers of 1000), `5GiB` (powers of 1024), or a number of bytes.
pub(super) fn parse_size(text: &str) -> Result<NonZeroU64, String> {
    const UNITS: &[(&str, f64)] = &[
        ("KIB", 1024.0),
        ("MIB", 1_048_576.0),
        ("GIB", 1_073_741_824.0),
        ("TIB", 1_099_511_627_776.0),
        ("KB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("TB", 1e12),
        ("B", 1.0),
        ("", 1.0),
    ];
    let upper = text.trim().to_ascii_uppercase();
    let (number, unit) = UNITS.iter().find_map(|(unit, factor)| Some((upper.strip_suffix(unit)?, *factor))).unwrap_or((&upper, 1.0));
    let is_number = |number: &str| number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let value = Some(number.trim()).filter(|number| is_number(number)).and_then(|number| number.parse::<f64>().ok());
    // As there, what is beyond the point of a byte is cut off.
    let bytes = value.map(|value| (value * unit) as u64);
    bytes.and_then(NonZeroU64::new).ok_or_else(|| format!("{text:?} is no size, expected for example 5GB or 500MiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_the_hugging_face_libraries_read_them() {
        for (text, bytes) in [
            ("5GB", 5_000_000_000),
            ("500mb", 500_000_000),
            (" 1.5 GB ", 1_500_000_000),
            ("10KB", 10_000),
            ("2TB", 2_000_000_000_000),
            ("4GiB", 4 << 30),
            ("1MiB", 1 << 20),
            ("1000", 1000),
            ("7B", 7),
        ] {
            assert_eq!(parse_size(text).map(NonZeroU64::get), Ok(bytes), "{text}");
        }
        for bad in ["", "0", "GB", "-1GB", "1e3", "inf", "nan", "5XB", "0.1B"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
