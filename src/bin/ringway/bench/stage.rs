//! The stage of a run: what its ends share, which is gone with it.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};

use ringway::workload::Board;
use ringway::{Queue, QueueOptions};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// How the names of boards begin.
const BOARD: &str = "ringway-bench-";
/// How those of queues do.
const QUEUE: &str = "bench-";

/// What the ends of a run share, by name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Names {
    pub board: String,
    /// None for a bare line, a second one for the way back of round trips.
    pub queues: Vec<String>,
}

/// The board and the queues of one run; they are gone with it.
#[derive(Debug)]
pub struct Stage {
    pub names: Names,
    _queues: Vec<Removed>,
    /// Last: without it the next run would take the queues for abandoned.
    _board: Board,
}

#[derive(Debug)]
struct Removed(String);

impl Drop for Removed {
    fn drop(&mut self) {
        // A queue that is already gone, or not to be removed by us, is none of our business.
        let _ = Queue::force_remove(&self.0);
    }
}

impl Stage {
    /// With so many queues, each of so many bytes. What a run that was killed has left goes first.
    pub fn new(queues: usize, capacity: u64, consumers: usize) -> Result<Self, Failure> {
        const SPARE: u32 = 4;
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        Board::remove_abandoned(BOARD, |board| {
            drop(queues_of(&board[BOARD.len()..]).map(Removed));
        });
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Processes in containers that share their memory may have the same id.
        let chance = RandomState::new().hash_one(number);
        let name = format!("{}-{number}-{chance:016x}", std::process::id());
        let board_name = format!("{BOARD}{name}");
        let board = Board::create(&board_name, Board::COUNTS + consumers)
            .map_err(|source| Failure::System { source, doing: "share a page of memory" })?;
        let members = u32::try_from(consumers).unwrap_or(u32::MAX).saturating_add(SPARE);
        let options = QueueOptions::new().capacity(capacity).members(members).subscriptions(1);
        let mut removed = Vec::new();
        for name in queues_of(&name).into_iter().take(queues) {
            Queue::create(&name, &options)?;
            removed.push(Removed(name));
        }
        let queues = removed.iter().map(|Removed(name)| name.clone()).collect();
        Ok(Self { names: Names { board: board_name, queues }, _queues: removed, _board: board })
    }
}

/// The queues that a stage may have.
fn queues_of(stage: &str) -> [String; 2] {
    [format!("{QUEUE}{stage}"), format!("{QUEUE}{stage}-back")]
}
