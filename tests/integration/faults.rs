//! What goes wrong while an output is written: whatever it is, the old output is intact or the new one complete, the error says
//! what happened, and no temporary file outlives the next run.

#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use depickle::convert::{Converted, prepare};
use depickle::error::Code;
use depickle::ledger::SandboxLevel;
use depickle::progress::Progress;
use depickle::{ConvertOptions, Error};

use crate::harness::{Run, Scratch, convert, depickle};

/// An `.npy` file of `len` bytes of data, which are read and written in chunks of 256 KiB.
fn array(len: usize, value: u8) -> Vec<u8> {
    let mut header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({len},), }}");
    header.push_str(&" ".repeat(117 - header.len()));
    let bytes: Vec<u8> = (0..len).map(|i| value.wrapping_add((i % 251) as u8)).collect();
    [b"\x93NUMPY\x01\x00\x76\x00", header.as_bytes(), b"\n", &bytes].concat()
}

/// A folder with an old output and the input of a new one.
struct Replacement {
    scratch: Scratch,
    input: PathBuf,
    output: PathBuf,
    old: [Vec<u8>; 2],
    new: [Vec<u8>; 2],
}

impl Replacement {
    fn new(len: usize) -> Replacement {
        let scratch = Scratch::new();
        fs::create_dir(scratch.path("out")).expect("a folder");
        let input = scratch.path("model.npy");
        let output = scratch.path("out/model.safetensors");
        let converted = |value| {
            scratch.write("model.npy", &array(len, value));
            let run = convert(&input, &output, &["--force"]);
            assert_eq!(run.code, 0, "{}", run.stderr);
            read(&output)
        };
        let new = converted(2);
        let old = converted(1);
        scratch.write("model.npy", &array(len, 2));
        Replacement { scratch, input, output, old, new }
    }

    fn folder(&self) -> PathBuf {
        self.scratch.path("out")
    }

    fn reset(&self) {
        let _ = fs::remove_dir_all(self.folder());
        fs::create_dir(self.folder()).expect("a folder");
        fs::write(&self.output, &self.old[0]).expect("the output");
        fs::write(manifest(&self.output), &self.old[1]).expect("the manifest");
    }

    fn names(&self) -> Vec<String> {
        names(&self.folder())
    }

    /// Runs the program after a conversion in this process that could not remove its temporary file. Another test may start a
    /// program at that moment, which until it really runs holds what this process had open, locks too; so a few times.
    fn next_run_cleans(&self, output: &Path) {
        let folder = output.parent().expect("a folder");
        let run = || convert(&self.input, output, &["--force"]).code;
        assert!((0..20).any(|_| run() == 0 && names(folder) == NAMES), "{:?}", names(folder));
    }

    /// Converts with something happening at the step number `at`.
    fn attempt(&self, force: bool, at: usize, what: &(dyn Fn() + Sync)) -> Result<Converted, Error> {
        let options = &options(force);
        prepare(&self.input, &self.output, options)?.write(&self.output, options, &Step { at, count: AtomicUsize::new(0), what })
    }

    /// The number of steps at which something can happen.
    fn steps(&self) -> usize {
        let progress = Step { at: usize::MAX, count: AtomicUsize::new(0), what: &|| {} };
        let options = &options(true);
        let prepared = prepare(&self.input, &self.output, options).expect("a good input");
        prepared.write(&self.output, options, &progress).expect("a good output");
        let steps = progress.count.load(Ordering::Relaxed);
        assert!(steps > 4, "{steps}");
        steps
    }
}

/// As the program converts on this machine, so that what it writes is the same.
fn options(force: bool) -> ConvertOptions {
    static LEVEL: OnceLock<SandboxLevel> = OnceLock::new();
    let mut options = ConvertOptions::default();
    options.force = force;
    options.sandbox = *LEVEL.get_or_init(|| {
        let scratch = Scratch::new();
        let input = scratch.write("model.npy", &array(1, 1));
        let inspected: serde_json::Value =
            serde_json::from_str(&depickle(["inspect", "--json", input.to_str().expect("a path")]).stdout).expect("JSON");
        serde_json::from_value(inspected["sandbox"].clone()).expect("a level")
    });
    options
}

const NAMES: [&str; 2] = ["model.safetensors", "model.safetensors.manifest.json"];

fn manifest(output: &Path) -> PathBuf {
    depickle::filenames::manifest_path(output)
}

