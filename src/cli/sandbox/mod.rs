//! The program shuts itself in before it reads anything that it was given: it keeps the rights that the command needs, so
//! that a hole in the code that reads hostile bytes would lead nowhere.
//!
//! On Linux `files.rs` says which files can be opened and `calls.rs` which system calls can be made; elsewhere nothing is
//! done. It is best effort: what an old kernel does not know is left out, and the record says how far it went. A command
//! enters once, before it opens an input and before there is a second thread, since only the calling thread and those that
//! it starts are shut in.

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod calls;
#[cfg(target_os = "linux")]
mod files;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use depickle::filenames::{existing_folder_of, folder_of, resolved};
use depickle::ledger::SandboxLevel;

/// The files and folders that a command needs; every other one is closed to it.
#[derive(Debug, Default)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "nothing is closed there"))]
pub(super) struct Access {
    /// Files to read, and folders to read with everything in them.
    reads: BTreeSet<PathBuf>,
    /// Folders in which joblib may have put arrays.
    arrays: BTreeSet<PathBuf>,
    /// Folders in which files and folders are made, written and removed.
    writes: BTreeSet<PathBuf>,
    /// Folders for unnamed files.
    temporaries: BTreeSet<PathBuf>,
    /// Whether the folders to write are those of a store.
    is_store: bool,
}

impl Access {
    /// Reading an input, and the arrays beside it that joblib before 0.10 wrote.
    pub(super) fn input(&mut self, file: &Path) {
        if file.is_file() {
            self.reads.insert(file.to_owned());
            self.arrays.insert(folder_of(file).to_owned());
        }
    }

    /// Reading the index of a set and the files beside it, of which it names some.
    pub(super) fn set(&mut self, index: &Path) {
        self.input(index);
        let beside = std::fs::read_dir(folder_of(index)).into_iter().flatten().filter_map(Result::ok);
        self.reads.extend(beside.map(|entry| entry.path()).filter(|path| path.is_file()));
    }

    /// Reading a file, or all that is in a folder.
    pub(super) fn read(&mut self, path: &Path) {
        self.reads.insert(path.to_owned());
    }

    /// Writing an output and what goes beside it, and making the folders that it will be in.
    pub(super) fn output(&mut self, file: &Path) {
        self.writes.insert(existing_folder_of(file).to_owned());
        // `..` after a folder that is still to be made leads elsewhere.
        self.writes.extend(resolved(file).map(|file| existing_folder_of(&file).to_owned()));
    }

    /// Writing the outputs of a store, which may have several names, and its journal.
    pub(super) fn store(&mut self, folder: &Path) {
        self.output(&folder.join("file"));
        self.is_store = true;
    }

    /// Unnamed files where the system keeps temporary ones.
    pub(super) fn temporary(&mut self) {
        self.temporaries.insert(std::env::temp_dir());
    }
}

static ENTERED: AtomicBool = AtomicBool::new(false);

/// Gives up, for good, the rights that `access` does not name, and those to start programs, reach a network or touch another
/// process. Does nothing unless `wanted`.
pub(super) fn enter(wanted: bool, access: &Access) -> SandboxLevel {
    let level = if wanted { system::enter(access) } else { SandboxLevel::None };
    ENTERED.store(level != SandboxLevel::None, Ordering::Relaxed);
    level
}

/// Whether the program is shut in, so that it may be why the system refused something.
pub(super) fn is_entered() -> bool {
    ENTERED.load(Ordering::Relaxed)
}

#[cfg(target_os = "linux")]
mod system {
    use depickle::ledger::SandboxLevel;
    use rustix::process::{Resource, Rlimit, setrlimit};

    use super::{Access, files};

    pub(super) fn enter(access: &Access) -> SandboxLevel {
        // A dump of the memory would be a file that nobody asked for. Lowering a limit of one's own cannot fail.
        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
        let files = files::close(access);
        match (files, forbid_calls()) {
            (SandboxLevel::Full, true) => SandboxLevel::Full,
            (SandboxLevel::None, false) => SandboxLevel::None,
            _ => SandboxLevel::Partial,
        }
    }

    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn forbid_calls() -> bool {
        super::calls::forbid()
    }

