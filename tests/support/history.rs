//! Files of history directories, and streams that tell by themselves whether they are whole.

use std::fs;
use std::path::PathBuf;

use ringway::{Consumer, Producer, Queue, QueueOptions, Received};

use super::{Directory, Name, say};

/// What lies in one of the directories of a history, in the order of the names.
pub(crate) fn files(history: &Directory, kind: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(history.file(kind)) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// A payload that tells its sequence by every byte.
pub(crate) fn payload(sequence: u64) -> Vec<u8> {
    let size = usize::try_from(sequence.wrapping_mul(2_654_435_761) % 1500).unwrap();
    (0..size).map(|at| (sequence.wrapping_mul(31).wrapping_add(at as u64) & 0xff) as u8).collect()
}

/// Sends the messages up to `end`.
pub(crate) fn send_until(producer: &mut Producer, end: u64) {
    while producer.next_sequence() < end {
        producer.send(&payload(producer.next_sequence())).unwrap();
    }
}

/// Makes a journal of a file for each end, by queues that are removed again.
pub(crate) fn write_files(name: &Name, options: &QueueOptions, ends: &[u64]) {
    for &end in ends {
        let queue = Queue::create(name, options).unwrap();
        let mut producer = queue.producer().unwrap();
        send_until(&mut producer, end);
        producer.flush().unwrap();
        drop(producer);
        Queue::remove(name).unwrap();
    }
}

/// Receives the messages up to `end`, each whole and in its turn.
pub(crate) fn receive_until(consumer: &mut Consumer, end: u64) {
    while consumer.next_sequence() < end {
        let next = consumer.next_sequence();
        match consumer.try_receive().unwrap() {
            Received::Message(message) => {
                assert_eq!(message.sequence(), next);
                assert_eq!(message.payload(), payload(next), "message {next}");
            }
            other => panic!("{other:?} instead of message {next}"),
        }
    }
}

/// A role: sends to the queue until it dies, and flushes now and then if there is a word more.
pub(crate) fn send_for_ever(arguments: &[&str]) {
    let queue = Queue::open(arguments[0]).unwrap();
    let mut producer = queue.producer().unwrap();
    say("begins");
    loop {
        let end = producer.next_sequence() + 50;
        send_until(&mut producer, end);
        if arguments.len() > 1 {
            producer.flush().unwrap();
        }
    }
}