fn read(output: &Path) -> [Vec<u8>; 2] {
    [fs::read(output).expect("the output"), fs::read(manifest(output)).expect("the manifest")]
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder");
    let mut names: Vec<String> = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Does something at the step number `at` of a conversion, in the middle of reading, writing or comparing.
struct Step<'a> {
    at: usize,
    count: AtomicUsize,
    what: &'a (dyn Fn() + Sync),
}

impl Progress for Step<'_> {
    fn start(&self, _: u64, _: u64) {}

    fn advance(&self, _: u64) {
        if self.count.fetch_add(1, Ordering::Relaxed) == self.at {
            (self.what)();
        }
    }
}

/// Stops the work when it asks for this time whether to go on.
struct Cancel(usize, AtomicUsize);

impl Progress for Cancel {
    fn start(&self, _: u64, _: u64) {}
    fn advance(&self, _: u64) {}
    fn cancelled(&self) -> bool {
        self.1.fetch_add(1, Ordering::Relaxed) >= self.0
    }
}

#[test]
fn a_run_killed_at_any_moment_leaves_the_old_output_or_the_new_one() {
    let files = Replacement::new(300_000);
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_depickle"));
        command.arg("convert").arg(&files.input).arg("-o").arg(&files.output).args(["--force", "--quiet"]);
        command.stderr(Stdio::null()).spawn().expect("the program starts")
    };
    let started = Instant::now();
    assert!(start().wait().expect("its end").success());
    let usual = started.elapsed();
    files.reset();
    let mut random = 0x2545_f491_u32;
    for kill in 0..60 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let mut running = start();
        std::thread::sleep(Duration::from_secs_f64(usual.as_secs_f64() * f64::from(random >> 8) / f64::from(1 << 24)));
        running.kill().expect("a process to kill");
        running.wait().expect("its end");
        let found = read(&files.output);
        for i in 0..2 {
            assert!([&files.old[i], &files.new[i]].contains(&&found[i]), "kill {kill}: {} is neither old nor new", NAMES[i]);
        }
        // The manifest goes first.
        assert!(found[0] == files.old[0] || found[1] == files.new[1], "kill {kill}");
        let others = files.names().into_iter().filter(|name| !NAMES.contains(&name.as_str()));
        assert!(others.clone().all(|name| name.starts_with(".depickle-") && name.ends_with(".tmp")), "{:?}", files.names());
        if found[0] == files.new[0] {
            fs::write(&files.output, &files.old[0]).expect("the output");
            fs::write(manifest(&files.output), &files.old[1]).expect("the manifest");
        }
    }
    assert_eq!(convert(&files.input, &files.output, &["--force"]).code, 0);
    assert_eq!(files.names(), NAMES);
    assert_eq!(read(&files.output), files.new);
}

#[test]
fn what_a_kill_between_the_renames_leaves_is_reported_and_repaired() {
    let files = Replacement::new(1000);
    fs::write(manifest(&files.output), &files.new[1]).expect("the new manifest beside the old output");
    let run = depickle([Path::new("verify"), &files.output]);
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(run.stderr.contains("convert the source again"), "{}", run.stderr);
    assert_eq!(convert(&files.input, &files.output, &[]).code, 2);
    assert_eq!(convert(&files.input, &files.output, &["--force"]).code, 0);
    assert_eq!(read(&files.output), files.new);

    fs::remove_file(&files.output).expect("a manifest without its output");
    fs::write(manifest(&files.output), &files.old[1]).expect("the manifest");
    assert_eq!(convert(&files.input, &files.output, &[]).code, 0);
    assert_eq!(read(&files.output), files.new);
}

