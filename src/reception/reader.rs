//! The ways by which messages are come by.

use crate::ring::{CopyReader, HeldReader, Place, Ring, Run, Track};
use crate::sharing::SharedReader;

/// How messages are come by.
#[derive(Debug)]
pub(crate) enum AnyReader {
    Held(HeldReader),
    Copied(CopyReader),
    Shared(Box<SharedReader>),
}

/// What a reader follows: a track of its own, or what it takes of a named subscription.
pub(super) enum Along<'a> {
    Track(&'a Track),
    Shares(&'a SharedReader),
}

impl AnyReader {
    #[inline(always)]
    pub(super) fn along(&self) -> Along<'_> {
        match self {
            Self::Held(reader) => Along::Track(reader.track()),
            Self::Copied(reader) => Along::Track(reader.track()),
            Self::Shared(reader) => Along::Shares(reader),
        }
    }

    /// What a member of a named subscription has that others have not.
    pub(super) fn shared(&self) -> Option<&SharedReader> {
        if let Self::Shared(reader) = self { Some(reader) } else { None }
    }

    pub(super) fn run(&self) -> &Run {
        match self.along() {
            Along::Track(track) => track.run(),
            Along::Shares(reader) => reader.run(),
        }
    }

    /// Whether the next frame of its run is what it waits for.
    pub(super) fn awaits_frame(&self) -> bool {
        match self.along() {
            Along::Track(track) => !track.is_durable_only(),
            Along::Shares(reader) => reader.is_at_head(),
        }
    }

    /// Goes elsewhere. Members of named subscriptions go where their shares are.
    pub(super) fn move_to(&mut self, place: Place) {
        match self {
            Self::Held(reader) => reader.move_to(place),
            Self::Copied(reader) => reader.move_to(place),
            Self::Shared(_) => {}
        }
    }

    pub(super) fn ring(&self) -> &Ring {
        match self.along() {
            Along::Track(track) => track.ring(),
            Along::Shares(reader) => reader.work().ring(),
        }
    }

    pub(super) fn position(&self) -> u64 {
        match self.along() {
            Along::Track(track) => track.position(),
            Along::Shares(reader) => reader.position(),
        }
    }
}
