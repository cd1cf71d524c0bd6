//! Taking a queue's name away, with what only the ring has of a journal saved before.

use std::sync::Arc;

use crate::error::Error;
use crate::history;
use crate::registry;
use crate::segment::{Owner, Segment};

/// Takes a name away where nobody lives, and nothing goes that a journal was to have.
pub(super) fn remove(name: &str, owner: Owner) -> Result<(), Error> {
    let remove = || Segment::remove(name, owner, false, history::is_saved);
    remove_saved(name, remove, || Segment::open(name, owner).map(Arc::new))
}

/// As [`remove`], but one very queue, whatever has its name by then.
pub(super) fn remove_this(segment: &Arc<Segment>) -> Result<(), Error> {
    let remove = || segment.remove_this(history::is_saved);
    remove_saved(segment.name(), remove, || Ok(Arc::clone(segment)))
}

/// Removes what `remove` does; as often as that is not to go yet, what `open` opens is saved first.
fn remove_saved(
    name: &str,
    remove: impl Fn() -> Result<bool, Error>,
    open: impl Fn() -> Result<Arc<Segment>, Error>,
) -> Result<(), Error> {
    /// Somebody may send something between the saving and the removal as often as this looks again.
    const TRIES: u32 = 100;
    for _ in 0..TRIES {
        // It is looked at when nobody can send any more, and saved when somebody could.
        if remove()? {
            return Ok(());
        }
        let segment = open()?;
        match history::save(&segment, registry::remove_expired) {
            Ok(()) | Err(Error::Stale { .. }) => {}
            // That one does it.
            Err(Error::JournalerAlive { .. }) if segment.historian_lives() => {}
            Err(error) => return Err(Error::NotSaved { queue: name.into(), source: error.into() }),
        }
    }
    let restless = std::io::ErrorKind::ResourceBusy.into();
    Err(Error::os(name, "remove", restless))
}

/// Takes a name away whoever lives there. What a journal was to have is saved if that is possible.
pub(super) fn force_remove(name: &str, owner: Owner) -> Result<(), Error> {
    if let Ok(segment) = Segment::open(name, owner)
        && segment.identity().keeping.journal.is_some()
    {
        let _ = history::save(&Arc::new(segment), registry::remove_expired);
    }
    Segment::remove(name, owner, true, |_, _| true).map(drop)
}
