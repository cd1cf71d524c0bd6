//! What the program takes, and nothing else.

mod columns;
mod letters;
mod model;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{
    ArgGroup, Args, ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
};
use clap_complete::Shell;
use ringway::{AtLimit, Backoff, Journal, Lag, Start, Wait};

pub use self::letters::{
    DeadLetterAction, DeadLetters, DropLetters, LettersOf, ListLetters, SendAgain, SomeLetters,
};
pub use self::model::Model;
use crate::bench::args::{Bench, Compare, Doctor, Report};
use crate::options::{self, Beginning, Delimiter, Mark, Speed, Term};

const EXIT_CODES: &str = "\
Exit codes:
  0    done; also when whoever read the output has gone
  1    failed
  2    wrong usage
  3    no such queue, subscription, dead letter or history; not one of ours, or gone meanwhile; or
       no permission to use it
  4    messages were missed (but by --observe and --lag skip, which ask for it), or lost, doubled
       or disordered in a run; a queue or journal is damaged
  5    a limit was missed: of time, of --fail-if, or of a comparison
  130  interrupted (Ctrl-C); 143 by SIGTERM, 129 by SIGHUP";

const EXAMPLES: &str = "\
Examples:
  seq 5 | ringway pub numbers --create
  ringway sub numbers --from oldest -e
  ringway ls";

/// A queue between the processes of one machine: one producer, any number of consumers, a
/// lock-free ring in named shared memory.
#[derive(Debug, Parser)]
#[command(name = "ringway", version, max_term_width = 100)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What the program was given; ends it if that is help, or nothing that it takes.
pub fn parse() -> Arguments {
    // What cannot be parsed is to be said in the colours that were asked for, too.
    let color = match color_of(std::env::args_os()) {
        Some(Color::Always) => ColorChoice::Always,
        Some(Color::Never) => ColorChoice::Never,
        Some(Color::Auto) | None => ColorChoice::Auto,
    };
    let matches = with_negative_numbers(Arguments::command()).color(color).get_matches();
    Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// Has what looks like a negative number be a value, about which its parser says what is wrong, and not an
/// option that there is none of.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let take = |argument: clap::Arg| {
        let takes_values = argument.get_action().takes_values();
        if takes_values { argument.allow_negative_numbers(true) } else { argument }
    };
    command.mut_args(take).mut_subcommands(with_negative_numbers)
}

fn color_of(arguments: impl Iterator<Item = OsString>) -> Option<Color> {
    let mut arguments = arguments.take_while(|argument| argument != "--");
    while let Some(argument) = arguments.next() {
        let value = argument.to_str().and_then(|text| text.strip_prefix("--color"));
        if let Some(value) = value {
            let value = value.strip_prefix('=').map(OsString::from).or_else(|| arguments.next())?;
            return Color::from_str(value.to_str()?, false).ok();
        }
    }
    None
}

