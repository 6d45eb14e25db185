//! Which files the program can open: Linux's Landlock, `Documentation/userspace-api/landlock.rst` in the kernel.
//!
//! A rule is about a file, or a folder with everything below it. What a kernel knows depends on its version; rights that
//! it does not know stay open. Metadata of any file can be read inside too.

use std::path::{Path, PathBuf};

use depickle::ledger::SandboxLevel;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
    Scope, make_bitflags, path_beneath_rules,
};

use super::Access;

/// The rights that are given up, as far as the kernel knows them: all of files, and those of networks and signals, which are
/// closed by system call too.
const GIVEN_UP: ABI = ABI::V10;

/// Since Linux 6.2 a file elsewhere can be neither opened, moved, removed nor cut short. What came later is closed by system call.
const ENOUGH: ABI = ABI::V3;

/// For opening inputs and listing folders.
const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});
/// For temporary files, reading them back, renaming and removing them, and syncing their folder. No links, devices, pipes or sockets.
const WRITE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | MakeReg | RemoveFile | MakeDir | RemoveDir});
/// For giving them other names, also in other folders, and starting a journal again.
const STORE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{MakeSym | Refer | Truncate});
/// For an unnamed file, which has a name for a moment where the file system knows no other way.
const TEMPORARY: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | WriteFile | MakeReg | RemoveFile});

/// Beyond so many arrays in a folder, the folder is one rule.
const MAX_ARRAYS: usize = 1_000;

/// Closes every file that `access` does not name.
pub(super) fn close(access: &Access) -> SandboxLevel {
    try_close(access).unwrap_or(SandboxLevel::None)
}

fn try_close(access: &Access) -> Result<SandboxLevel, RulesetError> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(GIVEN_UP))?
        .handle_access(AccessNet::from_all(GIVEN_UP))?
        .scope(Scope::from_all(GIVEN_UP))?
        .create()?;
    let arrays: Vec<PathBuf> = access.arrays.iter().flat_map(|folder| arrays_in(folder)).collect();
    let open = [
        (access.reads.iter().chain(&arrays).collect::<Vec<_>>(), READ),
        (access.writes.iter().collect(), if access.is_store { WRITE | STORE } else { WRITE }),
        (access.temporaries.iter().collect(), TEMPORARY),
    ];
    for (paths, rights) in open {
        for rule in path_beneath_rules(paths, rights).flatten() {
            // What cannot have a rule, such as a pipe, stays closed.
            let _ = (&mut ruleset).add_rule(rule);
        }
    }
    let status = ruleset.restrict_self()?;
    Ok(match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _) => SandboxLevel::None,
        (_, LandlockStatus::Available { effective_abi, .. }) if effective_abi >= ENOUGH => SandboxLevel::Full,
        _ => SandboxLevel::Partial,
    })
}

/// The files in a folder that are named as joblib named arrays; the folder itself where they are very many.
fn arrays_in(folder: &Path) -> Vec<PathBuf> {
    let is_array = |name: &str| name.ends_with(".npy") || name.ends_with(".npy.z");
    // What a link leads to was not given.
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files =
        entries.filter(|entry| is_array(&entry.file_name().to_string_lossy()) && entry.file_type().is_ok_and(|kind| kind.is_file()));
    let arrays: Vec<PathBuf> = files.map(|entry| entry.path()).take(MAX_ARRAYS + 1).collect();
    if arrays.len() > MAX_ARRAYS { vec![folder.to_owned()] } else { arrays }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_opened_one_by_one_unless_they_are_very_many() {
        let folder = tempfile::tempdir().unwrap();
        for i in 0..MAX_ARRAYS {
            std::fs::write(folder.path().join(format!("x.pkl_{i:02}.npy")), b"").unwrap();
        }
        std::fs::write(folder.path().join("x.pkl"), b"").unwrap();
        std::fs::create_dir(folder.path().join("folder.npy")).unwrap();
        assert_eq!(arrays_in(folder.path()).len(), MAX_ARRAYS);
        std::fs::write(folder.path().join("x.pkl_more.npy.z"), b"").unwrap();
        assert_eq!(arrays_in(folder.path()), [folder.path()]);
        assert_eq!(arrays_in(Path::new("no such folder")), Vec::<PathBuf>::new());
    }
}
