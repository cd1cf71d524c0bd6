//! Runs on a mock transport, with a mock clock at each end: what they come to is known exactly.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use crate::workload::{
    Account, Arrival, Bound, Clock, MockClock, Offer, Offered, Plan, ReceivingEnd, Sample,
    Scenario, SendingEnd, Served, Service, Taken, WhenFull, account, check, receive_stream, replay,
    round_trips, send_stream, serve,
};

const MS: u64 = 1_000_000;

/// Messages on their way, each with the moment from which it can be received.
type Way = Rc<RefCell<VecDeque<(u64, Vec<u8>)>>>;

/// What becomes of the message of a number.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Arrives,
    IsLost,
    ComesTwice,
    /// Before the one that was sent before it.
    Overtakes,
}

struct Sender {
    clock: MockClock,
    way: Way,
    sent: u64,
    fate: fn(u64) -> Fate,
    places: usize,
}

impl SendingEnd for Sender {
    type Error = Infallible;

    fn send(&mut self, payload: &[u8]) -> Result<(), Infallible> {
        let message = (self.clock.now_ns(), payload.to_vec());
        let mut way = self.way.borrow_mut();
        match (self.fate)(self.sent) {
            Fate::Arrives => way.push_back(message),
            Fate::IsLost => {}
            Fate::ComesTwice => way.extend([message.clone(), message]),
            Fate::Overtakes => {
                let before = way.len() - 1;
                way.insert(before, message);
            }
        }
        self.sent += 1;
        Ok(())
    }

    fn try_send(&mut self, payload: &[u8]) -> Result<bool, Infallible> {
        let has_room = self.way.borrow().len() < self.places;
        if has_room {
            self.send(payload)?;
        }
        Ok(has_room)
    }

    fn close(self) -> Result<(), Infallible> {
        Ok(())
    }
}

struct Receiver {
    clock: MockClock,
    way: Way,
    /// So long the machine does something else before the message of this number.
    stall: Option<(u64, u64)>,
    received: u64,
}

impl ReceivingEnd for Receiver {
    type Error = Infallible;

    fn receive(
        &mut self,
        _count_max: usize,
        _limit: Duration,
        mut take: impl FnMut(&[u8]),
    ) -> Result<Taken, Infallible> {
        let Some((from_ns, payload)) = self.way.borrow_mut().pop_front() else {
            return Ok(Taken::Closed);
        };
        self.clock.wait_until(from_ns);
        if let Some((_, ns)) = self.stall.filter(|(number, _)| *number == self.received) {
            self.clock.advance(ns);
        }
        self.received += 1;
        take(&payload);
        Ok(Taken::Messages(1))
    }
}

fn ends(fate: fn(u64) -> Fate) -> (Sender, Receiver) {
    let way = Way::default();
    let sender =
        Sender { clock: MockClock::new(), way: Rc::clone(&way), sent: 0, fate, places: usize::MAX };
    (sender, Receiver { clock: MockClock::new(), way, stall: None, received: 0 })
}

fn offer(arrival: Arrival, rate_per_s: f64, service: &str, length_ns: u64) -> Offer {
    Offer::new(arrival, rate_per_s, length_ns).unwrap().serving(service.parse().unwrap())
}

/// One server's run, the beginning being 1 ms after the clocks'.
fn run(offer: &Offer, warm_up_ns: u64, (sender, mut receiver): (Sender, Receiver)) -> Account {
    let clock = sender.clock.clone();
    let offered = offer.send(sender, &clock, MS, || 0).unwrap();
    let clock = receiver.clock.clone();
    let served = serve(&mut receiver, &clock, None, 10, |_| {}).unwrap();
    account(offer, &offered, MS, warm_up_ns, &[served.samples], 0.95).unwrap()
}

