//! Processes that see the system in their own way: other process numbers, another clock, other
//! directories.

use std::ffi::CString;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::{fs, io, ptr};

use super::Peer;
use super::users::{check, user};

/// Numbers its processes by itself, from 1 on.
pub(crate) fn own_numbers() -> io::Result<()> {
    unshare(libc::CLONE_NEWPID)?;
    become_first()
}

/// Has a monotonic clock that is ahead of everybody else's.
pub(crate) fn own_clock() -> io::Result<()> {
    unshare(libc::CLONE_NEWTIME)?;
    fs::write("/proc/self/timens_offsets", "monotonic 100000 0\nboottime 100000 0\n")?;
    become_first()
}

/// What a container of its own has, with this directory in the place of the shared memory.
pub(crate) fn own_container(shared: &str) -> io::Result<()> {
    let all = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    unshare(all)?;
    mount("/", "/", "", libc::MS_REC | libc::MS_PRIVATE, "")?;
    mount(shared, "/dev/shm", "", libc::MS_BIND, "")?;
    become_first()
}

/// Has a shared memory of its own, of 1 MiB.
pub(crate) fn own_small_memory() -> io::Result<()> {
    own_file_system("/dev/shm", "size=1m,mode=1777")
}

/// Has a file system of its own at a directory, of 4 MiB.
pub(crate) fn own_small_disk(directory: &str) -> io::Result<()> {
    own_file_system(directory, "size=4m,mode=0700")
}

fn own_file_system(directory: &str, options: &str) -> io::Result<()> {
    unshare(libc::CLONE_NEWNS)?;
    // What is mounted from now on is nobody else's.
    mount("/", "/", "", libc::MS_REC | libc::MS_PRIVATE, "")?;
    mount("tmpfs", directory, "tmpfs", libc::MS_NOSUID | libc::MS_NODEV, options)
}

impl Peer {
    /// Starts a peer that has done something before it becomes one; an error if it could not.
    pub(crate) fn start_after(
        prepare: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
        role: &str,
        arguments: &[&str],
    ) -> io::Result<Self> {
        Self::spawn(role, arguments, |command: &mut Command| {
            // SAFETY: the child has one thread. What it does needs memory, which glibc's allocator
            // has for a child of a process of many threads too.
            unsafe { command.pre_exec(prepare) };
        })
    }
}

/// Leaves namespaces for new ones, also where only the first user of a new one may do that.
fn unshare(namespaces: libc::c_int) -> io::Result<()> {
    let user = user();
    // SAFETY: a call that cannot fail.
    let group = unsafe { libc::getegid() };
    // SAFETY: a call without pointers.
    if check(unsafe { libc::unshare(namespaces) }).is_ok() {
        return Ok(());
    }
    // SAFETY: a call without pointers.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER | namespaces) })?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}

/// Goes on in a child, the first process of the new namespaces. This process ends with it, it with
/// this one, and both with whoever started them.
fn become_first() -> io::Result<()> {
    let end_with_parent = || {
        // SAFETY: a call without pointers.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })
    };
    end_with_parent()?;
    // SAFETY: this process has one thread.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => end_with_parent(),
        child => {
            // SAFETY: this process has no use for any file. Others wait for their ends.
            unsafe { libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0) };
            let mut status = 0;
            // SAFETY: the status outlives the call.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            let code = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 1 };
            // SAFETY: a call without pointers, that does not return.
            unsafe { libc::_exit(code) }
        }
    }
}

fn mount(
    source: &str,
    target: &str,
    kind: &str,
    flags: libc::c_ulong,
    data: &str,
) -> io::Result<()> {
    let strings = [source, target, kind, data].map(|text| CString::new(text).expect("no zeros"));
    let [source, target, kind, data] = strings.each_ref().map(|text| text.as_ptr());
    let data = if flags & libc::MS_BIND == 0 { data.cast() } else { ptr::null() };
    // SAFETY: the strings outlive the call.
    check(unsafe { libc::mount(source, target, kind, flags, data) })
}
