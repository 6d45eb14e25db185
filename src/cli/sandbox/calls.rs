//! Which system calls the program can make: a seccomp filter, which lets everything through but a list of calls that
//! reading and writing files never needs.
//!
//! Since Linux 5.11 the kernel works out once which calls always pass, and does not run the filter for those.

use std::collections::BTreeMap;

use linux_raw_sys::errno::{ENOSYS, EPERM};
use linux_raw_sys::general::{
    __NR_accept, __NR_accept4, __NR_acct, __NR_add_key, __NR_bind, __NR_bpf, __NR_chroot, __NR_clone, __NR_clone3, __NR_connect,
    __NR_delete_module, __NR_execve, __NR_execveat, __NR_fanotify_init, __NR_fchmod, __NR_fchmodat, __NR_fchmodat2, __NR_fchown,
    __NR_fchownat, __NR_finit_module, __NR_fremovexattr, __NR_fsconfig, __NR_fsetxattr, __NR_fsmount, __NR_fsopen, __NR_fspick,
    __NR_init_module, __NR_io_uring_enter, __NR_io_uring_register, __NR_io_uring_setup, __NR_ioctl, __NR_kcmp, __NR_kexec_file_load,
    __NR_kexec_load, __NR_keyctl, __NR_kill, __NR_listen, __NR_lremovexattr, __NR_lsetxattr, __NR_mknodat, __NR_mount, __NR_mount_setattr,
    __NR_move_mount, __NR_mq_open, __NR_msgget, __NR_name_to_handle_at, __NR_open_by_handle_at, __NR_open_tree, __NR_open_tree_attr,
    __NR_perf_event_open, __NR_personality, __NR_pidfd_getfd, __NR_pidfd_open, __NR_pidfd_send_signal, __NR_pivot_root,
    __NR_process_madvise, __NR_process_mrelease, __NR_process_vm_readv, __NR_process_vm_writev, __NR_ptrace, __NR_quotactl,
    __NR_quotactl_fd, __NR_reboot, __NR_recvfrom, __NR_recvmmsg, __NR_recvmsg, __NR_removexattr, __NR_removexattrat, __NR_request_key,
    __NR_rt_sigqueueinfo, __NR_rt_tgsigqueueinfo, __NR_semget, __NR_sendmmsg, __NR_sendmsg, __NR_sendto, __NR_setns, __NR_setxattr,
    __NR_setxattrat, __NR_shmget, __NR_socket, __NR_socketpair, __NR_swapoff, __NR_swapon, __NR_syslog, __NR_tgkill, __NR_tkill,
    __NR_umount2, __NR_unshare, __NR_userfaultfd, __NR_utimensat, CLONE_THREAD,
};
#[cfg(target_arch = "x86_64")]
use linux_raw_sys::general::{
    __NR_chmod, __NR_chown, __NR_fork, __NR_futimesat, __NR_ioperm, __NR_iopl, __NR_lchown, __NR_mknod, __NR_modify_ldt, __NR_uselib,
    __NR_utime, __NR_utimes, __NR_vfork,
};
use linux_raw_sys::ioctl::{TIOCLINUX, TIOCSTI};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, apply_filter,
    sock_filter,
};

