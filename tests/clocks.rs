//! The time of day jumps by a day, to and fro, while everybody works: nobody waits for longer or
//! shorter than it was told to, and nothing is delivered again.

mod support;

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ringway::{AckMode, Acked, Lag, Queue, Received, Sent, Start, Subscribe, Wait};
use support::segment::new_queue;
use support::{Over, Random, assert_message, watchdog};

/// Seconds by which the time of day is wrong.
static WRONG_BY: AtomicI64 = AtomicI64::new(0);
const DAY: i64 = 24 * 3_600;

/// The system's function, for all of this program: the time of day is what the test says.
#[unsafe(no_mangle)]
extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> libc::c_int {
    // SAFETY: the caller's struct is passed on.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
    if clock == libc::CLOCK_REALTIME && result == 0 {
        // SAFETY: the kernel has filled it in.
        let time = unsafe { &mut *time };
        time.tv_sec += WRONG_BY.load(Ordering::Relaxed);
    }
    i32::try_from(result).expect("0 or -1")
}

const COUNT: u64 = 20_000;
const SHORT: Duration = Duration::from_millis(30);
const HOUR: Duration = Duration::from_secs(3_600);

fn workers() -> Subscribe {
    let workers = Subscribe::new().named("workers").from(Start::Oldest).wait(Wait::Park);
    workers.ack(AckMode::Manual).ack_within(HOUR).prefetch(4)
}

#[test]
fn a_time_of_day_that_jumps_is_nobodys_concern() {
    let _alive = watchdog();
    let (before, wrong) = (SystemTime::now(), WRONG_BY.swap(DAY, Ordering::Relaxed));
    assert_eq!(wrong, 0);
    let jump = SystemTime::now().duration_since(before).unwrap();
    assert!(
        jump >= Duration::from_secs(DAY.cast_unsigned()),
        "the clock is the system's: {jump:?}"
    );

    let mut random = Random::from_environment();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Over(&is_over);
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let days = i64::try_from(random.below(3)).unwrap() - 1;
                WRONG_BY.store(days * DAY, Ordering::Relaxed);
                thread::sleep(Duration::from_micros(random.below(2_000)));
            }
        });
        for _ in 0..3 {
            everybody_works();
            whoever_waits_waits_as_told();
        }
    });
}

fn everybody_works() {
    let (_name, queue) = new_queue("jumps");
    let mut members = [(); 2].map(|()| queue.subscribe(&workers()).unwrap());
    let consumer = Subscribe::new().from(Start::Oldest).wait(Wait::Park);
    let mut consumer = queue.subscribe(&consumer).unwrap();
    let mut producer = queue.producer().unwrap();
    producer.set_wait(Wait::Park);
    thread::scope(|scope| {
        scope.spawn(move || {
            for sequence in 0..COUNT {
                producer.send(&sequence.to_le_bytes()).unwrap();
            }
            producer.close().unwrap();
        });
        scope.spawn(move || {
            for sequence in 0..COUNT {
                assert_message(consumer.receive(), sequence, &sequence.to_le_bytes());
            }
            assert_eq!(consumer.receive().unwrap(), Received::Closed);
        });
        let counts = members.each_mut().map(|member| {
            scope.spawn(move || {
                let mut count = 0;
                while let Some(message) = member.receive().unwrap().message() {
                    assert_eq!(message.delivery(), 1);
                    assert_eq!(message.ack().unwrap(), Acked::Done);
                    count += 1;
                }
                count
            })
        });
        let count: u64 = counts.into_iter().map(|count| count.join().unwrap()).sum();
        assert_eq!(count, COUNT);
    });
    let info = queue.info().unwrap();
    assert_eq!(info.consumers.iter().map(|consumer| consumer.late_wakes).sum::<u32>(), 0);
}

fn whoever_waits_waits_as_told() {
    let (_name, queue) = new_queue("waits");
    drop(queue.subscribe(&workers().expires_after(HOUR)).unwrap());
    let at_least = |act: &mut dyn FnMut()| {
        let begin = Instant::now();
        act();
        assert!(begin.elapsed() >= SHORT);
    };
    for wait in [Wait::Spin, Wait::Backoff, Wait::Park] {
        let mut consumer = queue.subscribe(&Subscribe::new().wait(wait).on_lag(Lag::Skip)).unwrap();
        at_least(&mut || assert_eq!(consumer.receive_timeout(SHORT).unwrap(), Received::TimedOut));
    }
    let _holds = queue.subscribe(&Subscribe::new()).unwrap();
    let mut producer = queue.producer().unwrap();
    while producer.try_send(&[0; 1_000]).unwrap() != Sent::Full {}
    for wait in [Wait::Spin, Wait::Backoff, Wait::Park] {
        producer.set_wait(wait);
        let mut send = || producer.send_timeout(&[0; 1_000], SHORT).unwrap();
        at_least(&mut || assert_eq!(send(), Sent::TimedOut));
    }
    let info = queue.info().unwrap();
    assert!(info.subscriptions.iter().any(|of| of.name == "workers" && !of.expired), "{info:?}");
    assert!(Queue::list().is_ok());
}
