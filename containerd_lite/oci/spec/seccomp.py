"""The seccomp profile that ``ctr run --seccomp`` uses (containerd's ``contrib/seccomp``).

The rules are the same as in containerd 2.3.7 and 2.4.2. They allow each socket family that Linux
defines, except AF_ALG and AF_VSOCK.
"""

from __future__ import annotations

from collections.abc import Collection

from .fields import Spec

_ALWAYS_ALLOWED = """
_llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset
chdir chmod chown chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64
clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range
connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl
epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve
execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark
fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr
flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync
ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake
futimesat get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid
getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername
getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid
getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid
getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch
io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit
ioctl ioprio_get ioprio_set ipc kill landlock_add_rule landlock_create_ruleset
landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount listxattr
listxattrat llistxattr lremovexattr lseek lsetxattr lsm_get_self_attr lsm_list_modules
lsm_set_self_attr lstat lstat64 madvise map_shadow_stack membarrier memfd_create
memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect
mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock
munlockall munmap name_to_handle_at nanosleep newfstatat open openat openat2 pause
pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll
ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6
pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv
recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename
renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask
rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity
sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop
semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list
set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32
setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid
setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid
setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd
signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64
statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time
timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime
timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat
uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write
writev
"""
#: Each row has a system call, a comparison, and a value with which the first argument is compared.
#: The profile allows a system call if one of its rows matches.
_ALLOWED_BY_ARGUMENT = (
    # runc cannot combine two comparisons of one argument: a range has no lower bound.
    ("socket", "LT", 38),  # AF_UNIX is 1, AF_CAIF is 37; AF_ALG is 38
    ("socket", "EQ", 39),  # AF_NFC; AF_VSOCK is 40
    ("socket", "EQ", 41),  # AF_KCM
    ("socket", "EQ", 42),  # AF_QIPCRTR
    ("socket", "EQ", 43),  # AF_SMC
    ("socket", "EQ", 44),  # AF_XDP
    ("socket", "EQ", 45),  # AF_MCTP, the last family
    ("personality", "EQ", 0),
    ("personality", "EQ", 0x8),
    ("personality", "EQ", 0x20000),
    ("personality", "EQ", 0x20008),
    ("personality", "EQ", 0xFFFFFFFF),
)
#: The first Linux version in which a tracer cannot bypass seccomp.
_MIN_TRACING_KERNEL = (4, 8)
_TRACING = "process_vm_readv process_vm_writev ptrace"

#: Machine name of uname(2) → the profile's architectures, and the additional system calls that the
#: profile allows.
_MACHINES = {
    "x86_64": ("X86_64 X86 X32", "arch_prctl modify_ldt"),
    "i686": ("", "modify_ldt"),
    "aarch64": (
        "ARM AARCH64",
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
    ),
    "armv7l": (
        "",
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
    ),
    "ppc64le": ("", "sync_file_range2 swapcontext"),
    "s390x": ("S390 S390X", "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr"),
    "riscv64": ("RISCV64", "riscv_flush_icache riscv_hwprobe"),
    "loongarch64": ("LOONGARCH64", ""),
}
#: Capability → the system calls that the capability allows.
_CAPABILITIES = {
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_ADMIN": (
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount"
        " mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname"
        " sethostname setns syslog umount umount2 unshare"
    ),
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module init_module finit_module",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": (
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"
    ),
    "CAP_SYS_RAWIO": "iopl ioperm",
    "CAP_SYS_TIME": "settimeofday stime clock_settime clock_settime64",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYSLOG": "syslog",
    "CAP_BPF": "bpf",
    "CAP_PERFMON": "perf_event_open",
}
#: The flags CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET and
#: CLONE_NEWCGROUP.
_NEW_NAMESPACES = 0x7E020000
_ENOSYS = 38


def default_profile(capabilities: Collection[str], machine: str, kernel: tuple[int, int]) -> Spec:
    """Return containerd's default seccomp profile.

    Args:
        capabilities: The names of the capabilities in the bounding set of the process.
        machine: The machine name of uname(2), such as ``x86_64``.
        kernel: The major and minor version of the kernel.

    Returns:
        The ``seccomp`` object of a runtime spec.
    """
    architectures, additional = _MACHINES.get(machine, ("", ""))
    rules = [
        _allow(_ALWAYS_ALLOWED),
        *(
            _allow(name, 0, f"SCMP_CMP_{comparison}", value)
            for name, comparison, value in _ALLOWED_BY_ARGUMENT
        ),
    ]
    if kernel >= _MIN_TRACING_KERNEL:
        rules.append(_allow(_TRACING))
    if additional:
        rules.append(_allow(additional))
    privileged = [_CAPABILITIES[name] for name in capabilities if name in _CAPABILITIES]
    rules.extend(map(_allow, privileged))
    if "CAP_SYS_ADMIN" not in capabilities:
        # The flags of clone3 are in memory, which a filter cannot read. ENOSYS makes glibc fall
        # back to clone.
        flags = 1 if machine == "s390x" else 0
        rules.append(_allow("clone", flags, "SCMP_CMP_MASKED_EQ", _NEW_NAMESPACES))
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS})
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": [f"SCMP_ARCH_{name}" for name in architectures.split()],
        "syscalls": rules,
    }


def _allow(names: str, index: int = 0, comparison: str = "", value: int = 0) -> Spec:
    """Return a rule that allows system calls.

    With a ``comparison``, the rule applies only if the argument at ``index`` matches ``value``.
    """
    rule: Spec = {"names": names.split(), "action": "SCMP_ACT_ALLOW"}
    if comparison:
        rule["args"] = [{"index": index, "value": value, "op": comparison}]
    return rule