/// Calls that fail with `EPERM`, whatever their arguments.
const FORBIDDEN: &[&[u32]] = &[
    // Starting programs. The call that makes threads is below.
    &[__NR_execve, __NR_execveat],
    // Other processes: their memory, descriptors and signals.
    &[__NR_ptrace, __NR_process_vm_readv, __NR_process_vm_writev, __NR_process_madvise, __NR_process_mrelease, __NR_kcmp],
    &[__NR_pidfd_open, __NR_pidfd_getfd, __NR_pidfd_send_signal, __NR_rt_sigqueueinfo, __NR_rt_tgsigqueueinfo],
    &[__NR_shmget, __NR_semget, __NR_msgget, __NR_mq_open],
    // Networks, and sockets of the machine.
    &[__NR_socket, __NR_socketpair, __NR_bind, __NR_listen, __NR_accept, __NR_accept4, __NR_connect],
    &[__NR_sendto, __NR_sendmsg, __NR_sendmmsg, __NR_recvfrom, __NR_recvmsg, __NR_recvmmsg],
    // Ways around a filter, and the parts of the kernel with the most holes.
    &[__NR_io_uring_setup, __NR_io_uring_enter, __NR_io_uring_register, __NR_bpf, __NR_perf_event_open, __NR_userfaultfd],
    &[__NR_keyctl, __NR_add_key, __NR_request_key, __NR_personality],
    // Modes, owners, times and attributes of files, which Landlock leaves open, and devices.
    &[__NR_fchmod, __NR_fchmodat, __NR_fchmodat2, __NR_fchown, __NR_fchownat, __NR_utimensat, __NR_mknodat],
    &[__NR_setxattr, __NR_lsetxattr, __NR_fsetxattr, __NR_setxattrat],
    &[__NR_removexattr, __NR_lremovexattr, __NR_fremovexattr, __NR_removexattrat],
    // Files by other ways than their path, and the shape of the tree.
    &[__NR_open_by_handle_at, __NR_name_to_handle_at, __NR_fanotify_init, __NR_chroot, __NR_pivot_root, __NR_unshare, __NR_setns],
    &[__NR_mount, __NR_umount2, __NR_open_tree, __NR_open_tree_attr, __NR_move_mount, __NR_mount_setattr],
    &[__NR_fsopen, __NR_fsconfig, __NR_fsmount, __NR_fspick],
    // The machine as a whole, for those who run everything as root.
    &[__NR_init_module, __NR_finit_module, __NR_delete_module, __NR_kexec_load, __NR_kexec_file_load, __NR_reboot],
    &[__NR_swapon, __NR_swapoff, __NR_quotactl, __NR_quotactl_fd, __NR_syslog, __NR_acct],
    OLDER,
];

/// Older forms of the same, which newer machines do not have.
#[cfg(target_arch = "x86_64")]
const OLDER: &[u32] = &[
    __NR_fork,
    __NR_vfork,
    __NR_chmod,
    __NR_chown,
    __NR_lchown,
    __NR_utime,
    __NR_utimes,
    __NR_futimesat,
    __NR_mknod,
    __NR_iopl,
    __NR_ioperm,
    __NR_modify_ldt,
    __NR_uselib,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[u32] = &[];

/// Calls that fail with `EPERM` when an argument, the number of which is the second value, is so.
fn forbidden_if() -> [(u32, u8, SeccompCmpOp, u32); 6] {
    let own = std::process::id();
    [
        // A thread may be started, a process not.
        (__NR_clone, 0, SeccompCmpOp::MaskedEq(CLONE_THREAD.into()), 0),
        // Signals to this process, as `abort` sends one.
        (__NR_kill, 0, SeccompCmpOp::Ne, own),
        (__NR_tkill, 0, SeccompCmpOp::Ne, own),
        (__NR_tgkill, 0, SeccompCmpOp::Ne, own),
        // Typing into the user's terminal.
        (__NR_ioctl, 1, SeccompCmpOp::Eq, TIOCSTI),
        (__NR_ioctl, 1, SeccompCmpOp::Eq, TIOCLINUX),
    ]
}

/// Forbids the calls for the calling thread and those that it starts. Gives whether the kernel took the filter.
pub(super) fn forbid() -> bool {
    filter().is_ok_and(|program| apply_filter(&program).is_ok())
}

fn filter() -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = FORBIDDEN.iter().copied().flatten().map(|&call| (call.into(), Vec::new())).collect();
    for (call, argument, is, value) in forbidden_if() {
        // The kernel looks at 32 bits of each of these.
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, is, value.into())?;
        rules.entry(call.into()).or_default().push(SeccompRule::new(vec![condition])?);
    }
    let machine = std::env::consts::ARCH.try_into()?;
    let mut program: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(EPERM), machine)?.try_into()?;
    program.splice(MACHINE_CHECK_LEN..MACHINE_CHECK_LEN, unknown_calls());
    Ok(program)
}

/// Instructions at the start of a filter that end the process for calls in the manner of another machine.
const MACHINE_CHECK_LEN: usize = 3;

/// Calls of x86_64 with 32-bit pointers have this bit and, in part, numbers of their own; they are not used by 64-bit programs.
const X32: u32 = 0x4000_0000;

/// Instructions that answer as a kernel does that does not know a call, which `seccompiler` cannot say beside another answer.
/// The C library then falls back from `clone3`, whose arguments a filter cannot see, to `clone`.
fn unknown_calls() -> [sock_filter; 4] {
    const LOAD: u16 = 0x20;
    const JUMP_IF_AT_LEAST: u16 = 0x35;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const NUMBER_OF_THE_CALL: u32 = 0;
    [
        sock_filter { code: LOAD, jt: 0, jf: 0, k: NUMBER_OF_THE_CALL },
        sock_filter { code: JUMP_IF_AT_LEAST, jt: 1, jf: 0, k: X32 },
        sock_filter { code: JUMP_IF_EQUAL, jt: 0, jf: 1, k: __NR_clone3 },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: SeccompAction::Errno(ENOSYS).into() },
    ]
}