#[test]
fn one_a_second_that_takes_a_second_keeps_the_server_just_busy() {
    let offer = offer(Arrival::fixed(), 1.0, "fixed:1s", 10_500 * MS);
    let account = run(&offer, 1500 * MS, ends(|_| Fate::Arrives));
    assert_eq!((account.sent, account.received, account.lost), (10, 10, 0));
    let figures = account.measured.figures;
    assert!(figures.wait_mean_ns.abs() < 1e-9, "whoever comes finds the server just free");
    assert!((figures.sojourn_mean_ns - 1e9).abs() < 1e-3);
    assert!((figures.utilisation - 1.0).abs() < 1e-9);
    assert!((figures.in_system_mean - 1.0).abs() < 1e-9);
    assert!((account.in_system_by_events - 1.0).abs() < 1e-9);
    assert!((account.service_mean_ns - 1e9).abs() < 1e-3);
    assert!((account.drawn_mean_ns - 1e9).abs() < 1e-3);
    assert_eq!(account.stalls, 0);
}

/// The recursion of D. V. Lindley, 1952: service begins when the message is there and the one
/// before is through.
#[test]
fn every_message_waits_as_long_as_the_recursion_says_and_as_the_replay_does() {
    for (arrival, service) in [
        ("poisson", "exp:100us"),
        ("erlang:3", "hyper:100us,4"),
        ("hyper:4", "fixed:100us"),
        ("onoff:3ms,1ms", "lognormal:100us,2"),
    ] {
        let (arrival, rate): (Arrival, _) = (arrival.parse().unwrap(), 8000.0);
        let offer = offer(arrival.clone(), rate, service, 2000 * MS).seed(11);
        let account = run(&offer, 200 * MS, ends(|_| Fate::Arrives));
        assert_eq!(account.lost + account.duplicated + account.out_of_order, 0);
        let mut free_ns = 0;
        for record in &account.records {
            assert_eq!(record.start_ns, record.intended_ns.max(free_ns));
            assert_eq!(record.end_ns, record.start_ns + record.service_ns);
            free_ns = record.end_ns;
        }
        let scenario = Scenario::new(arrival, service.parse().unwrap(), rate, 1, None).unwrap();
        let plan = Plan::new().seed(11);
        let replayed = replay(&scenario, &plan, 200 * MS, 2000 * MS).unwrap();
        assert_eq!(replayed.measured.messages, account.measured.messages);
        let pairs = account.measured.figures.named().into_iter();
        for ((name, measured), (_, simulated)) in pairs.zip(replayed.measured.figures.named()) {
            let off = (measured - simulated).abs();
            // Whole nanoseconds add up along a busy period.
            assert!(off <= 1e-4 * simulated.max(1e-9), "{service} {name}: {measured} {simulated}");
        }
        let little = account.little_ratio().unwrap();
        assert!((little - 1.0).abs() < 0.01, "{little}");
    }
}

#[test]
fn a_stall_of_the_consumer_counts_for_all_that_was_due_meanwhile() {
    let offer = offer(Arrival::fixed(), 100.0, "fixed:1ms", 3005 * MS);
    let (sender, mut receiver) = ends(|_| Fate::Arrives);
    receiver.stall = Some((50, 1000 * MS));
    let account = run(&offer, 0, (sender, receiver));
    let waits: Vec<u64> = account.records.iter().map(|it| it.wait_ns() / MS).collect();
    let mut expected = vec![0; 300];
    expected[50] = 1000;
    for (number, wait) in expected.iter_mut().enumerate().skip(51) {
        *wait = 991_u64.saturating_sub(9 * (number as u64 - 51));
    }
    assert_eq!(waits, expected);
}