    /// The table of calls is not written for this machine.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn forbid_calls() -> bool {
        false
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub(super) fn enter(_: &super::Access) -> super::SandboxLevel {
        super::SandboxLevel::None
    }
}

#[cfg(test)]
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#[allow(clippy::disallowed_types, reason = "what must fail is tried")]
mod tests {
    use std::fs::{self, File, OpenOptions};
    use std::io::{self, ErrorKind, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
    use std::os::unix::process::CommandExt;
    use std::process::Command;
    use std::thread;

    use super::*;

    /// Runs `work` in a thread that is shut in; the others of this test are not.
    fn inside(access: &Access, work: impl FnOnce(SandboxLevel) + Send) {
        thread::scope(|scope| scope.spawn(|| work(enter(true, access))).join().unwrap());
    }

    /// What this kernel should give, as it tells itself.
    fn expected() -> SandboxLevel {
        use landlock::{ABI, AccessFs, LandlockStatus, Ruleset, RulesetAttr};
        let probe = || Ruleset::default().handle_access(AccessFs::Execute)?.create()?.restrict_self();
        let landlock = match thread::spawn(probe).join().unwrap().unwrap().landlock {
            LandlockStatus::Available { effective_abi, .. } => Some(effective_abi),
            _ => None,
        };
        match (landlock, has_seccomp()) {
            (Some(abi), true) if abi >= ABI::V3 => SandboxLevel::Full,
            (None, false) => SandboxLevel::None,
            _ => SandboxLevel::Partial,
        }
    }

    /// Whether this kernel takes a filter, tried with one that lets everything through.
    fn has_seccomp() -> bool {
        let all = seccompiler::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 };
        thread::spawn(|| seccompiler::apply_filter(&[all]).is_ok()).join().unwrap()
    }

