//! The `ringway` program: makes, shows and removes queues, and moves messages in and out of them.
//!
//! It uses the library as every program does, through its public interface. One file for each
//! subcommand; [`args`] says what they take, [`output`] how they speak.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program speaks")]
#![allow(unreachable_pub, reason = "a program has no outside")]

mod args;
mod bench;
mod compare;
mod completions;
mod confirm;
mod create;
mod dead_letters;
mod dialogue;
mod doctor;
mod excerpt;
mod failure;
mod gc;
mod info;
mod interrupt;
mod journal;
mod journaling;
mod layout;
mod limits;
mod list;
mod log;
mod man;
mod member;
mod metrics;
mod model;
mod options;
mod output;
mod publish;
mod records;
mod remove;
mod replay;
mod report;
mod seek;
mod sender;
mod sink;
mod subscribe;
mod subscriptions;
mod terms;
mod unsubscribe;
mod watch;

use std::process::ExitCode;

use crate::args::{Arguments, Command};
use crate::failure::{Ending, Failure};
use crate::output::Console;

fn main() -> ExitCode {
    interrupt::await_children();
    if bench::crew::is_end() {
        return ended(bench::crew::play_here().map(|()| Ending::Done));
    }
    let Arguments { global, command } = args::parse();
    global.color.write_global();
    let console = Console::new(global.quiet);
    ended(run(&command, global.owner, console))
}

fn ended(result: Result<Ending, Failure>) -> ExitCode {
    match result {
        Ok(ending) => ending.into(),
        Err(failure) => {
            if !failure.is_closed_pipe() {
                output::error(&failure);
            }
            failure.into()
        }
    }
}

fn run(command: &Command, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    match command {
        Command::Create(create) => create::run(create, owner, console),
        Command::Ls(list) => list::run(list, owner, console),
        Command::Info(info) => info::run(info, owner),
        Command::Metrics(metrics) => metrics::run(metrics, owner, console),
        Command::Rm(remove) => remove::run(remove, owner, console),
        Command::Gc(gc) => gc::run(gc, owner, console),
        Command::Layout(layout) => layout::run(layout),
        Command::Pub(publish) => publish::run(publish, owner, console),
        Command::Sub(subscribe) => subscribe::run(subscribe, owner, console),
        Command::Subscriptions(subscriptions) => subscriptions::run(subscriptions, owner, console),
        Command::Declare(declare) => terms::declare(declare, owner, console),
        Command::Alter(alter) => terms::alter(alter, owner, console),
        Command::Unsubscribe(unsubscribe) => unsubscribe::run(unsubscribe, owner, console),
        Command::Seek(seek) => seek::run(seek, owner, console),
        Command::DeadLetters(letters) => dead_letters::run(&letters.action, owner, console),
        Command::Journal(journal) => journal::run(journal, owner, console),
        Command::Log(log) => log::run(&log.action, console),
        Command::Replay(replay) => replay::run(replay, owner, console),
        Command::Bench(bench) => bench::run(bench, console),
        Command::Report(report) => report::run(report, console),
        Command::Compare(compare) => compare::run(compare, console),
        Command::Doctor(doctor) => doctor::run(doctor),
        Command::Model(model) => model::run(model),
        Command::Completions(completions) => completions::run(completions),
        Command::Man(man) => man::run(man),
    }
}
