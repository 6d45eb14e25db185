//! Every way this program fails, in one place: the stable codes, who is at fault, and the wording.
//!
//! A message says what is wrong, the value seen and what was expected; the place and the help follow it. The codes
//! are part of the `--json` interface and never change meaning.

use std::fmt;
use std::io;
use std::path::Path;

use crate::finding::Finding;
use crate::place::Place;
use crate::text::{bytes, quoted};

/// The result of everything that can fail here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who is at fault; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The input is damaged, contradicts itself or holds nothing to convert.
    Input,
    /// The input may be fine, but this program does not read it.
    Unsupported,
    /// A budget of [`Limits`](crate::Limits) was exceeded.
    Limit,
    /// The operating system refused: a missing file, a full disk.
    System,
    /// The call makes no sense: an unknown name, an output that exists.
    Usage,
    /// The input was understood and refused by policy.
    Policy,
    /// A verification found a difference.
    Mismatch,
}

impl Kind {
    /// The exit code of a run that ends with such an error.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Input | Kind::Unsupported | Kind::Limit | Kind::System => 1,
            Kind::Usage => 2,
            Kind::Policy => 3,
            Kind::Mismatch => 4,
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $kind:ident;)*) => {
        /// The stable reason of an error, as `--json` writes it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code { $($(#[$doc])* $variant,)* }

        impl Code {
            /// Every code.
            pub const ALL: &[Code] = &[$(Code::$variant,)*];

            /// The code as it is written in JSON and in tests.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)* }
            }

            /// Who is at fault.
            pub fn kind(self) -> Kind {
                match self { $(Code::$variant => Kind::$kind,)* }
            }
        }
    };
}

codes! {
    /// The file has no bytes.
    EmptyFile = "empty-file", Input;
    /// No known container starts like this.
    UnknownFormat = "unknown-format", Unsupported;
    /// A container that is recognised by name and not read.
    UnsupportedContainer = "unsupported-container", Unsupported;
    /// The file ends before what it announces.
    Truncated = "truncated", Input;
    /// The zip structure is damaged.
    ZipMalformed = "zip-malformed", Input;
    /// Two readers could see two different archives.
    ZipAmbiguous = "zip-ambiguous", Input;
    /// An entry is encrypted.
    ZipEncrypted = "zip-encrypted", Unsupported;
    /// An entry is compressed by a method other than deflate.
    ZipUnsupportedMethod = "zip-unsupported-method", Unsupported;
    /// An entry's bytes do not have the checksum that the archive records.
    ZipCrc = "zip-crc", Input;
    /// A member that the checkpoint needs is not in the archive.
    MissingEntry = "missing-entry", Input;
    /// The header of a `.npy` file is not one that numpy writes.
    NpyMalformed = "npy-malformed", Input;
    /// The tar structure is damaged.
    TarMalformed = "tar-malformed", Input;
    /// Two readers could see two different archives.
    TarAmbiguous = "tar-ambiguous", Input;
    /// Compressed data is damaged.
    CompressionMalformed = "compression-malformed", Input;
    /// The pickle stream is not one that Python would load.
    PickleMalformed = "pickle-malformed", Input;
    /// The stream needs something that only its producer's process has.
    PickleUnsupportedOpcode = "pickle-unsupported-opcode", Unsupported;
    /// More than one pickle, each with data.
    PickleMultiple = "pickle-multiple", Input;
    /// The five pickles of a legacy file, or its tail, are damaged.
    LegacyMalformed = "legacy-malformed", Input;
    /// A view reaches beyond its storage.
    TensorOutOfBounds = "tensor-out-of-bounds", Input;
    /// A shape, stride, offset or dtype that no tensor can have.
    TensorInvalid = "tensor-invalid", Input;
    /// A tensor that is understood and has no lowering yet.
    TensorUnsupported = "tensor-unsupported", Unsupported;
    /// A storage has another size than the checkpoint says.
    StorageSizeMismatch = "storage-size-mismatch", Input;
    /// A tensor depends on a call whose result only running it would tell.
    OpaqueResult = "opaque-result", Input;
    /// Nothing to convert.
    NoTensors = "no-tensors", Input;
    /// A numpy array of Python objects, none of which is a tensor.
    ObjectArray = "object-array", Input;
    /// Two tensors would get one name.
    NameCollision = "name-collision", Input;
    /// A name that safetensors cannot carry.
    NameInvalid = "name-invalid", Input;
    /// The index of a set is not one that the Hugging Face libraries write.
    IndexMalformed = "index-malformed", Input;
    /// A file of a set is missing, or a tensor that its index lists.
    SetIncomplete = "set-incomplete", Input;
    /// A budget was exceeded.
    LimitExceeded = "limit-exceeded", Limit;
    /// A value on the command line or in the options that matches nothing.
    Usage = "usage", Usage;
    /// The output is already there.
    OutputExists = "output-exists", Usage;
    /// The operating system refused.
    Io = "io", System;
    /// Refused because of findings.
    Denied = "denied", Policy;
    /// A verification found a difference.
    Mismatch = "mismatch", Mismatch;
}