    #[track_caller]
    fn refused<T>(tried: io::Result<T>) {
        let error = tried.err().expect("this is refused");
        assert!(matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::CrossesDevices), "{error}");
    }

    /// A folder with an input and an output folder, and one beside it that is nobody's business.
    struct Places {
        folder: tempfile::TempDir,
    }

    impl Places {
        fn new() -> Places {
            let places = Places { folder: tempfile::tempdir().unwrap() };
            for folder in ["in", "out", "stray"] {
                fs::create_dir(places.path(folder)).unwrap();
            }
            for file in ["in/input.pkl", "in/input.pkl_01.npy", "in/other.txt", "stray/secret", "stray/array.npy"] {
                fs::write(places.path(file), file).unwrap();
            }
            symlink(places.path("stray/array.npy"), places.path("in/link.npy")).unwrap();
            places
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn access(&self) -> Access {
            let mut access = Access::default();
            access.input(&self.path("in/input.pkl"));
            access.output(&self.path("out/new/deeper/output.safetensors"));
            access
        }
    }

    #[test]
    fn the_level_is_what_the_kernel_can_give() {
        let places = Places::new();
        let expected = expected();
        inside(&places.access(), |level| assert_eq!(level, expected));
        assert_eq!(enter(false, &places.access()), SandboxLevel::None);
        assert!(File::open(places.path("stray/secret")).is_ok(), "the other threads are not shut in");
    }

    #[test]
    fn nothing_is_started_and_nobody_is_reached() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let places = Places::new();
        let has_seccomp = has_seccomp();
        inside(&places.access(), |level| {
            assert!(level != SandboxLevel::Full || has_seccomp);
            // Also where there is no Landlock.
            if has_seccomp {
                refused(Command::new("/bin/true").status());
                // Had this worked, the test would end here with the exit code of that program.
                refused(Err::<(), _>(Command::new("/bin/false").exec()));
                refused(TcpStream::connect(address));
                refused(TcpListener::bind("127.0.0.1:0"));
                refused(UdpSocket::bind("127.0.0.1:0"));
                refused(UnixStream::pair());
                refused(UnixDatagram::unbound());
                refused(UnixListener::bind(places.path("out/socket")));
                refused(fs::set_permissions(places.path("in/input.pkl"), fs::Permissions::from_mode(0o777)));
                let parent = rustix::process::getppid().unwrap();
                assert_eq!(rustix::process::test_kill_process(parent), Err(rustix::io::Errno::PERM));
                thread::spawn(|| refused(Command::new("/bin/true").status())).join().unwrap();
            }
        });
    }

    #[test]
    fn no_other_file_is_opened_or_changed() {
        let places = Places::new();
        let expected = expected();
        inside(&places.access(), |level| {
            assert_eq!(level, expected);
            if level != SandboxLevel::Full {
                // Said by the manifest; the tests of calls hold all the same.
                return;
            }
            for stray in ["stray/secret", "in/other.txt", "in/link.npy", "in/../stray/array.npy"] {
                refused(File::open(places.path(stray)));
            }
            refused(fs::read_dir(places.path("stray")));
            refused(fs::read_dir(places.path("in")));
            refused(File::open("/etc/passwd"));
            refused(File::open("/proc/self/environ"));
            let secret = places.path("stray/secret");
            thread::spawn(move || refused(File::open(secret))).join().unwrap();

            refused(File::create(places.path("stray/new")));
            refused(File::create(places.path("in/new")));
            refused(fs::create_dir(places.path("in/new")));
            refused(OpenOptions::new().append(true).open(places.path("in/input.pkl")));
            refused(OpenOptions::new().write(true).truncate(true).open(places.path("stray/secret")));
            refused(fs::remove_file(places.path("in/input.pkl")));
            refused(fs::rename(places.path("stray/secret"), places.path("out/secret")));
            refused(fs::hard_link(places.path("stray/secret"), places.path("out/secret")));
            refused(symlink(places.path("stray/secret"), places.path("out/secret")));
        });
        assert_eq!(fs::read(places.path("stray/secret")).unwrap(), b"stray/secret");
    }

    #[test]
    fn what_a_conversion_does_still_works() {
        let places = Places::new();
        inside(&places.access(), |_| {
            for file in ["in/input.pkl", "in/input.pkl_01.npy"] {
                assert_eq!(fs::read(places.path(file)).unwrap(), file.as_bytes());
                assert!(places.path(file).canonicalize().unwrap().is_absolute());
            }
            let folder = places.path("out/new/deeper");
            fs::create_dir_all(&folder).unwrap();
            tempfile::tempfile_in(&folder).unwrap().write_all(b"unnamed").unwrap();
            let output = folder.join("output.safetensors");
            for _ in 0..2 {
                let mut temporary = tempfile::NamedTempFile::new_in(&folder).unwrap();
                temporary.write_all(b"named").unwrap();
                assert_eq!(io::read_to_string(temporary.reopen().unwrap()).unwrap(), "named");
                temporary.as_file().sync_all().unwrap();
                temporary.persist(&output).unwrap();
            }
            let second = tempfile::NamedTempFile::new_in(&folder).unwrap();
            assert_eq!(second.persist_noclobber(&output).unwrap_err().error.kind(), ErrorKind::AlreadyExists);
            File::open(&folder).unwrap().sync_all().unwrap();
            fs::remove_file(&output).unwrap();
            fs::remove_dir(&folder).unwrap();
            let threads: Vec<_> = (0..8).map(|i| thread::spawn(move || vec![i; 1 << 20].len())).collect();
            assert_eq!(threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>(), 8 << 20);
            thread::available_parallelism().unwrap();
        });
    }

    #[test]
    fn a_folder_can_be_read_and_unnamed_files_made() {
        let places = Places::new();
        let mut access = Access::default();
        access.read(&places.path("in"));
        access.temporary();
        inside(&access, |_| {
            assert_eq!(fs::read_dir(places.path("in")).unwrap().count(), 4);
            assert!(File::open(places.path("in/other.txt")).is_ok());
            tempfile::tempfile().unwrap().write_all(b"unnamed").unwrap();
        });
    }
}
