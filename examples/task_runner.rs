//! A small task runner: tasks are submitted, worker processes do them, what fails is tried again
//! with growing pauses, and what never works is put aside for a person to look at.
//!
//! ```text
//! $ cargo run --example task_runner              # all of it, in a few seconds, with tasks of its own
//! $ cargo run --example task_runner work &       # or piece by piece: as many workers as you like
//! $ cargo run --example task_runner submit word-count README.md
//! $ cargo run --example task_runner failed
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::process::{self, Child, Command, ExitStatus};
use std::time::Duration;
use std::{env, fs, thread};

use ringway::{AckMode, Message, Nacked, Queue, QueueOptions, Start, Subscribe};

type Fallible<T> = Result<T, Box<dyn Error>>;

/// Where tasks are submitted.
const QUEUE: &str = "example-tasks";

/// Does a task with its argument. It is told how often the task has been begun, this time
/// included: a task is begun anew when its worker died in the middle of it.
type Perform = fn(&str, u32) -> Fallible<String>;

const TASKS: [(&str, Perform); 4] = [
    ("word-count", |path, _| Ok(fs::read_to_string(path)?.split_whitespace().count().to_string())),
    ("mail", |to, delivery| match delivery {
        1 => Err("the mail server is busy".into()),
        _ => Ok(format!("sent to {to}")),
    }),
    ("divide", |number, _| {
        let divisor: u32 = number.parse()?;
        let quotient = 100_u32.checked_div(divisor).ok_or("division by zero")?;
        Ok(quotient.to_string())
    }),
    ("leak", |_, delivery| match delivery {
        1 => process::abort(), // As if the system had ended it for want of memory.
        _ => Ok("got by this time".into()),
    }),
];

fn main() -> Fallible<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    match &words[..] {
        [] => everything(),
        ["work"] => work(&open(QUEUE)?),
        ["work", queue] => work(&open(queue)?),
        ["submit", task @ ..] if !task.is_empty() => submit(&open(QUEUE)?, &[&task.join(" ")]),
        ["failed"] => show_failed(&open(QUEUE)?),
        _ => Err("what to do is: work, submit TASK ARGUMENT, or failed".into()),
    }
}

fn open(name: &str) -> Fallible<Queue> {
    let files = env::temp_dir().join(format!("ringway-{name}"));
    let options = QueueOptions::new().capacity(1 << 20).history(files);
    let queue = Queue::open_or_create(name, &options)?;
    // The subscription has to be there before the first task, for the first task to be in it.
    queue.declare(&workers())?;
    Ok(queue)
}

/// Three tries, the second a tenth of a second after the first, the third half a second later.
fn workers() -> Subscribe {
    let (first, longest) = (Duration::from_millis(100), Duration::from_secs(10));
    let workers = Subscribe::new().named("workers").from(Start::Oldest);
    // One task at a time: whoever is free takes the next.
    workers.ack(AckMode::Manual).prefetch(1).deliveries_max(3).backoff(first, 5.0, longest)
}

fn submit(queue: &Queue, tasks: &[&str]) -> Fallible<()> {
    let mut producer = queue.producer()?;
    for task in tasks {
        println!("task {} is {task}", producer.send(task.as_bytes())?);
    }
    Ok(())
}

/// Does what there is until the stream ends and nothing is left to do.
fn work(queue: &Queue) -> Fallible<()> {
    let mut worker = queue.subscribe(&workers())?;
    while let Some(task) = worker.next_message(|gone| println!("{gone:?} are gone"))? {
        let (me, number) = (process::id(), task.sequence());
        match perform(task) {
            Ok(result) => {
                println!("worker {me} did task {number}: {result}");
                let _ = task.ack()?; // Without a time limit (`ack_within`) it is never too late.
            }
            Err(error) => match task.nack()? {
                Nacked::Retry(pause) => {
                    println!("worker {me} failed at task {number}: {error}; again in {pause:?}");
                }
                _ => println!("worker {me} gave task {number} up: {error}"),
            },
        }
    }
    Ok(())
}

fn perform(task: Message<'_>) -> Fallible<String> {
    let text = str::from_utf8(task.payload())?;
    let (name, argument) = text.split_once(' ').unwrap_or((text, ""));
    let known = TASKS.iter().find(|(known, _)| *known == name);
    let (_, perform) = known.ok_or_else(|| format!("there is no task '{name}'"))?;
    perform(argument, task.delivery())
}

fn show_failed(queue: &Queue) -> Fallible<()> {
    for letter in &queue.dead_letters("workers")? {
        let letter = letter?;
        let task = String::from_utf8_lossy(&letter.payload).into_owned();
        println!("given up after {} tries: task {}, {task}", letter.deliveries, letter.sequence);
    }
    Ok(())
}

/// Three workers, a handful of tasks, and an eye on the workers: one that dies is started again. All of
/// it goes in the end, so the queue is not the one that somebody's tasks may be in.
fn everything() -> Fallible<()> {
    let queue = open(&format!("{QUEUE}-{}", process::id()))?;
    let result = run(&queue);
    let _ = fs::remove_dir_all(queue.history().ok_or("it was made with one")?);
    Queue::force_remove(queue.name())?; // Whoever still waits ends with it.
    result
}

fn run(queue: &Queue) -> Fallible<()> {
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(start_worker(queue)?);
    }
    submit(queue, &["word-count Cargo.toml", "mail ada", "divide 4", "divide 0", "leak", "dance"])?;
    queue.producer()?.close()?;
    while let Some(mut worker) = workers.pop() {
        match worker.try_wait()? {
            None => workers.insert(0, worker),
            Some(status) if status.success() => {}
            Some(status) => {
                println!("{}; another one takes its place", obituary(&worker, status));
                workers.push(start_worker(queue)?);
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
    show_failed(queue)?;
    let subscription = &queue.info()?.subscriptions[0];
    match (subscription.acked, subscription.dead_letters, subscription.lag_messages) {
        (4, 2, Some(0)) => Ok(()),
        (done, given_up, _) => Err(format!("{done} done, {given_up} given up, of 6").into()),
    }
}

fn start_worker(queue: &Queue) -> Fallible<Child> {
    Ok(Command::new(env::current_exe()?).args(["work", queue.name()]).spawn()?)
}

fn obituary(worker: &Child, status: ExitStatus) -> String {
    format!("worker {} is dead ({status})", worker.id())
}
