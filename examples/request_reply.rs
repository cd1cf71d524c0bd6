//! Questions and answers between processes: one server, three clients, each with a queue for its
//! questions and another one for the answers. The server receives from all of them in turn.
//!
//! Nothing has to say which answer is whose: message `n` of a client's answers is to message `n` of
//! its questions, since sequences have no gaps and the server answers in order.
//!
//! ```text
//! $ cargo run --release --example request_reply
//! client 0 asked 10000 times; an answer took 5.7 us in the middle
//! client 1 asked 10000 times; an answer took 5.9 us in the middle
//! client 2 asked 10000 times; an answer took 0.2 us in the middle
//! the server answered 30000 questions
//! ```

#![allow(clippy::print_stdout, clippy::cast_precision_loss, reason = "it shows what it did")]

use std::error::Error;
use std::process::{self, Command};
use std::{env, thread, time::Duration, time::Instant};

use ringway::{
    ConsumerSet, Producer, Queue, QueueOptions, Received, SetReceived, Start, Subscribe, Wait,
};

type Fallible<T> = Result<T, Box<dyn Error>>;
const CLIENTS: usize = 3;
const QUESTIONS: u64 = 10_000;

fn main() -> Fallible<()> {
    if let [_, number, questions, answers] = &env::args().collect::<Vec<_>>()[..] {
        // Should anything hang, every process but the first ends by itself, and then that one.
        thread::spawn(|| {
            thread::sleep(Duration::from_secs(60));
            process::exit(1);
        });
        return ask(number, &Queue::open(questions)?, &Queue::open(answers)?);
    }
    let pairs = (0..CLIENTS).map(|number| {
        ["questions", "answers"].map(|what| format!("{what}-{number}-{}", process::id()))
    });
    let pairs: Vec<_> = pairs.collect();
    let result = serve_clients(&pairs);
    for name in pairs.as_flattened() {
        Queue::force_remove(name)?; // If something went wrong, that ends whoever still waits.
    }
    result
}

/// The first process: makes the queues, starts the clients, and answers them.
fn serve_clients(pairs: &[[String; 2]]) -> Fallible<()> {
    let mut set = ConsumerSet::new();
    set.set_wait(Wait::Park); // Nothing is used while nobody asks.
    let (mut answers, mut clients) = (Vec::new(), Vec::new());
    for (number, [questions, of_answers]) in pairs.iter().enumerate() {
        let small = QueueOptions::new().capacity(64 << 10);
        let from_the_first = Subscribe::new().from(Start::Oldest);
        set.add(Queue::create(questions, &small)?.subscribe(&from_the_first)?);
        answers.push(Queue::create(of_answers, &small)?.producer()?);
        let mut command = Command::new(env::current_exe()?);
        clients.push(command.args([&number.to_string(), questions, of_answers]).spawn()?);
    }
    let answered = answer(&mut set, &mut answers)?;
    for mut client in clients {
        if !client.wait()?.success() {
            return Err("a client failed".into());
        }
    }
    println!("the server answered {answered} questions");
    Ok(())
}

/// Answers every question by twice its number, until all clients have closed.
fn answer(set: &mut ConsumerSet, answers: &mut [Producer]) -> Fallible<u64> {
    let mut count = 0;
    let mut is_one_dead = false;
    loop {
        match set.receive_timeout(Duration::from_secs(1)) {
            SetReceived::One(client, received) => {
                is_one_dead = false;
                if let Received::Message(question) = received? {
                    let number = u64::from_le_bytes(question.payload().try_into()?);
                    let sequence = answers[client].send(&(2 * number).to_le_bytes())?;
                    assert_eq!(sequence, question.sequence());
                    count += 1;
                } else {
                    set.remove(client); // It has closed.
                }
            }
            SetReceived::Ended => return Ok(count),
            _ if is_one_dead => return Err("a client died before it had closed".into()),
            // If it has closed, that is received next.
            _ => is_one_dead = set.iter().any(|(_, client)| !client.producer_is_alive()),
        }
    }
}

fn ask(client: &str, questions: &Queue, answers: &Queue) -> Fallible<()> {
    let park = Subscribe::new().from(Start::Oldest).wait(Wait::Park);
    let mut answers = answers.subscribe(&park)?;
    let mut questions = questions.producer()?;
    let mut times = Vec::new();
    for number in 0..QUESTIONS {
        let begin = Instant::now();
        let sequence = questions.send(&number.to_le_bytes())?;
        let answer = answers.receive()?.message().ok_or("the server has closed")?;
        times.push(begin.elapsed());
        assert_eq!(
            (answer.sequence(), answer.payload()),
            (sequence, &(2 * number).to_le_bytes()[..])
        );
    }
    times.sort();
    let middle = times[times.len() / 2].as_nanos() as f64 / 1e3;
    println!(
        "client {client} asked {QUESTIONS} times; an answer took {middle:.1} us in the middle"
    );
    Ok(questions.close()?)
}