#[test]
fn a_sender_that_is_late_makes_messages_wait_from_their_intended_time() {
    let offer = offer(Arrival::fixed(), 1000.0, "none", 10 * MS + 1);
    let (sender, mut receiver) = ends(|_| Fate::Arrives);
    let clock = sender.clock.clone();
    // It begins 4.5 ms too late.
    clock.advance(5_500_000);
    let offered = offer.send(sender, &clock, MS, || 0).unwrap();
    assert_eq!((offered.behind, offered.late_max_ns), (4, 3_500_000));
    assert!((offered.late_mean_ns - 800_000.0).abs() < 1e-6);
    let clock = receiver.clock.clone();
    let served = serve(&mut receiver, &clock, None, 0, |_| {}).unwrap();
    let account = account(&offer, &offered, MS, 0, &[served.samples], 0.95).unwrap();
    let waits: Vec<u64> = account.records.iter().map(super::Record::wait_ns).collect();
    assert_eq!(waits[..5], [3_500_000, 2_500_000, 1_500_000, 500_000, 0]);
    assert!((account.measured.figures.wait_mean_ns - 800_000.0).abs() < 1e-6);
}

#[test]
fn what_is_lost_repeated_or_overtaken_is_counted_once_each() {
    let fate = |number| match number {
        3 | 4 | 90 => Fate::IsLost,
        10 => Fate::ComesTwice,
        20 | 30 => Fate::Overtakes,
        _ => Fate::Arrives,
    };
    let offer = offer(Arrival::fixed(), 1000.0, "none", 100 * MS + 1);
    let account = run(&offer, 0, ends(fate));
    assert_eq!((account.sent, account.received, account.lost), (100, 97, 3));
    assert_eq!((account.duplicated, account.out_of_order, account.refused), (1, 2, 0));
    assert_eq!(account.measured.messages, 97);
    let numbers: Vec<u64> = account.records.iter().map(|record| record.number).collect();
    assert!(numbers.is_sorted() && !numbers.contains(&4) && numbers.contains(&30));

    // What nobody sent, and what is none of ours.
    let stray = Sample { number: 1000, start_ns: 5, end_ns: 6, service_ns: 0 };
    let none = Offered { offered: 100, ..Offered::default() };
    let account = super::account(&offer, &none, 0, 0, &[vec![stray], vec![]], 0.95).unwrap();
    assert_eq!((account.received, account.lost, account.duplicated), (0, 100, 1));
    let (mut sender, mut receiver) = ends(|_| Fate::Arrives);
    sender.send(b"short").unwrap();
    let Served { samples, foreign, .. } =
        serve(&mut receiver, &MockClock::new(), None, 0, |_| {}).unwrap();
    assert_eq!((samples.len(), foreign), (0, 1));
}

/// How many of the messages that were sent so far are through, by the recursion.
fn departed(way: &Way, now_ns: u64) -> u64 {
    let mut free_ns = 0;
    let ends = way
        .borrow()
        .iter()
        .map(|(sent_ns, payload)| {
            let service = super::Stamp::read(payload).unwrap().service_ns;
            free_ns = free_ns.max(*sent_ns) + service;
            free_ns
        })
        .collect::<Vec<_>>();
    ends.into_iter().filter(|end_ns| *end_ns <= now_ns).count() as u64
}

#[test]
fn what_finds_no_place_is_refused_as_in_the_replay() {
    let bound = Some(Bound { places: 4, when_full: WhenFull::Reject });
    let (arrival, service): (_, Service) = (Arrival::poisson(), "exp:100us".parse().unwrap());
    let offer = offer(arrival.clone(), 12_000.0, "exp:100us", 200 * MS).bound(bound).seed(5);
    let (sender, mut receiver) = ends(|_| Fate::Arrives);
    let (clock, way) = (sender.clock.clone(), Rc::clone(&sender.way));
    let asked = Cell::new(0);
    let offered = offer
        .send(sender, &clock, 0, || {
            asked.set(asked.get() + 1);
            departed(&way, clock.now_ns())
        })
        .unwrap();
    assert_eq!(asked.get(), offered.offered);
    let clock = receiver.clock.clone();
    let served = serve(&mut receiver, &clock, None, 0, |_| {}).unwrap();
    let account = account(&offer, &offered, 0, 0, &[served.samples], 0.95).unwrap();
    let scenario = Scenario::new(arrival, service, 12_000.0, 1, bound).unwrap();
    let replayed = replay(&scenario, &Plan::new().seed(5), 0, 200 * MS).unwrap();
    assert_eq!(account.lost, account.refused);
    assert_eq!(account.measured.lost, replayed.measured.lost);
    assert!(account.refused > 500, "{} of {}", account.refused, account.sent);
    let (measured, simulated) = (account.measured.figures, replayed.measured.figures);
    assert!((measured.loss_share - simulated.loss_share).abs() < 1e-12);
    assert!((measured.wait_mean_ns / simulated.wait_mean_ns - 1.0).abs() < 1e-3);
}