#[cfg(test)]
mod tests {
    use linux_raw_sys::general::{__NR_futex, __NR_mmap, __NR_openat, __NR_pread64, __NR_read, __NR_renameat2, __NR_write};

    use super::*;

    const ALLOWED: u32 = 0x7fff_0000;

    /// What the kernel would answer: an error number, or `ALLOWED`, or another action.
    fn answer(call: u32, arguments: &[u64]) -> u32 {
        run(&filter().unwrap(), if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 }, call, arguments)
    }

    /// Runs a filter as the kernel does.
    fn run(program: &[sock_filter], machine: u32, call: u32, arguments: &[u64]) -> u32 {
        let mut data = vec![call, machine, 0, 0];
        data.extend(arguments.iter().flat_map(|&argument| [argument as u32, (argument >> 32) as u32]));
        let (mut at, mut value) = (0, 0);
        loop {
            let step = &program[at];
            let jump = |is: bool| usize::from(if is { step.jt } else { step.jf });
            at += 1;
            match step.code {
                0x20 => value = data.get(step.k as usize / 4).copied().unwrap_or(0),
                0x54 => value &= step.k,
                0x05 => at += step.k as usize,
                0x15 => at += jump(value == step.k),
                0x25 => at += jump(value > step.k),
                0x35 => at += jump(value >= step.k),
                0x06 => return if step.k >> 16 == 5 { step.k & 0xffff } else { step.k },
                other => panic!("an instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn calls_that_files_never_need_are_forbidden() {
        for &call in FORBIDDEN.iter().copied().flatten() {
            assert_eq!(answer(call, &[]), EPERM, "{call}");
        }
        for call in [__NR_read, __NR_write, __NR_pread64, __NR_openat, __NR_mmap, __NR_renameat2, __NR_futex] {
            assert_eq!(answer(call, &[0, 1, 2]), ALLOWED, "{call}");
        }
    }

    #[test]
    fn threads_can_be_started_and_processes_not() {
        const CLONE_VM: u64 = 0x100;
        const SIGCHLD: u64 = 17;
        assert_eq!(answer(__NR_clone, &[CLONE_VM | u64::from(CLONE_THREAD)]), ALLOWED);
        assert_eq!(answer(__NR_clone, &[SIGCHLD]), EPERM);
        assert_eq!(answer(__NR_clone, &[CLONE_VM | SIGCHLD]), EPERM);
        // The arguments are in memory, where a filter cannot look.
        assert_eq!(answer(__NR_clone3, &[0x7fff_0000_1000, 88]), ENOSYS);
    }

    #[test]
    fn signals_reach_only_this_process() {
        let own = u64::from(std::process::id());
        for call in [__NR_kill, __NR_tkill, __NR_tgkill] {
            assert_eq!(answer(call, &[own, 6]), ALLOWED);
            for other in [0, 1, own + 1, u64::from(u32::MAX)] {
                assert_eq!(answer(call, &[other, 6]), EPERM, "{call} of {other}");
            }
        }
    }

    #[test]
    fn nothing_is_typed_into_the_terminal() {
        const TCGETS: u64 = 0x5401;
        assert_eq!(answer(__NR_ioctl, &[1, TCGETS]), ALLOWED);
        assert_eq!(answer(__NR_ioctl, &[1, TIOCSTI.into()]), EPERM);
        // The kernel ignores the upper half.
        assert_eq!(answer(__NR_ioctl, &[1, u64::from(TIOCSTI) | 1 << 32]), EPERM);
        assert_eq!(answer(__NR_ioctl, &[1, TIOCLINUX.into()]), EPERM);
    }

    #[test]
    fn calls_in_another_manner_lead_around_nothing() {
        const X86: u32 = 0x4000_0003;
        assert_eq!(answer(X32 | __NR_openat, &[]), ENOSYS);
        assert_eq!(answer(X32 | 520, &[]), ENOSYS); // execve of x32
        assert_eq!(run(&filter().unwrap(), X86, 11, &[]), 0x8000_0000, "the process is ended");
    }
}
