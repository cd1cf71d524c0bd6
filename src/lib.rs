//! One producer process, many consumer processes, one lock-free ring in named shared memory.
//!
//! A [`Queue`] is a name on this machine. One process at a time is its [`Producer`]; any number
//! of others receive every message, each at its own pace, as a [`Consumer`] or as an
//! [`Observer`]; or they share the messages as members of a [named
//! subscription](Subscribe::named). Nothing sits in between: a send is a copy and a store, a receive is a load.
//!
//! ```
//! use ringway::{Queue, QueueOptions, Start, Subscribe};
//!
//! # let _ = Queue::force_remove("doc-crate");
//! // One process:
//! let queue = Queue::create("doc-crate", &QueueOptions::new().capacity(16 << 20))?;
//! let mut producer = queue.producer()?;
//! producer.send(b"hello")?;
//! producer.close()?;
//!
//! // Another one:
//! let queue = Queue::open("doc-crate")?;
//! let mut consumer = queue.subscribe(&Subscribe::new().from(Start::Oldest))?;
//! while let Some(message) = consumer.next_message(|gone| eprintln!("{gone:?} are gone"))? {
//!     assert_eq!((message.sequence(), message.payload()), (0, &b"hello"[..]));
//! }
//! # drop(consumer);
//! Queue::remove("doc-crate")?;
//! # Ok::<(), ringway::Error>(())
//! ```
//!
//! # What to expect
//!
//! - **Order and number.** Messages have sequences without gaps, and every reader sees them in
//!   that order. A message is there whole or not at all, whatever dies when.
//! - **A consumer a whole ring behind** makes the producer wait ([`Lag::Hold`]), loses what is
//!   overwritten and is told exactly which messages ([`Lag::Skip`]), or reads them from files
//!   ([`Lag::Spill`]). An observer is never in anybody's way.
//! - **Sharing.** Each message goes to one member of a named subscription, and to each named
//!   subscription. What was acknowledged does not come again; what was not is delivered again when
//!   its member dies, leaves, refuses it or, if asked for, hangs
//!   ([`ack_within`](Subscribe::ack_within)). What fails too often is a [`DeadLetter`], on disk.
//! - **Who left for good** holds the producer until the subscription is removed, or has had no member
//!   for longer than it [may](Subscribe::expires_after).
//! - **Threads.** An [`Acker`] settles messages from other threads while the consumer receives.
//! - **Several queues.** A [`ConsumerSet`] of consumers and observers is received from as one, and
//!   sleeps on all.
//! - **Event loops.** A [`Readiness`] is a file descriptor to wait on, or what a task awaits.
//! - **Signals.** None ends a wait. An [`Interrupter`] does, from a handler too.
//! - **Forks.** A child uses its parent's [`Queue`]s, and joins by them anew. Each other handle belongs to
//!   the process that made it: in the child a [`Consumer`], an [`Observer`] or a [`Producer`] gives
//!   [`Error::Forked`], and takes nothing from the parent's when it is dropped.
//! - **Death.** The kernel's file locks say who lives; no timeout ever declares anybody dead. A
//!   dead producer's successor goes on behind the last whole message, a dead consumer stops
//!   holding the producer.
//! - **Trust.** Whoever may write the segment is trusted by all others, as far as promises go:
//!   a process that breaks the protocol can make others report [`Error::Corrupt`], see wrong
//!   messages or wait, but nothing in the segment makes them panic or read out of bounds. Whoever
//!   cuts its file short kills its users by `SIGBUS`.
//! - **What ends with the machine.** The messages lie in memory: a restart loses them, unless the
//!   queue has a [journal](QueueOptions::journal). Dead letters are files, and stay.
//!
//! # Linux only, 64 bits, little-endian
//!
//! And a kernel of 6.1 or later to be at its best; see `docs/design.md` for what older ones lack.
//! Features: `cli` (on by default) is the `ringway` program and its dependencies, `workload` (which
//! `cli` brings) is the laboratory, the module of that name, `zerocopy` sends and receives plain
//! values.
//!
//! # The way of a message
//!
//! [`Producer::send`] → `ring/write_side.rs` → the segment (`layout/`, `ring/frame.rs`) →
//! [`Consumer::receive`] → `reception/` → `ring/run.rs` → [`Message`]; a member's share of them
//! comes by `sharing/` and `ring/shares.rs`. Why that is safe stands
//! at the head of `ring/mod.rs`; how the two sides wait for each other, at that of `wait/mod.rs`.

#![cfg_attr(
    loom,
    allow(
        dead_code,
        unused_imports,
        unreachable_pub,
        reason = "the models use the protocol alone"
    )
)]
#[cfg(not(loom))]
mod acker;
#[cfg(not(loom))]
mod calls;
#[cfg(not(loom))]
mod consumer;
#[cfg(not(loom))]
mod consumer_set;
mod copy;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod history;
#[cfg(not(loom))]
mod info;
#[cfg(not(loom))]
mod interrupter;
#[cfg(not(loom))]
mod key;
pub mod layout;
#[cfg(not(loom))]
mod membership;
#[cfg(not(loom))]
mod message;
#[cfg(not(loom))]
mod names;
#[cfg(not(loom))]
mod outcome;
#[cfg(not(loom))]
mod producer;
#[cfg(not(loom))]
mod queue;
#[cfg(not(loom))]
mod readiness;
#[cfg(not(loom))]
mod reception;
mod region;
#[cfg(not(loom))]
mod registry;
mod ring;
#[cfg(not(loom))]
mod segment;
#[cfg(not(loom))]
mod sharing;
#[cfg(not(loom))]
mod sleeper;
#[cfg(not(loom))]
mod subscribe;
mod sync;
mod sys;
#[cfg(not(loom))]
mod terms;
mod wait;
#[cfg(all(feature = "workload", not(loom)))]
pub mod workload;

#[cfg(not(loom))]
pub use self::{
    acker::Acker,
    consumer::{Consumer, Observer},
    consumer_set::{ConsumerSet, Reader, SetReceived},
    error::Error,
    history::{
        Archive, ArchiveFile, ArchivedMessage, ArchivedMessages, DeadLetter, DeadLetterIter,
        DeadLetters, Journal, JournalThread, Journaler, LogCut, PlannedCut, Pruned, Reason,
        Repaired, Unread, Verified,
    },
    info::{ConsumerInfo, Info, ProducerInfo, SubscriptionInfo},
    interrupter::Interrupter,
    key::key_hash,
    message::{Batch, Message},
    names::UnknownName,
    outcome::{Acked, Holder, Nacked, Received, Sent},
    producer::{Claim, Outgoing, Producer, SendBatch},
    queue::{AtLimit, Queue, QueueOptions},
    readiness::{Awaited, Readiness},
    ring::{Lag, Start},
    subscribe::{AckMode, Subscribe},
    terms::{Backoff, Terms},
    wait::Wait,
};

/// Compiles the programs in the README and the guide.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../docs/guide.md")]
struct Documents;
