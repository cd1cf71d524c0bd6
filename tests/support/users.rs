//! Users, and becoming one without rights.

use std::io;

pub(crate) const NOBODY: u32 = 65_534;

pub(crate) fn user() -> u32 {
    // SAFETY: a call that cannot fail.
    unsafe { libc::geteuid() }
}

pub(crate) fn is_root() -> bool {
    user() == 0
}

/// From now on this process is nobody's, if it was root's.
pub(crate) fn become_nobody() {
    if !is_root() {
        return;
    }
    // SAFETY: no groups are read.
    check(unsafe { libc::setgroups(0, std::ptr::null()) }).expect("no groups");
    // SAFETY: a call without pointers.
    check(unsafe { libc::setresgid(NOBODY, NOBODY, NOBODY) }).expect("another group");
    // SAFETY: a call without pointers.
    check(unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) }).expect("another user");
    // SAFETY: a call without pointers. The change of user has undone it.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) }).expect("a mortal");
}

pub(crate) fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