#[test]
fn a_temporary_file_without_its_writer_is_removed_and_nothing_else() {
    let scratch = Scratch::new();
    let input = scratch.write("model.npy", &array(1000, 1));
    scratch.write(".depickle-abcde1.tmp", b"what a killed run left");
    let held = scratch.write(".depickle-abcde2.tmp", b"a run that is still writing");
    let held = fs::File::open(held).expect("the file");
    held.lock().expect("a lock");
    let precious = scratch.write("precious", b"precious");
    std::os::unix::fs::symlink(&precious, scratch.path(".depickle-abcde3.tmp")).expect("a link");
    fs::create_dir(scratch.path(".depickle-abcde4.tmp")).expect("a folder");
    let _socket = std::os::unix::net::UnixListener::bind(scratch.path(".depickle-abcde5.tmp")).expect("a socket");
    fs::hard_link(&precious, scratch.path(".depickle-abcde6.tmp")).expect("a second name");
    for name in [".depickle-abcde.tmp", ".depickle-abcdefg.tmp", ".depickle-abc.ef.tmp", ".depickle-abcdef.tmp.bak", "depickle-abcdef.tmp"]
    {
        scratch.write(name, b"somebody's");
    }
    let before = scratch.names();
    let run = convert(&input, &scratch.path("model.safetensors"), &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let gone = |name: &&String| ["1", "6"].iter().any(|n| **name == format!(".depickle-abcde{n}.tmp"));
    let mut expected: Vec<String> = before.iter().filter(|name| !gone(name)).cloned().collect();
    expected.extend(NAMES.map(str::to_owned));
    expected.sort();
    assert_eq!(scratch.names(), expected);
    assert_eq!(fs::read(precious).expect("the file"), b"precious");
}

#[test]
fn a_run_in_the_same_folder_does_not_disturb_one_that_is_writing() {
    let files = Replacement::new(300_000);
    let other = files.scratch.write("other.npy", &array(1000, 3));
    for at in [0, files.steps() / 2, files.steps() - 1] {
        files.reset();
        let run_another = || assert_eq!(convert(&other, &files.folder().join("other.safetensors"), &[]).code, 0);
        files.attempt(true, at, &run_another).expect("a good output");
        assert_eq!(read(&files.output), files.new);
        assert_eq!(files.names().len(), 4, "{:?}", files.names());
    }
}

#[test]
fn work_that_is_stopped_at_any_step_leaves_the_old_output() {
    let files = Replacement::new(600_000);
    let options = &options(true);
    for at in 0.. {
        let prepared = prepare(&files.input, &files.output, options).expect("a good input");
        match prepared.write(&files.output, options, &Cancel(at, AtomicUsize::new(0))) {
            Ok(_) => {
                assert!(at > 4, "{at}");
                break;
            }
            Err(error) => assert_eq!(error.message(), "interrupted"),
        }
        assert_eq!(read(&files.output), files.old);
        assert_eq!(files.names(), NAMES);
    }
}

/// What happens at any step of a conversion, whether that is forced, what happens, and what the message then says.
type Fault<'a> = (&'a str, bool, &'a (dyn Fn() + Sync), &'a [&'a str]);

fn temporaries(folder: &Path) -> Vec<PathBuf> {
    names(folder).into_iter().filter(|name| name.starts_with(".depickle-")).map(|name| folder.join(name)).collect()
}

#[test]
fn a_fault_at_any_step_changes_no_file_of_the_user() {
    let files = Replacement::new(300_000);
    let steps = files.steps();
    let (folder, moved) = (files.folder(), files.scratch.path("moved"));
    let (output, manifest) = (&files.output, manifest(&files.output));
    let faults: [Fault; 6] = [
        ("the folder is removed", true, &|| fs::remove_dir_all(&folder).expect("a folder"), &["cannot "]),
        ("the folder is renamed", true, &|| fs::rename(&folder, &moved).expect("a folder"), &["cannot "]),
        (
            "the temporary file is removed",
            true,
            &|| temporaries(&folder).iter().for_each(|path| fs::remove_file(path).expect("a file")),
            &["cannot finish"],
        ),
        ("the output appears", false, &|| fs::write(output, b"another's").expect("a file"), &["the output", "model.safetensors\" already"]),
        ("the manifest appears", false, &|| fs::write(&manifest, b"another's").expect("a file"), &["the output", "json\" already"]),
        (
            "the output becomes a folder",
            true,
            &|| fs::remove_file(output).and_then(|()| fs::create_dir(output)).expect("a folder"),
            &["cannot create", "directory"],
        ),
    ];
    for (what, force, fault, says) in faults {
        for at in 0..steps {
            files.reset();
            if !force {
                fs::remove_dir_all(&folder).and_then(|()| fs::create_dir(&folder)).expect("an empty folder");
            }
            let error = files.attempt(force, at, fault).expect_err(what);
            assert_eq!(error.code(), if force { Code::Io } else { Code::OutputExists }, "{what} at {at}: {error}");
            assert!(says.iter().all(|says| error.message().contains(says)), "{what} at {at}: {error}");
            let expected: &[&str] = match what {
                "the output appears" => &NAMES[..1],
                "the manifest appears" => &NAMES[1..],
                _ => &NAMES,
            };
            match what {
                "the folder is removed" => assert!(!folder.exists() && error.advice().is_some_and(|help| help.contains("moved or"))),
                "the folder is renamed" => {
                    assert!(error.advice().is_some_and(|help| help.contains("was moved or")), "{error}");
                    // The temporary file went with its folder; the next run that writes there removes it.
                    assert!(!folder.exists());
                    let output = moved.join(NAMES[0]);
                    assert_eq!(read(&output), files.old);
                    files.next_run_cleans(&output);
                    fs::remove_dir_all(&moved).expect("the folder");
                }
                _ => assert_eq!(files.names(), expected, "{what} at {at}"),
            }
            match what {
                "the output becomes a folder" => assert_eq!(fs::read(&manifest).expect("the manifest"), files.old[1], "at {at}"),
                "the temporary file is removed" => assert_eq!(read(output), files.old, "at {at}"),
                "the output appears" => assert_eq!(fs::read(output).expect("a file"), b"another's"),
                "the manifest appears" => assert_eq!(fs::read(&manifest).expect("a file"), b"another's"),
                _ => {}
            }
        }
    }
}

#[test]
fn a_source_that_changes_at_any_step_gives_no_output() {
    let files = Replacement::new(300_000);
    let change = || {
        let source = fs::File::options().write(true).open(&files.input).expect("the source");
        source.set_modified(std::time::UNIX_EPOCH).expect("another time");
    };
    let cut = || fs::File::options().write(true).open(&files.input).and_then(|source| source.set_len(5000)).expect("a shorter source");
    for at in 0..files.steps() {
        for fault in [&change as &(dyn Fn() + Sync), &cut] {
            files.reset();
            files.scratch.write("model.npy", &array(300_000, 2));
            let error = files.attempt(true, at, fault).expect_err("the source changed");
            assert!(error.message().contains("changed while it was being read"), "at {at}: {error}");
            assert_eq!(read(&files.output), files.old);
            assert_eq!(files.names(), NAMES);
        }
    }
}

#[test]
fn a_folder_that_loses_its_permissions_at_any_step_keeps_the_old_output() {
    use std::os::unix::fs::PermissionsExt;
    let files = Replacement::new(300_000);
    let allow = |mode| fs::set_permissions(files.folder(), fs::Permissions::from_mode(mode)).expect("other permissions");
    for at in 0..files.steps() {
        files.reset();
        allow(0o555);
        let unchecked = fs::write(files.folder().join("x"), b"").is_ok();
        allow(0o755);
        if unchecked {
            return; // the superuser, whom permissions do not stop
        }
        let error = files.attempt(true, at, &|| allow(0o555)).expect_err("nothing may be renamed");
        assert_eq!((error.code(), error.exit_code()), (Code::Io, 1));
        assert!(error.message().contains("permission denied"), "{error}");
        assert_eq!(read(&files.output), files.old);
        // Not even the temporary file could be removed; the next run does it.
        allow(0o755);
        files.next_run_cleans(&files.output);
        assert_eq!(read(&files.output), files.new);
    }
}

/// The program under a limit on the size of files: the write that reaches it is cut short, the next one fails.
fn limited(blocks: u32, args: &[&Path]) -> Run {
    let script = format!("ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_depickle")).args(args);
    Run::from(command.output().expect("a shell"))
}

#[test]
fn a_file_that_cannot_grow_is_an_error_and_leaves_the_old_output() {
    let files = Replacement::new(3000);
    let args = [Path::new("convert"), &files.input, Path::new("-o"), &files.output, Path::new("--force")];
    let mut failures = 0;
    for blocks in 0..64 {
        let run = limited(blocks, &args);
        if run.code == 0 {
            assert_eq!(read(&files.output), files.new);
            break;
        }
        failures += 1;
        assert_eq!(run.code, 1, "{}", run.stderr);
        assert!(run.stderr.contains("file too large\n  help: "), "{}", run.stderr);
        assert_eq!(read(&files.output), files.old);
        assert_eq!(files.names(), NAMES);
    }
    assert!((2..64).contains(&failures), "{failures}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_report_that_cannot_be_written_is_an_error() {
    let files = Replacement::new(1000);
    let full = || Stdio::from(fs::File::options().write(true).open("/dev/full").expect("the full device"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_depickle"));
    command.arg("convert").arg(&files.input).arg("-o").arg(&files.output).args(["--force", "--json"]);
    let run = Run::from(command.stdout(full()).output().expect("the program starts"));
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("cannot write to standard output: "), "{}", run.stderr);
    assert_eq!(read(&files.output), files.new);
}
