//! How a name is taken away.

use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use super::Segment;
use super::lock::Lock;
use super::name::{leads_to, path};
use super::object::{Object, Owner};
use crate::calls::call_all;
use crate::error::{self, Error};
use crate::layout::{CONTROL, HEADER};
use crate::ring::Ring;
use crate::sync::Ordering;
use crate::wait::Event;

/// What came of taking an object's name away.
enum Removal {
    Done,
    /// It may not go yet.
    NotYet,
    /// It had lost the name already.
    Elsewhere,
}

impl Segment {
    /// Takes the name away. Refuses while somebody lives there, or if the object is no segment,
    /// unless forced. Whoever is still attached finds out. `false` if it may not go yet, which is asked
    /// when nobody can do anything there any more, and not if forced.
    pub(crate) fn remove(
        name: &str,
        owner: Owner,
        force: bool,
        may_go: impl Fn(&Segment, &Ring) -> bool,
    ) -> Result<bool, Error> {
        loop {
            match Object::open(name, owner)?.remove(force, &may_go)? {
                Removal::Done => return Ok(true),
                Removal::NotYet => return Ok(false),
                // Somebody else took the name away at the same time, and may have given it to another.
                Removal::Elsewhere => {}
            }
        }
    }

    /// As [`Self::remove`], but of this very segment, for as long as its name leads to it.
    pub(crate) fn remove_this(
        &self,
        may_go: impl Fn(&Segment, &Ring) -> bool,
    ) -> Result<bool, Error> {
        // Whose it may be was asked when it was opened.
        let object = match Object::open(&self.name, Owner::Anybody) {
            Err(Error::NotFound { .. }) => return Err(self.stale()),
            object => object?,
        };
        // As long as this one's file is open no other has its inode.
        if object.inode() != self.inode {
            return Err(self.stale());
        }
        match object.remove(false, may_go)? {
            Removal::Done => Ok(true),
            Removal::NotYet => Ok(false),
            Removal::Elsewhere => Err(self.stale()),
        }
    }

    /// Whether anybody may have sent something that its journal is to have. Whoever cannot be asked has.
    fn may_have_unsaved(&self) -> bool {
        let mut epoch = [0; 8];
        let read = self.file.read_exact_at(&mut epoch, HEADER.epoch.offset() as u64);
        self.identity().keeping.journal.is_some() && (read.is_err() || epoch != [0; 8])
    }
}

impl Object {
    /// Takes its name away, if it still has that.
    fn remove(
        self,
        force: bool,
        may_go: impl Fn(&Segment, &Ring) -> bool,
    ) -> Result<Removal, Error> {
        let name = self.name.clone();
        if !self.writable {
            return Err(Error::PermissionDenied { queue: name, doing: error::REMOVE });
        }
        let inode = self.inode();
        let lock = Lock::open(&self.file, &name)?;
        // One at a time, also of those who remove by force: between the look where the name leads and
        // the removal it changes only by hand. Whoever keeps this lock may read the file and no more:
        // force goes past that, and others find that they do not get all locks.
        lock.wait_for(Duration::from_secs(1), Lock::try_removal)?;
        let segment = match self.into_segment() {
            Err(error @ (Error::Foreign { .. } | Error::Unfinished { .. } | Error::Os { .. }))
                if !force =>
            {
                return Err(error);
            }
            // One that is damaged has nobody to be told.
            segment => segment.ok(),
        };
        let mapping = match segment.as_ref().map(|segment| (segment, segment.map_shared())) {
            // Nobody could say then whether its journal has all that was sent.
            Some((segment, Err(error)))
                if !force && segment.may_have_unsaved() && leads_to(&name, inode) =>
            {
                return Err(error);
            }
            mapping => mapping.and_then(|(_, mapping)| mapping.ok()),
        };
        // Held until the name is gone: nobody joins what is about to vanish.
        if !lock.try_all()? && !force {
            let (producer, consumers) = segment.as_ref().map_or((false, 0), Segment::count_living);
            return Err(Error::InUse { queue: name, consumers, producer });
        }
        if !leads_to(&name, inode) {
            return Ok(Removal::Elsewhere);
        }
        if let (Some(segment), Some(mapping), false) = (&segment, &mapping, force)
            && !may_go(segment, &mapping.ring())
        {
            return Ok(Removal::NotYet);
        }
        match std::fs::remove_file(path(&name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Removal::Elsewhere);
            }
            removed => removed.map_err(|source| Error::os(&name, error::REMOVE, source))?,
        }
        if let Some(mapping) = mapping {
            tell_removed(&mapping.ring());
        }
        Ok(Removal::Done)
    }
}

/// Tells all who are attached that the name is gone.
fn tell_removed(ring: &Ring) {
    // Release: whoever sees this sees that the name is gone.
    ring.control(CONTROL.removed).store(1, Ordering::Release);
    // Who is about to sleep finds the word, or is called.
    call_all(ring);
    // As if somebody slept: the producer looks at nothing else while it has room.
    Event::new(ring.control(CONTROL.data_event)).announce();
}
