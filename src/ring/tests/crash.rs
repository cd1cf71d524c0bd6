//! Writers that die between any two stores, and successors that do too.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

thread_local! {
    static STEPS_LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    static MEANWHILE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// Dies if the steps given are used up, or has others do something meanwhile.
pub(in crate::ring) fn step() {
    match STEPS_LEFT.get() {
        None => {}
        Some(0) => {
            STEPS_LEFT.set(None);
            match MEANWHILE.take() {
                Some(act) => act(),
                None => std::panic::panic_any(Died),
            }
        }
        Some(count) => STEPS_LEFT.set(Some(count - 1)),
    }
}

/// Stops what follows on this thread after so many steps, until others have done something.
pub(super) fn stop_after(steps: u32, meanwhile: impl FnOnce() + 'static) {
    MEANWHILE.set(Some(Box::new(meanwhile)));
    STEPS_LEFT.set(Some(steps));
}

/// Goes on without a stop; `true` if there was none.
pub(super) fn stop_no_more() -> bool {
    STEPS_LEFT.set(None);
    MEANWHILE.take().is_some()
}

pub(super) struct Died;

/// Gives so many steps to what follows on this thread, or as many as it wants.
pub(super) fn after(steps: Option<u32>) {
    STEPS_LEFT.set(steps);
}

/// What a writer does in the crash tests.
#[derive(Clone, Debug)]
enum Work {
    Send(usize),
    Claim(usize),
    Batch(Vec<usize>),
    Close,
    Reopen,
}

fn work(writer: &mut Writer, work: &Work) {
    let message = |sequence: u64, size: &usize| payload(sequence, *size);
    let first = writer.next_sequence();
    match work {
        Work::Send(size) => drop(send(writer, &message(first, size))),
        Work::Claim(size) => {
            if writer.reserve(plain(*size)) {
                let offset = writer.try_claim(plain(*size)).unwrap();
                let to = writer.ring().payloads().wrapping_add(offset);
                let message = message(first, size);
                // SAFETY: the claim is for as many bytes there.
                unsafe { to.copy_from_nonoverlapping(message.as_ptr(), message.len()) };
                writer.commit_claim(Extensions::NONE, *size);
            }
        }
        Work::Batch(sizes) => {
            let batch: Vec<_> =
                sizes.iter().zip(first..).map(|(size, sequence)| message(sequence, size)).collect();
            send_batch(writer, &batch);
        }
        Work::Close => writer.close(),
        Work::Reopen => writer.reopen(),
    }
}

/// How many messages it makes visible at once.
fn messages(work: &Work) -> u64 {
    match work {
        Work::Send(_) | Work::Claim(_) => 1,
        Work::Batch(sizes) => sizes.len() as u64,
        Work::Close | Work::Reopen => 0,
    }
}

#[test]
fn a_writer_that_dies_between_any_two_stores_leaves_before_or_after() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.payload().is::<Died>() {
            hook(info);
        }
    }));
    // In the large ring a sector has room for longer messages, and for another like them.
    for scale in [1, LARGE] {
        let works = [
            Work::Send(0),
            Work::Send(8 * scale),
            Work::Send(24 * scale),
            Work::Send(128 * scale),
            Work::Claim(61 * scale),
            Work::Batch(vec![8 * scale; 3]),
            Work::Batch(vec![100 * scale, 0, 60 * scale]),
            Work::Batch(vec![120 * scale; 2]),
            Work::Close,
            Work::Reopen,
        ];
        // From every place in a lap and a half, so that each end of a sector and of a lap is met.
        for warm_up in 0..70 {
            dies_at_every_step_of(&works, CAPACITY * scale as u64, warm_up, 16 * scale);
        }
    }
}

fn dies_at_every_step_of(works: &[Work], capacity: u64, warm_up: u64, size: usize) {
    let mut before = Memory::new(capacity, ORIGIN);
    let mut writer = Writer::recover(before.ring()).unwrap();
    for sequence in 0..warm_up {
        send(&mut writer, &payload(sequence, size)).unwrap();
    }
    for work_done in works {
        for steps in 0.. {
            let mut memory = before.clone();
            let finished = dies_after(&mut memory, steps, |writer| work(writer, work_done));
            check_after_crash(&mut memory, warm_up, messages(work_done), finished);
            if finished {
                break;
            }
        }
    }
}

/// Runs `act` with a new writer that dies after so many steps; `true` if it did not get to that.
fn dies_after(memory: &mut Memory, steps: u32, act: impl FnOnce(&mut Writer)) -> bool {
    let mut writer = Writer::recover(memory.ring()).unwrap();
    after(Some(steps));
    let result = catch_unwind(AssertUnwindSafe(|| act(&mut writer)));
    after(None);
    match result {
        Ok(()) => true,
        Err(panic) if panic.is::<Died>() => false,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// All of the first messages are there, then all of the last work's or none, and the next writer
/// goes on, though it dies at every step of its recovery once.
fn check_after_crash(memory: &mut Memory, before: u64, messages: u64, finished: bool) {
    for steps in 0.. {
        let mut copy = memory.clone();
        let ring = copy.ring();
        after(Some(steps));
        let recovered = catch_unwind(AssertUnwindSafe(|| Writer::recover(ring).unwrap()));
        after(None);
        let mut writer = Writer::recover(copy.ring()).unwrap();
        let next = writer.next_sequence();
        assert!(next == before + messages || (next == before && !finished), "{next}");
        writer.reopen();
        for sequence in next..next + 5 {
            assert_eq!(send(&mut writer, &payload(sequence, 40)), Some(sequence));
        }
        let ring = copy.ring();
        let mut observer = observe(&ring, Start::Oldest);
        let first = observer.track().run().sequence();
        let (found, missed) = observe_all(&mut observer);
        assert!(missed.is_empty());
        assert_eq!(found.len() as u64, next + 5 - first);
        for (sequence, bytes) in found {
            let whole = payload(sequence, bytes.len());
            assert_eq!(bytes, whole);
        }
        if recovered.is_ok() {
            return;
        }
    }
}
