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
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use crossbeam_utils::CachePadded;

use super::check;
use crate::sync::{AtomicU32, Ordering};

/// A word that holds what was put into it in the process that made it, and 0 in every child
/// that is forked later. Not 0 in its own process.
#[derive(Debug)]
pub(crate) struct Witness {
    word: &'static AtomicU32,
}

impl Witness {
    pub(crate) fn new(value: u32) -> io::Result<Self> {
        debug_assert_ne!(value, 0);
        install_handlers();
        let mut own = own();
        if own.words.is_empty() {
            own.words.extend(map_wiped_words()?);
        }
        let word = own.words.pop().ok_or(io::ErrorKind::OutOfMemory)?;
        word.store(value, Ordering::Relaxed);
        Ok(Self { word })
    }

    /// What was put into it, or 0 in a child.
    #[inline(always)]
    pub(crate) fn value(&self) -> u32 {
        // Relaxed: it says nothing of other memory; the kernel wipes it before a child runs.
        self.word.load(Ordering::Relaxed)
    }

    /// Puts something else into it. Not for a child.
    pub(crate) fn change(&mut self, value: u32) {
        debug_assert_ne!(self.value(), 0);
        self.word.store(value, Ordering::Relaxed);
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        // A child leaves it where it is: one that ran no handlers may have the list locked for ever.
        if self.value() != 0 {
            own().words.push(self.word);
        }
    }
}

/// A page of words that the kernel wipes in children (`MADV_WIPEONFORK`, Linux 4.14), each on lines
/// of its own: each message looks at one. The page stays mapped for as long as the process lives.
fn map_wiped_words() -> io::Result<impl Iterator<Item = &'static AtomicU32>> {
    type Page = [CachePadded<AtomicU32>; 4096 / size_of::<CachePadded<AtomicU32>>()];
    let size = size_of::<Page>();
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping at an address that the kernel chooses.
    let page = unsafe { libc::mmap(ptr::null_mut(), size, rights, private, -1, 0) };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the page is ours.
    if let Err(error) = check(unsafe { libc::madvise(page, size, libc::MADV_WIPEONFORK) }) {
        // SAFETY: nobody else knows it.
        unsafe { libc::munmap(page, size) };
        return Err(error);
    }
    // SAFETY: a page of zeros, aligned as pages are, that nobody ever unmaps; and all access is atomic.
    let words = unsafe { &*page.cast::<Page>() };
    Ok(words.iter().map(|word| &**word))
}

/// A [`Witness`] that several look at and change.
#[derive(Clone, Debug)]
pub(crate) struct SharedWitness {
    /// The witness's. It stands here too because each message looks at it.
    word: &'static AtomicU32,
    _witness: Arc<Witness>,
}

impl SharedWitness {
    pub(crate) fn new(witness: Witness) -> Self {
        Self { word: witness.word, _witness: Arc::new(witness) }
    }

    /// What it holds, or 0 in a child.
    #[inline(always)]
    pub(crate) fn value(&self) -> u32 {
        // Relaxed: as of the witness.
        self.word.load(Ordering::Relaxed)
    }

    /// Puts something else into it, if it holds what it is taken to hold.
    pub(crate) fn exchange(&self, from: u32, to: u32) -> bool {
        // Relaxed: as the value. Whoever needs an order has fences.
        self.word.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
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
        let witness = Witness::new(1)?;
        let mut own = own();
        let file = open()?;
        own.files.push(file.as_raw_fd());
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
        let mut own = own();
        own.files.retain(|&fd| fd != self.file.as_raw_fd());
        // SAFETY: the field is not used again. The list stays locked meanwhile, so that a fork
        // finds the file either listed and open, or neither.
        unsafe { ManuallyDrop::drop(&mut self.file) };
    }
}

/// What the process has for itself.
struct Own {
    /// To close in a child.
    files: Vec<RawFd>,
    /// That no witness has.
    words: Vec<&'static AtomicU32>,
}

static OWN: Mutex<Own> = Mutex::new(Own { files: Vec::new(), words: Vec::new() });

fn own() -> MutexGuard<'static, Own> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
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

/// The lock of it while a fork is under way.
struct Held(UnsafeCell<Option<MutexGuard<'static, Own>>>);

// SAFETY: only the thread that has the list locked looks inside: `before` stores the lock it
// took, and in either process the other handler, on the same thread, takes it out again.
unsafe impl Sync for Held {}

static HELD: Held = Held(UnsafeCell::new(None));

impl Held {
    fn replace(&self, guard: Option<MutexGuard<'static, Own>>) -> Option<MutexGuard<'static, Own>> {
        // SAFETY: no other thread looks inside, and the reference ends here.
        unsafe { core::mem::replace(&mut *self.0.get(), guard) }
    }
}

extern "C" fn before() {
    HELD.replace(Some(own()));
}

extern "C" fn after_in_parent() {
    HELD.replace(None);
}

extern "C" fn in_child() {
    if let Some(mut own) = HELD.replace(None) {
        for fd in own.files.drain(..) {
            // SAFETY: the file was open when the process forked, and no handle of the parent's
            // closes it in this process any more.
            drop(unsafe { File::from_raw_fd(fd) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_witness_has_a_word_of_its_own() {
        for _ in 0..2 {
            let witnesses: Vec<_> =
                (1..=100).map(|value| (value, Witness::new(value).unwrap())).collect();
            assert!(witnesses.iter().all(|(value, witness)| witness.value() == *value));
        }
    }
}