/// What went wrong, where, and what to do about it.
#[derive(Debug, Clone)]
pub struct Error(Box<Facts>);

#[derive(Debug, Clone)]
struct Facts {
    code: Code,
    message: String,
    place: Option<Place>,
    help: Option<String>,
    findings: Vec<Finding>,
    disk_full: bool,
}

impl Error {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Error(Box::new(Facts { code, message: message.into(), place: None, help: None, findings: Vec::new(), disk_full: false }))
    }

    /// An error of whoever calls this library, such as two inputs with one output.
    pub fn usage(message: impl Into<String>) -> Self {
        Error::new(Code::Usage, message)
    }

    /// Two checkpoints of one bundle that would be one output.
    pub fn outputs_collide(output: &Path) -> Self {
        let message = format!("{} is the output of two checkpoints of the bundle", quoted(&output.to_string_lossy(), 300));
        Error::new(Code::NameCollision, message).help("extract the archive and convert them one by one")
    }

    /// A pickle that was found where none should be, and not read to its end.
    pub(crate) fn unread(place: &Place, reason: &str) -> Self {
        Error::new(Code::LimitExceeded, format!("a pickle that is here could not be read to its end: {reason}")).at(place)
    }

    /// The same error with its place, unless a better one (closer to the cause) is already known.
    #[must_use]
    pub(crate) fn at(mut self, place: &Place) -> Self {
        self.0.place.get_or_insert_with(|| place.clone());
        self
    }

    /// Adds what to do about it, unless that is said already.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.0.help.get_or_insert_with(|| help.into());
        self
    }

    /// The same error with what was found before it: a refusal must not hide a payload.
    #[must_use]
    pub(crate) fn with_findings(mut self, findings: &[Finding]) -> Self {
        self.0.findings.extend_from_slice(findings);
        self
    }

    /// What was found in the input before the error.
    pub fn findings(&self) -> &[Finding] {
        &self.0.findings
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Who is at fault.
    pub fn kind(&self) -> Kind {
        self.0.code.kind()
    }

    /// What is wrong, without place and help. Text from the file is quoted and printable.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Where in the input.
    pub fn place(&self) -> Option<&Place> {
        self.0.place.as_ref()
    }

    /// What to do about it.
    pub fn advice(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// The exit code of a process that ends with this error: 1 input or system, 2 usage, 3 policy, 4 mismatch.
    pub fn exit_code(&self) -> u8 {
        self.kind().exit_code()
    }

    /// Whether there was no room on the disk, so that other files would have none either.
    pub(crate) fn is_disk_full(&self) -> bool {
        self.0.disk_full
    }

    fn full(mut self) -> Self {
        self.0.disk_full = true;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if let Some(place) = &self.0.place {
            write!(f, " (at {place})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

// ---- the system -----------------------------------------------------------------------------------------------

pub(crate) fn io(doing: &str, path: &Path, cause: &io::Error) -> Error {
    let error = Error::new(Code::Io, format!("cannot {doing} {}: {}", quoted(&path.to_string_lossy(), 300), io_reason(cause)));
    match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            error.full().help("free some space or choose another folder with -o; nothing was left behind")
        }
        io::ErrorKind::FileTooLarge => error.help("the file system, or a limit such as that of ulimit -f, allows no file of this size"),
        io::ErrorKind::ReadOnlyFilesystem => error.help("choose another folder with -o"),
        // EMFILE, which has no kind of its own.
        _ if cfg!(unix) && cause.raw_os_error() == Some(24) => {
            error.help("allow more open files with ulimit -n, or split into fewer files with a larger --max-shard-size")
        }
        io::ErrorKind::PermissionDenied => error.help("check the permissions of the file and of its folder"),
        _ => error,
    }
}

/// The error of this program that a reader of another library hands on as one of the system.
pub(crate) fn within(cause: &io::Error) -> Option<Error> {
    cause.get_ref()?.downcast_ref::<Error>().cloned()
}

/// A file stands where this program keeps a record, and is none.
pub(crate) fn not_ours(path: &Path) -> Error {
    Error::usage(format!("{} is no record of this program, and stands where it would be", quoted(&path.to_string_lossy(), 300)))
        .help("move it away, or choose another folder for the outputs")
}

/// The disk became full before all files of a store were converted.
pub(crate) fn disk_full(left: u64) -> Error {
    Error::new(Code::Io, format!("the disk is full; {} not converted", crate::text::count(left, "file")))
        .full()
        .help("free some space and run the same command again; what was converted is complete and stays")
}

/// The disk is too small for an output.
pub(crate) fn no_room(path: &Path, needed: u64, free: u64) -> Error {
    let (path, needed, free) = (quoted(&path.to_string_lossy(), 300), bytes(needed), bytes(free));
    Error::new(Code::Io, format!("there is no room for {path}: it needs {needed}, {free} are free"))
        .full()
        .help("free some space or choose another folder with -o; nothing was left behind")
}

/// The cause in lower case and without Rust's `(os error N)`.
fn io_reason(cause: &io::Error) -> String {
    let text = cause.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().collect::<String>() + chars.as_str()).unwrap_or_default()
}

pub(crate) fn no_folder(target: &Path, folder: &Path) -> Error {
    let shown = |path: &Path| quoted(&path.to_string_lossy(), 300);
    Error::new(Code::Io, format!("cannot create {}: there is no folder {}", shown(target), shown(folder)))
        .help("make the folder; when it was there before, it was moved or removed during the conversion")
}

/// A temporary file that was there a moment ago.
pub(crate) fn vanished(target: &Path) -> Error {
    Error::new(Code::Io, format!("cannot finish {}: the file with its data is gone", quoted(&target.to_string_lossy(), 300)))
        .help("its folder was moved or emptied during the conversion; convert again")
}

pub(crate) fn source_changed(path: &Path) -> Error {
    Error::new(Code::Io, format!("{} changed while it was being read", quoted(&path.to_string_lossy(), 300)))
        .help("wait until its writer is done, then convert again")
}

pub(crate) fn interrupted() -> Error {
    Error::new(Code::Io, "interrupted")
}

pub(crate) fn same_file(what: &str, other: &str, path: &Path) -> Error {
    Error::new(Code::Usage, format!("{what} {} is also {other}", quoted(&path.to_string_lossy(), 300))).help("choose another name for it")
}

pub(crate) fn not_a_file(path: &Path) -> Error {
    Error::new(Code::Usage, format!("{} is there and is no regular file", quoted(&path.to_string_lossy(), 300)))
        .help("choose another name with -o")
}

pub(crate) fn output_exists(path: &Path) -> Error {
    Error::new(Code::OutputExists, format!("the output {} already exists", quoted(&path.to_string_lossy(), 300)))
        .help("pass --force to replace it, or choose another name with -o")
}

/// A file that programs read instead of those that an index beside it lists.
pub(crate) fn hides_the_set(path: &Path) -> Error {
    let path = quoted(&path.to_string_lossy(), 300);
    Error::new(Code::OutputExists, format!("{path} is there, and would be read instead of the files that the checkpoint is split into"))
        .help("remove it, or choose another folder or name with -o")
}

// ---- budgets --------------------------------------------------------------------------------------------------

pub(crate) fn limit(name: &str, seen: impl fmt::Display, allowed: u64) -> Error {
    Error::new(Code::LimitExceeded, format!("the limit {name} is exceeded: {seen}, allowed {allowed}"))
        .help(format!("if you trust the file, raise it with --limit {name}=VALUE"))
}

/// The output would be larger than its budget.
pub(crate) fn output_too_big(bytes_needed: u128, allowed: u64) -> Error {
    let shown = bytes(u64::try_from(bytes_needed).unwrap_or(u64::MAX));
    limit("output-bytes", format_args!("the tensors need {bytes_needed} bytes ({shown})"), allowed)
}

// ---- pickle ---------------------------------------------------------------------------------------------------

pub(crate) fn pickle(place: &Place, what: impl Into<String>) -> Error {
    Error::new(Code::PickleMalformed, what).at(place)
}

pub(crate) fn pickle_truncated(place: &Place, what: &str, needed: u64, left: u64) -> Error {
    Error::new(Code::Truncated, format!("the pickle ends within {what}: {needed} more bytes expected, {left} left"))
        .at(place)
        .help("the file is incomplete; download or copy it again")
}

pub(crate) fn needs_producer(opcode: &str, why: &str) -> Error {
    Error::new(Code::PickleUnsupportedOpcode, format!("opcode {opcode} {why}"))
}

// ---- containers -----------------------------------------------------------------------------------------------

pub(crate) fn truncated(place: &Place, what: &str, needed: u64, left: u64) -> Error {
    Error::new(Code::Truncated, format!("the file ends within {what}: {needed} bytes expected, {left} left"))
        .at(place)
        .help("the file is incomplete; download or copy it again")
}

pub(crate) fn zip(message: impl Into<String>) -> Error {
    Error::new(Code::ZipMalformed, message).help("the file is damaged or incomplete; download or copy it again")
}

pub(crate) fn zip_ambiguous(message: impl Into<String>) -> Error {
    Error::new(Code::ZipAmbiguous, message)
        .help("two programs could read two different checkpoints from this file; have its author save it again")
}

/// The same for what is worth a finding of its own, which says why.
pub(crate) fn zip_ambiguous_because(finding: Finding) -> Error {
    zip_ambiguous(finding.message.clone()).at(&finding.place).with_findings(&[finding])
}

pub(crate) fn zip_crc(member: &str, recorded: u32, actual: u32) -> Error {
    Error::new(
        Code::ZipCrc,
        format!("member {} is damaged: its CRC-32 is {actual:08x}, the archive records {recorded:08x}", quoted(member, 200)),
    )
    .help("download or copy the file again; --ignore-crc converts it as it is, with the damage")
}

pub(crate) fn missing_entry(member: &str, wanted_by: &str) -> Error {
    Error::new(Code::MissingEntry, format!("the archive has no member {}, which {wanted_by}", quoted(member, 200)))
        .help("the file is incomplete; download it again or have its author save it again")
}

pub(crate) fn legacy(place: &Place, message: impl Into<String>) -> Error {
    Error::new(Code::LegacyMalformed, message).at(place)
}

pub(crate) fn unsupported_container(what: &str, advice: &str) -> Error {
    Error::new(Code::UnsupportedContainer, format!("this is {what}, not a pickle checkpoint")).help(advice)
}

// ---- sets of files --------------------------------------------------------------------------------------------

pub(crate) fn index(path: &Path, what: &str) -> Error {
    Error::new(Code::IndexMalformed, format!("{} is no index of shards: {what}", quoted(&path.to_string_lossy(), 300)))
        .help("download it again, or convert its shards one by one")
}

/// Shards that are not there, or tensors that are in none.
pub(crate) fn incomplete(message: impl Into<String>) -> Error {
    Error::new(Code::SetIncomplete, message).help("the set is incomplete; download or copy it again, or convert its files one by one")
}

/// One tensor in two files of a set.
pub(crate) fn in_two_shards(name: &str, first: &str, second: &str) -> Error {
    let (name, first, second) = (quoted(name, 200), quoted(first, 200), quoted(second, 200));
    Error::new(Code::NameCollision, format!("tensor {name} is in two files of the set: {first} and {second}"))
        .help("only its author can say which of the two counts; the files can be converted one by one")
}

// ---- tensors --------------------------------------------------------------------------------------------------

pub(crate) fn tensor_invalid(place: &Place, message: impl Into<String>) -> Error {
    Error::new(Code::TensorInvalid, message).at(place)
}

pub(crate) fn tensor_unsupported(place: &Place, message: impl Into<String>) -> Error {
    Error::new(Code::TensorUnsupported, message).at(place)
}

pub(crate) fn out_of_bounds(place: &Place, view: &str, needs_bytes: u128, storage_bytes: u64) -> Error {
    Error::new(
        Code::TensorOutOfBounds,
        format!("a view reaches beyond its storage: {view} needs {needs_bytes} bytes, the storage has {storage_bytes}"),
    )
    .at(place)
}

pub(crate) fn storage_size(place: &Place, key: &str, has: u64, declared: u128) -> Error {
    Error::new(Code::StorageSizeMismatch, format!("storage {} has {has} bytes, the checkpoint says {declared}", quoted(key, 80)))
        .at(place)
        .help("the file is damaged or was edited; download it again or have its author save it again")
}

/// The same error for a value that only running a call would give.
pub(crate) fn for_an_opaque_value(error: &Error) -> Error {
    Error::new(Code::OpaqueResult, format!("{}: only running a call would tell", error.message()))
}

pub(crate) fn opaque(place: &Place, message: impl Into<String>) -> Error {
    Error::new(Code::OpaqueResult, message).at(place)
}

// ---- names ----------------------------------------------------------------------------------------------------

pub(crate) fn collision(name: &str, first: &str, second: &str) -> Error {
    Error::new(Code::NameCollision, format!("two tensors would be named {}: {first} and {second}", quoted(name, 200)))
        .help("leave one out with --exclude or --root, or rename one with --rename 'PATH=NEW' (a path as shown above)")
}

pub(crate) fn members_collide(name: &str) -> Error {
    Error::new(Code::NameCollision, format!("two members of the archive would be named {}", quoted(name, 200))).help(
        "extract the archive and convert them one by one; a bundle of checkpoints can also be converted into a folder, with -o FOLDER/",
    )
}

pub(crate) fn name_invalid(path: &str, why: &str) -> Error {
    Error::new(Code::NameInvalid, format!("the tensor at {path} cannot be named: {why}"))
}

pub(crate) fn name_opaque(path: &str) -> Error {
    Error::new(
        Code::OpaqueResult,
        format!("the tensor at {path} cannot be named: its key is an object, and only running what makes it would tell"),
    )
}

// ---- policy ---------------------------------------------------------------------------------------------------

pub(crate) fn denied(what: impl Into<String>) -> Error {
    Error::new(Code::Denied, what)
        .help("depickle ran nothing; to convert the tensors all the same and record the finding, pass --deny none")
}

// ---- verification ---------------------------------------------------------------------------------------------

pub(crate) fn mismatch(message: impl Into<String>) -> Error {
    Error::new(Code::Mismatch, message)
}
