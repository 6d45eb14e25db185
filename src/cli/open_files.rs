//! How many files may be open: a checkpoint that is split into hundreds has all of them open until the last is verified.

/// Allows as many as the system lets this process have.
#[cfg(target_os = "linux")]
pub(super) fn allow_many() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Without it, fewer files are an error of their own.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

#[cfg(not(target_os = "linux"))]
pub(super) fn allow_many() {}