#[derive(Debug, Args)]
#[command(next_help_heading = "For all commands")]
pub struct Global {
    /// Say nothing but errors, and what explains an exit code
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Trust only the queues of this user, a name or a number, in place of your own and root's
    #[arg(long, global = true, value_name = "USER", value_parser = options::user)]
    pub owner: Option<u32>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Color {
    /// On a terminal, unless the environment has `NO_COLOR`
    Auto,
    Always,
    Never,
}

impl Color {
    pub fn write_global(self) {
        match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        }
        .write_global();
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a queue
    Create(Create),
    /// List the queues of this machine
    Ls(Ls),
    /// Show all that a queue's segment tells
    Info(Info),
    /// Print what queues tell as metrics, for Prometheus and what reads its text
    Metrics(Metrics),
    /// Remove queues
    #[command(aliases = ["remove", "delete"])]
    Rm(Rm),
    /// Clear what dead consumers left, and subscriptions that had no member for too long
    ///
    /// Without a name it does so in all queues that you may change, and a subscription that is cleared
    /// has lost its place: `ringway gc -n` shows beforehand what would go.
    Gc(Gc),
    /// Print every byte of the segment
    Layout(Layout),
    /// Send messages
    #[command(aliases = ["publish", "send"])]
    Pub(Pub),
    /// Receive messages
    #[command(aliases = ["subscribe", "consume", "receive"])]
    Sub(Sub),
    /// List a queue's named subscriptions
    Subscriptions(Subscriptions),
    /// Make a named subscription before its first member comes
    Declare(Declare),
    /// Change the terms of a named subscription that has no members
    Alter(Alter),
    /// Remove a named subscription that has no members
    Unsubscribe(Unsubscribe),
    /// Move a named subscription that has no members elsewhere in the stream
    Seek(Seek),
    /// Look after messages that were given up
    DeadLetters(DeadLetters),
    /// Write a queue's journal, until interrupted or the queue is removed
    Journal(WriteJournal),
    /// Look after a journal as it lies on disk
    Log(Log),
    /// Send what is in a journal to a queue, at the speed it was sent, or faster or slower
    Replay(Replay),
    /// Measure this machine, and loads of one's own beside what theory says
    Bench(Bench),
    /// Draw runs, as a page of HTML
    Report(Report),
    /// Compare two runs, and fail if the second one is worse
    Compare(Compare),
    /// Look at what this machine does to measurements, and what to do about it
    Doctor(Doctor),
    /// Say what queueing theory makes of a load, and simulate it
    Model(Model),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Print the manual page, or write one for each command
    Man(Man),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringway create numbers --capacity 64MiB
  ringway create orders --history /var/lib/orders --journal every:100ms --keep 7d
  ringway create ticks --history /var/lib/ticks --history-max 10GiB --at-limit drop-oldest

A queue that is made with a history directory that has a journal goes on where the journal ends.
What is torn at that end, a message that was not written whole, is cut off, told and kept beside.")]
pub struct Create {
    /// The queue's name: letters, digits, dots, dashes, underscores
    pub name: String,
    /// Bytes of the ring, a power of two from 64KiB to 2GiB; a message can have an eighth of it
    #[arg(short, long, value_name = "SIZE", default_value = "16MiB", value_parser = options::size)]
    pub capacity: ByteSize,
    /// How many consumers there can be at a time
    #[arg(short, long, value_name = "COUNT", default_value_t = 1024, value_parser = options::whole::<u32>)]
    pub members: u32,
    /// How many named subscriptions there can be
    #[arg(long, value_name = "COUNT", default_value_t = 64, value_parser = options::whole::<u32>)]
    pub subscriptions: u32,
    /// If there is such a queue already, and it can be opened, leave it as it is, whatever is asked
    /// for, and succeed; not if its journal keeps less than is asked for, or its history is elsewhere
    #[arg(long)]
    pub if_missing: bool,
    /// Permissions: who may read can observe, who may write can do everything
    #[arg(long, value_name = "OCTAL", default_value = "0600", value_parser = options::mode)]
    pub mode: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub history: History,
}

/// What a queue keeps on disk.
#[derive(Debug, Args)]
#[command(next_help_heading = "History on disk")]
pub struct History {
    /// Keep on disk, in this directory, what consumers that spill have not read, and dead letters.
    /// It is made if it is not there, and belongs to queues of this name from then on
    #[arg(long = "history", value_name = "DIRECTORY")]
    pub directory: Option<PathBuf>,
    /// Keep all messages there. They are durable when they are written (and survive any process),
    /// or synced (and survive a loss of power) every so often or always: written, every:TIME such
    /// as every:100ms, or always
    #[arg(long, value_name = "WHEN", requires = "directory", value_parser = options::journal)]
    pub journal: Option<Journal>,
    /// Bytes that the messages there may take; --at-limit says what gives way then. Files go whole,
    /// so it should be several times 16MiB, and several capacities. Dead letters do not count
    #[arg(long = "history-max", value_name = "SIZE", requires = "directory")]
    #[arg(value_parser = options::size)]
    pub size_max: Option<ByteSize>,
    /// What gives way when a consumer that spills still needs them: the producer, which waits, or
    /// the oldest messages all the same
    #[arg(long, value_name = "WHAT", default_value = "hold", requires = "size_max")]
    #[arg(value_parser = options::named::<AtLimit>())]
    pub at_limit: AtLimit,
    /// Remove files of the journal last written to longer ago than this, such as 7d
    #[arg(long, value_name = "TIME", requires = "journal", value_parser = options::time)]
    pub keep: Option<Duration>,
}

#[derive(Debug, Args)]
#[command(after_help = columns::OF_LIST)]
pub struct Ls {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = columns::OF_INFO)]
pub struct Info {
    /// The queue
    pub name: String,
    /// Show it again and again, with rates, each time after such a time [1s if none is given], until
    /// interrupted or the queue is removed
    #[arg(short, long, value_name = "INTERVAL", num_args = 0..=1, default_missing_value = "1s")]
    #[arg(value_parser = options::interval)]
    pub watch: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringway metrics
  ringway metrics orders jobs
  ringway metrics -o /var/lib/prometheus/node-exporter/ringway.prom --every 15s

The text is that of Prometheus, version 0.0.4, which node_exporter's textfile collector takes too.
A queue that is made anew begins to count anew; ringway_queue_created_timestamp_seconds tells. Of a
queue that cannot be examined it is said why, and ringway_unreadable_queues counts it. With --every
one that was named may come later; the file stays behind when this ends.")]
pub struct Metrics {
    /// The queues; all if none is named
    #[arg(value_name = "QUEUE")]
    pub names: Vec<String>,
    /// Write them to this file, which is replaced only once the new text is complete; - is the
    /// standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write the file again and again, each time after this time, until interrupted
    #[arg(long, value_name = "TIME", requires = "output", value_parser = options::time)]
    pub every: Option<Duration>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringway rm numbers
  ringway rm jobs --if-empty
  ringway rm orders --history --yes

A queue that somebody is attached to is not removed. What its journal does not have yet is saved
there first; where that cannot be done, the queue is left alone. On a terminal it asks before
messages go that a named subscription has not acknowledged and that no journal is to have, and
leaves the queue alone if there are more once that is answered; elsewhere it goes on, and says what
went.")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag by itself")]
pub struct Rm {
    /// The queues
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// Succeed where there is no such queue
    #[arg(long)]
    pub if_exists: bool,
    /// Also while somebody lives there, and also what is damaged or no queue at all, or what its journal
    /// does not have and cannot be saved there; does not ask
    #[arg(short, long)]
    pub force: bool,
    /// Only if no named subscription has messages that are not acknowledged
    #[arg(long, conflicts_with = "force")]
    pub if_empty: bool,
    /// Remove their history too: journal, spilt messages and dead letters. Asks first
    #[arg(long)]
    pub history: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringway gc -n
  ringway gc jobs")]
pub struct Gc {
    /// The queues; all if none is named
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Only show what would be cleared
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Layout {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tail -F access.log | ringway pub log --create
  find . -print0 | ringway pub files -D '\\0' --close
  ringway pub orders 'one message' 'another one'
  ringway pub orders --key-field 2 < orders.txt

In a queue with a journal it writes that too, where nobody else does or from when who did has died,
and ends when all that it has sent is durable.")]
pub struct Pub {
    /// The queue
    pub name: String,
    /// Messages; without any they come from the input
    #[arg(value_name = "MESSAGE", conflicts_with = "file")]
    pub messages: Vec<OsString>,
    /// Make the queue if there is none
    #[arg(long)]
    pub create: bool,
    /// Bytes of its ring if it is made
    #[arg(short, long, value_name = "SIZE", default_value = "16MiB", requires = "create")]
    #[arg(value_parser = options::size)]
    pub capacity: ByteSize,
    /// What ends each message of the input: one byte, '\n', '\t', '\0', or len32, which is no end but
    /// the length before it (32 bits, little-endian)
    #[arg(short = 'D', long, value_name = "DELIMITER", default_value = "\\n")]
    #[arg(value_parser = options::delimiter)]
    pub delimiter: Delimiter,
    /// Read messages from a file instead of the standard input, which - is too
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Messages a second at most, as in 5000 or 80k
    #[arg(short, long, value_name = "NUMBER", value_parser = options::rate)]
    pub rate: Option<f64>,
    /// End after this many messages
    #[arg(short = 'n', long, value_name = "NUMBER", value_parser = options::whole::<u64>)]
    pub count: Option<u64>,
    /// Give every message this key
    #[arg(long, value_name = "KEY", conflicts_with = "key_field")]
    pub key: Option<OsString>,
    /// Take each message's key from this field of it, counted from 1
    #[arg(long, value_name = "NUMBER", value_parser = options::field)]
    pub key_field: Option<NonZeroUsize>,
    /// What stands between fields: one byte, '\n', '\t' or '\0'; blanks if none is given
    #[arg(long, value_name = "CHARACTER", requires = "key_field", value_parser = options::byte)]
    pub key_separator: Option<u8>,
    #[command(flatten)]
    pub sending: Sending,
}

/// What comes before the first message and after the last one.
#[derive(Debug, Args)]
pub struct Sending {
    /// Wait for this many consumers before the first message
    #[arg(short, long, value_name = "NUMBER", default_value_t = 0, value_parser = options::whole::<u32>)]
    pub wait_for: u32,
    /// End the stream after the last message: consumers end when they have received it. A later `pub`
    /// opens it again
    #[arg(long)]
    pub close: bool,
    #[command(flatten)]
    pub patience: Patience,
}

/// How long to wait for a place as the producer, and for room.
#[derive(Clone, Copy, Debug, Args)]
pub struct Patience {
    /// Wait up to this long for the place of another producer, if there is one
    #[arg(long, value_name = "TIME", value_parser = options::time)]
    pub standby: Option<Duration>,
    /// Give up when there has been no room for a message for this long, the consumers of --wait-for
    /// have not come, or nothing more has become durable where that is waited for. Without it, wait for
    /// as long as it takes, also where the disk is full
    #[arg(short, long, value_name = "TIME", value_parser = options::time)]
    pub timeout: Option<Duration>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringway sub log --from -10
  ringway sub orders --from oldest -e -f jsonl | jq .data
  ringway sub orders --observe --timeout 5s
  ringway sub orders --from -5m --durable
  ringway sub orders --as workers --exec ./work.sh --max-deliveries 5
  ringway sub orders prices -f jsonl | jq -r '.queue + \": \" + .data'
  ringway sub mails reports --as workers --exec './work.sh \"$RINGWAY_QUEUE\"'

A command of --exec finds what it works on in RINGWAY_QUEUE, RINGWAY_SUBSCRIPTION,
RINGWAY_SEQUENCE, RINGWAY_DELIVERY (1 for the first) and RINGWAY_KEY_HASH.

With several queues --from, --lag, --as and the like are for each of them; --observe and
--dead-letters take one queue, and answers of --ack manual name theirs: ack orders 17. If one was
removed or is damaged, the exit code tells so at the end.")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag by itself")]
pub struct Sub {
    /// The queues; several are received from in turn, each in its order. One that is closed,
    /// removed or damaged leaves the others to go on
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// Where to begin: oldest, newest, a sequence, or -N for the last N messages; in a queue with a
    /// journal also -TIME, such as -5m, for those of the last five minutes, or a time of UTC, such
    /// as 2026-11-21T10:00:00Z [default: newest, which is the next message sent: what is there already
    /// needs --from oldest]. With --as it counts only where this makes the subscription; `ringway
    /// seek` moves one
    #[arg(long, value_name = "START", allow_hyphen_values = true, value_parser = options::start)]
    pub from: Option<Start>,
    /// End after this many messages, of all queues together
    #[arg(short = 'n', long, value_name = "NUMBER", value_parser = options::whole::<u64>)]
    pub count: Option<u64>,
    /// End when there is no message left in any of them. What other members have and have not
    /// acknowledged does not count, though it may yet come back
    #[arg(short, long)]
    pub exit_on_end: bool,
    /// What to put behind each message: one byte, '\n', '\t', '\0', or len32, the length before it
    /// (32 bits, little-endian) [default: '\n']
    #[arg(short = 'D', long, value_name = "DELIMITER", value_parser = options::delimiter)]
    pub delimiter: Option<Delimiter>,
    /// How to print messages
    #[arg(short, long, default_value = "raw")]
    pub format: Format,
    /// Put the queue's name and a tab before each message; lines of JSON of several queues have it
    /// anyway
    #[arg(long, conflicts_with_all = ["exec", "ack"])]
    pub with_queue: bool,
    /// A whole ring behind: hold the producer, skip what is overwritten, or spill it to the
    /// queue's history and read it there [default: what the subscription is made with; else hold, or spill for a named subscription where there is a journal]
    #[arg(long, value_name = "POLICY", value_parser = options::named::<Lag>())]
    #[arg(conflicts_with = "observe")]
    pub lag: Option<Lag>,
    /// Look on without being counted; skips what is overwritten
    #[arg(long, conflicts_with = "create")]
    pub observe: bool,
    /// Only receive what is durable, in a queue with a journal
    #[arg(long, conflicts_with_all = ["observe", "create", "subscription"])]
    pub durable: bool,
    /// How to wait for messages: without a rest, with growing pauses and asleep after a millisecond,
    /// or asleep at once until called
    #[arg(long, value_name = "HOW", default_value = "park", value_parser = options::named::<Wait>())]
    pub wait: Wait,
    /// End when nothing has come for this long, with exit code 5
    #[arg(long, value_name = "TIME", value_parser = options::span)]
    pub timeout: Option<Duration>,
    /// Make the queue if there is none
    #[arg(long)]
    pub create: bool,
    #[command(flatten)]
    pub member: Member,
}

/// What makes a consumer a member of a named subscription.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sharing the messages with others")]
pub struct Member {
    /// Be a member of the subscription of this name: its members share the messages, and its place
    /// outlives them. It is made, with what is asked for here, if it is not there
    #[arg(long = "as", value_name = "SUBSCRIPTION", conflicts_with = "observe")]
    pub subscription: Option<String>,
    /// How many messages to have that are not acknowledged, 1 to 1024 [default: 32, with --exec 1]
    #[arg(long, value_name = "NUMBER", requires = "subscription", value_parser = options::whole::<u32>)]
    pub prefetch: Option<u32>,
    /// When messages are acknowledged: when they are written, or when the standard input says so:
    /// ack, ack-through, nack, reject (a dead letter at once) or extend, and a sequence, a line each;
    /// nack also with a time, for which it is not to come again. With several queues the name stands
    /// before the sequence. Any other line ends it, and so do the end of the input, --timeout, and a
    /// second without an answer when whoever read the output has gone; what has no answer by then
    /// goes back
    #[arg(long, value_name = "WHEN", default_value = "auto", requires = "subscription")]
    pub ack: Ack,
    /// Run a command for each message instead of writing it: the payload is its input; it
    /// acknowledges by exiting with 0, and refuses by anything else; 126 and 127 before any other code
    /// mean that it is no command, which ends this program. The first Ctrl-C or SIGTERM lets it end,
    /// the second one does not wait. If this program is killed, so is the shell, but not what that has
    /// started: `exec` it
    #[arg(long, value_name = "COMMAND", requires = "subscription")]
    #[arg(value_parser = options::command())]
    #[arg(conflicts_with_all = ["ack", "format", "delimiter"])]
    pub exec: Option<OsString>,
    /// Hand messages of one key to one member at a time, in order
    #[arg(long, requires = "subscription")]
    pub keyed: bool,
    #[command(flatten)]
    pub terms: Terms,
    /// Where dead letters go, if not to the queue's history
    #[arg(long, value_name = "DIRECTORY", requires = "subscription")]
    pub dead_letters: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Ack {
    Auto,
    Manual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The payloads, each with the delimiter
    Raw,
    /// A line of JSON each: sequence, length, and data, or base64 if it is not UTF-8; also the
    /// key's hash and the time, where a message has them
    Jsonl,
}

#[derive(Debug, Args)]
#[command(after_help = columns::OF_SUBSCRIPTIONS)]
pub struct Subscriptions {
    /// The queue
    pub name: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringway declare jobs workers --max-deliveries 3 --backoff 100ms
  ringway declare orders audit --from oldest --lag spill

One that is there already is left as it is, if it is what is asked for.")]
pub struct Declare {
    /// The queue
    pub name: String,
    /// The subscription
    pub subscription: String,
    /// Where its first member begins; as for `ringway sub`. Without it, with the next message sent:
    /// what is there already needs --from oldest [default: newest]
    #[arg(long, value_name = "START", allow_hyphen_values = true, value_parser = options::start)]
    pub from: Option<Start>,
    /// A whole ring behind: hold the producer, skip, or spill; as for `ringway sub`
    #[arg(long, value_name = "POLICY", value_parser = options::named::<Lag>())]
    pub lag: Option<Lag>,
    /// Hand messages of one key to one member at a time, in order
    #[arg(long)]
    pub keyed: bool,
    #[command(flatten)]
    pub terms: Terms,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringway alter jobs workers --max-deliveries 5
  ringway alter jobs workers --backoff 1s:2:1h --ack-within none

What is not named stays as it is. Lag policy and keys cannot be changed.")]
#[command(group = ArgGroup::new("changes").required(true).multiple(true)
    .args(["deliveries_max", "backoff", "ack_within", "expires_after"]))]
pub struct Alter {
    /// The queue
    pub name: String,
    /// The subscription
    pub subscription: String,
    #[command(flatten)]
    pub terms: Terms,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The terms of a named subscription. `none` takes one away where it is altered, and asks for nothing
/// elsewhere.
#[derive(Debug, Args)]
#[group(requires = "subscription")]
pub struct Terms {
    /// Make a message a dead letter after this many deliveries without an acknowledgement, 1 to 250; or
    /// none
    #[arg(long = "max-deliveries", value_name = "NUMBER")]
    #[arg(value_parser = options::or_none(options::whole::<u32>))]
    pub deliveries_max: Option<Term<u32>>,
    /// Pause before a refused message is delivered again: the first pause, the factor from each
    /// to the next, and the longest; 100ms:2:1m where only the first is given; or none
    #[arg(long, value_name = "FIRST[:FACTOR[:MAX]]")]
    #[arg(value_parser = options::or_none(options::backoff))]
    pub backoff: Option<Term<Backoff>>,
    /// Pass messages on to others if a member shows no progress for this long; or none
    #[arg(long, value_name = "TIME", value_parser = options::or_none(options::time))]
    pub ack_within: Option<Term<Duration>>,
    /// Remove the subscription when it is in somebody's way, the producer's say, and has had no member
    /// for this long; or none
    #[arg(long, value_name = "TIME", value_parser = options::or_none(options::time))]
    pub expires_after: Option<Term<Duration>>,
}

#[derive(Debug, Args)]
pub struct Unsubscribe {
    /// The queue
    pub name: String,
    /// The subscription
    pub subscription: String,
    /// Print JSON, of how it was
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Seek {
    /// The queue
    pub name: String,
    /// The subscription
    pub subscription: String,
    /// Where to go on: oldest, newest, a sequence, or -N for the last N messages; in a queue with a
    /// journal also -TIME, such as -5m, or a time of UTC, such as 2026-11-21T10:00:00Z
    #[arg(allow_hyphen_values = true, value_parser = options::start)]
    pub start: Start,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct WriteJournal {
    /// The queue
    pub name: String,
    /// Wait at most this long for the place of another process that writes the journal, a `pub` say;
    /// `0s` refuses at once [default: as long as it takes]
    #[arg(long, value_name = "TIME", value_parser = options::span)]
    pub standby: Option<Duration>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringway log verify /var/lib/orders
  ringway log dump /var/lib/orders --from -1h --json | jq .data
  ringway log prune /var/lib/orders --older-than 30d")]
pub struct Log {
    #[command(subcommand)]
    pub action: LogAction,
}

#[derive(Debug, Subcommand)]
pub enum LogAction {
    /// Read all of it, with the checkpoints of named subscriptions, and say what is there; exit code 4
    /// if something is missing or damaged
    Verify(Verify),
    /// Print its messages
    Dump(Dump),
    /// Cut it off where it is damaged or torn, and put checkpoints aside that cannot be read: those
    /// subscriptions begin again where their first member asks. Writes the file `identity` anew if that
    /// is damaged or gone. Says what goes, and asks first
    Repair(Repair),
    /// Remove its oldest files, never the last one, and none that somebody has not read: a named
    /// subscription, unless it skips, or a consumer that spills. By --force those too, who are then told
    /// what they missed
    Prune(Prune),
    /// Remove the directory with all that is kept there: journal, spilt messages, dead letters. Asks
    /// first; `ringway rm --history` does the same while the queue is there
    Rm(RmLog),
}

#[derive(Debug, Args)]
pub struct RmLog {
    /// The history directory
    pub directory: PathBuf,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Verify {
    /// The history directory
    pub directory: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// From where to where in a journal.
#[derive(Debug, Args)]
pub struct Extent {
    /// The first message: oldest, a sequence, -N for the last N messages, -TIME, such as -5m, or a
    /// time of UTC, such as 2026-11-21T10:00:00Z
    #[arg(long, value_name = "START", default_value = "oldest", allow_hyphen_values = true)]
    #[arg(value_parser = options::beginning)]
    pub from: Beginning,
    /// The last message: a sequence, -TIME or a time; else the newest there is at the beginning
    #[arg(long, value_name = "END", allow_hyphen_values = true, value_parser = options::mark)]
    pub to: Option<Mark>,
}

#[derive(Debug, Args)]
pub struct Dump {
    /// The history directory
    pub directory: PathBuf,
    #[command(flatten)]
    pub extent: Extent,
    /// What to put behind each message: one byte, '\n', '\t', '\0', or len32, the length before it
    /// (32 bits, little-endian)
    #[arg(short = 'D', long, value_name = "DELIMITER", default_value = "\\n")]
    #[arg(value_parser = options::delimiter)]
    pub delimiter: Delimiter,
    /// Print a line of JSON each: sequence, time, length, and data, or base64 if it is not UTF-8
    #[arg(long, conflicts_with = "delimiter")]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Repair {
    /// The history directory
    pub directory: PathBuf,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("limits").args(["size_max", "age_max"]).required(true).multiple(true))]
pub struct Prune {
    /// The history directory
    pub directory: PathBuf,
    /// Remove files until the rest has this many bytes at most
    #[arg(long = "max-size", value_name = "SIZE", value_parser = options::size)]
    pub size_max: Option<ByteSize>,
    /// Remove files last written to longer ago than this, such as 7d
    #[arg(long = "older-than", value_name = "TIME", value_parser = options::time)]
    pub age_max: Option<Duration>,
    /// Remove also what somebody has not read
    #[arg(short, long)]
    pub force: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringway replay /var/lib/orders --into trial
  ringway replay /var/lib/orders --into trial --from 2026-11-21T10:00:00Z --speed 10x
  ringway replay /var/lib/orders --into trial --speed max --close

Messages keep their keys. Their sequences, and their times if the queue has a journal, are new.")]
pub struct Replay {
    /// The history directory
    pub directory: PathBuf,
    /// The queue
    #[arg(long, value_name = "NAME")]
    pub into: String,
    /// At the speed it was sent (1x), or faster or slower: 2x, 0.5x, or max, without any pause
    #[arg(long, value_name = "SPEED", default_value = "1x", value_parser = options::speed)]
    pub speed: Speed,
    #[command(flatten)]
    pub extent: Extent,
    #[command(flatten)]
    pub sending: Sending,
}

#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    pub shell: Shell,
}

#[derive(Debug, Args)]
pub struct Man {
    /// Write the pages of all commands into this directory
    #[arg(long, value_name = "DIRECTORY")]
    pub dir: Option<PathBuf>,
}