#[test]
fn a_sender_that_is_held_up_is_not_late_by_its_own_doing() {
    // Twice as much as can be served: each message but the first ones waits for its place.
    let bound = Some(Bound { places: 2, when_full: WhenFull::Wait });
    let offer = offer(Arrival::fixed(), 1000.0, "fixed:2ms", 100 * MS + 1).bound(bound);
    let (sender, mut receiver) = ends(|_| Fate::Arrives);
    let (clock, way) = (sender.clock.clone(), Rc::clone(&sender.way));
    let offered = offer
        .send(sender, &clock, 0, || {
            // Who asks has waited.
            clock.advance(MS / 10);
            departed(&way, clock.now_ns())
        })
        .unwrap();
    assert!(offered.held > 90 && offered.refused.is_empty(), "{offered:?}");
    assert!(offered.late_max_ns < MS, "{offered:?}");
    let clock = receiver.clock.clone();
    let served = serve(&mut receiver, &clock, None, 0, |_| {}).unwrap();
    let account = account(&offer, &offered, 0, 0, &[served.samples], 0.95).unwrap();
    let last = account.records.last().unwrap();
    assert!(last.wait_ns() > 90 * MS, "it counts from the intended time all the same");

    // The transport itself is full: it takes what is sent when there was somebody to wait for.
    let offer = Offer::new(Arrival::fixed(), 1000.0, 10 * MS + 1).unwrap();
    let (mut sender, _) = ends(|_| Fate::Arrives);
    sender.places = 4;
    let clock = sender.clock.clone();
    assert_eq!(offer.send(sender, &clock, 0, || 0).unwrap().held, 6);
}

/// Each message takes 100 ns to send.
struct Costly(Sender);
impl SendingEnd for Costly {
    type Error = Infallible;
    fn send(&mut self, payload: &[u8]) -> Result<(), Infallible> {
        self.0.clock.advance(100);
        self.0.send(payload)
    }
    fn try_send(&mut self, payload: &[u8]) -> Result<bool, Infallible> {
        self.0.try_send(payload)
    }
    fn close(self) -> Result<(), Infallible> {
        self.0.close()
    }
}

/// Each message comes back after 150 ns.
struct Echo(MockClock, Way);
impl ReceivingEnd for Echo {
    type Error = Infallible;
    fn receive(
        &mut self,
        _: usize,
        _: Duration,
        mut take: impl FnMut(&[u8]),
    ) -> Result<Taken, Infallible> {
        self.0.advance(150);
        let (_, payload) = self.1.borrow_mut().pop_front().unwrap();
        take(&payload);
        Ok(Taken::Messages(1))
    }
}

