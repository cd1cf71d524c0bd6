//! What a forked child must not inherit.
//!
//! A child has copies of its parent's handles. It must not use them, and it must not keep their
//! locks: a lock on a segment belongs to the open file, and as long as the child has the same
//! open file the lock stays held, whatever becomes of the parent. So each handle has a
//! [`Witness`], a word that the kernel wipes in children, and a handler that runs in every child
//! closes the files with locks. A child that was made by a raw `clone` runs no handlers: it keeps
//! the locks until it ends or executes a program, and can use the handles no better than others.

use std::cell::UnsafeCell;
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use super::check;
use crate::sync::{AtomicU32, Ordering};

/// A word that holds what was put into it in the process that made it, and 0 in every child
/// that is forked later (`MADV_WIPEONFORK`, Linux 4.14).
#[derive(Debug)]
pub(crate) struct Witness {
    word: NonNull<AtomicU32>,
}

// SAFETY: the word is atomic, and its page belongs to the whole process.
unsafe impl Send for Witness {}
// SAFETY: as above.
unsafe impl Sync for Witness {}

impl Witness {
    /// The least that can be mapped.
    const SIZE: usize = 1;

    pub(crate) fn new(value: u32) -> io::Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses.
        let page = unsafe {
            libc::mmap(
                ptr::null_mut(),
                Self::SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let witness = Self { word: NonNull::new(page.cast()).ok_or(io::ErrorKind::OutOfMemory)? };
        // SAFETY: the page is ours.
        check(unsafe { libc::madvise(page, Self::SIZE, libc::MADV_WIPEONFORK) })?;
        witness.word().store(value, Ordering::Relaxed);
        Ok(witness)
    }

    /// What was put into it, or 0 in a child.
    #[inline(always)]
    pub(crate) fn value(&self) -> u32 {
        // Relaxed: it says nothing of other memory; the kernel wipes it before a child runs.
        self.word().load(Ordering::Relaxed)
    }

    /// Puts something else into it. Not for a child.
    pub(crate) fn change(&mut self, value: u32) {
        debug_assert_ne!(self.value(), 0);
        self.word().store(value, Ordering::Relaxed);
    }

    #[inline(always)]
    fn word(&self) -> &AtomicU32 {
        // SAFETY: the page is mapped until the drop, and holds zeros or what was stored.
        unsafe { self.word.as_ref() }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        // SAFETY: the page is ours, in a child too, and nobody uses it any more.
        unsafe { libc::munmap(self.word.as_ptr().cast(), Self::SIZE) };
    }
}

/// A [`Witness`] that several look at and change.
#[derive(Clone, Debug)]
pub(crate) struct SharedWitness {
    /// The witness's. It stands here too because each message looks at it.
    word: NonNull<AtomicU32>,
    _witness: Arc<Witness>,
}

// SAFETY: as of the witness.
unsafe impl Send for SharedWitness {}
// SAFETY: as above.
unsafe impl Sync for SharedWitness {}

impl SharedWitness {
    pub(crate) fn new(witness: Witness) -> Self {
        Self { word: witness.word, _witness: Arc::new(witness) }
    }

    /// What it holds, or 0 in a child.
    #[inline(always)]
    pub(crate) fn value(&self) -> u32 {
        // Relaxed: as of the witness.
        self.word().load(Ordering::Relaxed)
    }

    /// Puts something else into it, if it holds what it is taken to hold.
    pub(crate) fn exchange(&self, from: u32, to: u32) -> bool {
        // Relaxed: as the value. Whoever needs an order has fences.
        self.word().compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    #[inline(always)]
    fn word(&self) -> &AtomicU32 {
        // SAFETY: the witness, whose page it is on, lives as long as we do.
        unsafe { self.word.as_ref() }
    }
}

/// A file that a forked child does not keep open. Its drop in a child leaves the number alone,
/// which the child may have given to another file by then.
#[derive(Debug)]
pub(crate) struct OwnFile {
    file: ManuallyDrop<File>,
    witness: Witness,
}

impl OwnFile {
    /// Opens it. No fork falls between the opening and its being known here.
    pub(crate) fn open(open: impl FnOnce() -> io::Result<File>) -> io::Result<Self> {
        install_handlers();
        let witness = Witness::new(1)?;
        let mut files = files();
        let file = open()?;
        files.push(file.as_raw_fd());
        Ok(Self { file: ManuallyDrop::new(file), witness })
    }

    /// `false` in a child that was forked since the file was opened.
    pub(crate) fn is_own(&self) -> bool {
        self.witness.value() != 0
    }
}

impl std::ops::Deref for OwnFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        if !self.is_own() {
            return;
        }
        let mut files = files();
        files.retain(|&fd| fd != self.file.as_raw_fd());
        // SAFETY: the field is not used again. The list stays locked meanwhile, so that a fork
        // finds the file either listed and open, or neither.
        unsafe { ManuallyDrop::drop(&mut self.file) };
    }
}

/// The files to close in a child.
static FILES: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

fn files() -> MutexGuard<'static, Vec<RawFd>> {
    FILES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn install_handlers() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // SAFETY: the handlers are functions that live as long as the program.
        let result =
            unsafe { libc::pthread_atfork(Some(before), Some(after_in_parent), Some(in_child)) };
        assert_eq!(result, 0, "no memory for a fork handler");
    });
}

/// The list's lock while a fork is under way.
struct Held(UnsafeCell<Option<MutexGuard<'static, Vec<RawFd>>>>);

// SAFETY: only the thread that has the list locked looks inside: `before` stores the lock it
// took, and in either process the other handler, on the same thread, takes it out again.
unsafe impl Sync for Held {}

static HELD: Held = Held(UnsafeCell::new(None));

impl Held {
    fn replace(
        &self,
        guard: Option<MutexGuard<'static, Vec<RawFd>>>,
    ) -> Option<MutexGuard<'static, Vec<RawFd>>> {
        // SAFETY: no other thread looks inside, and the reference ends here.
        unsafe { core::mem::replace(&mut *self.0.get(), guard) }
    }
}

extern "C" fn before() {
    HELD.replace(Some(files()));
}

extern "C" fn after_in_parent() {
    HELD.replace(None);
}

extern "C" fn in_child() {
    if let Some(mut files) = HELD.replace(None) {
        for fd in files.drain(..) {
            // SAFETY: the file was open when the process forked, and no handle of the parent's
            // closes it in this process any more.
            drop(unsafe { File::from_raw_fd(fd) });
        }
    }
}