#[test]
fn streams_and_round_trips_are_counted_and_timed() {
    let fate = |number| match number {
        5 => Fate::IsLost,
        7 => Fate::ComesTwice,
        20 | 30 => Fate::Overtakes,
        _ => Fate::Arrives,
    };
    for batch in [1, 64] {
        let (sender, mut receiver) = ends(fate);
        let clock = sender.clock.clone();
        let sent = send_stream(Costly(sender), &clock, 64, batch, 100_000).unwrap();
        // 256 messages between two looks at the clock.
        assert_eq!((sent.sent, sent.end_ns - sent.begin_ns), (1024, 102_400), "{batch}");
        let clock = receiver.clock.clone();
        let received = receive_stream(&mut receiver, &clock, 1, 0).unwrap();
        assert_eq!((received.received, received.next), (1024, 1024));
        assert_eq!((received.gaps, received.end_ns), (1, 102_400));
        assert_eq!((received.duplicated, received.late), (1, 2), "neither is the other");
        assert_eq!((received.before, received.begin_ns), (0, 0));
    }
    // What comes while it warms up does not count, and the same ends go on.
    let (sender, mut receiver) = ends(|_| Fate::Arrives);
    let clock = sender.clock.clone();
    send_stream(Costly(sender), &clock, 64, 1, 100_000).unwrap();
    let clock = receiver.clock.clone();
    let received = receive_stream(&mut receiver, &clock, 1, 40_000).unwrap();
    assert_eq!((received.before, received.begin_ns), (512, 51_200), "each takes 100 ns");
    assert_eq!((received.received, received.end_ns), (1024, 102_400));
    let (sender, mut receiver) = ends(|_| Fate::Arrives);
    sender.close().unwrap();
    let clock = receiver.clock.clone();
    let none = receive_stream(&mut receiver, &clock, 1, 40_000).unwrap();
    assert_eq!((none.received, none.begin_ns, none.end_ns), (0, 0, 0), "it ended before that");

    let (sender, _) = ends(|_| Fate::Arrives);
    let clock = sender.clock.clone();
    let mut echo = Echo(clock.clone(), Rc::clone(&sender.way));
    let times = round_trips(sender, &mut echo, &clock, 8, 0, 1000).unwrap();
    assert_eq!(times, [150; 7]);
    let (sender, _) = ends(|_| Fate::Arrives);
    let clock = sender.clock.clone();
    let mut echo = Echo(clock.clone(), Rc::clone(&sender.way));
    let times = round_trips(sender, &mut echo, &clock, 8, 400, 1000).unwrap();
    assert_eq!(times, [150; 4], "without those that began at 0, 150 and 300");
}

#[test]
fn a_stream_tells_what_is_late_from_what_comes_again_in_any_order() {
    let counts = |numbers: &[u64]| {
        let (mut sender, mut receiver) = ends(|_| Fate::Arrives);
        for number in numbers {
            sender.send(&number.to_le_bytes()).unwrap();
        }
        let all = receive_stream(&mut receiver, &MockClock::new(), 1, 0).unwrap();
        (all.gaps, all.late, all.duplicated, all.next)
    };
    assert_eq!(counts(&[0, 1, 2]), (0, 0, 0, 3));
    assert_eq!(counts(&[9, 5, 5, 0, 9, 8, 4, 6]), (4, 5, 2, 10));
    assert_eq!(counts(&[3, 2, 1, 0]), (0, 3, 0, 4));
    // Every other one, and then the rest: more places than are kept. None is counted as lost.
    let odd = (0..10_000).map(|number| 2 * number + 1);
    let rest = (0..10_000).map(|number| 2 * number);
    let (gaps, late, duplicated, _) = counts(&odd.chain(rest).collect::<Vec<_>>());
    assert_eq!((late, late + duplicated, gaps), (4096, 10_000, 10_000 - 4096));
}

#[test]
fn a_transport_that_loses_or_mixes_messages_is_found_out() {
    let places = |fate| {
        let (mut sender, mut receiver) = ends(fate);
        sender.places = 10;
        check(&mut sender, &mut receiver, 64, 1000)
    };
    assert_eq!(places(|_| Fate::Arrives).unwrap(), 10);
    let lossy = places(|number| if number == 4 { Fate::IsLost } else { Fate::Arrives });
    assert_eq!(
        lossy.unwrap_err().to_string(),
        "of 11 messages that the transport took, number 4 is not what was sent"
    );
    let mixing = places(|number| if number == 4 { Fate::Overtakes } else { Fate::Arrives });
    assert!(mixing.unwrap_err().to_string().contains("number 3 is not what was sent"));
}
