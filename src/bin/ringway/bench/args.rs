//! What the laboratory's commands take.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Subcommand, ValueEnum};
use ringway::Wait;
use ringway::workload::{Arrival, Scenario, Service, WhenFull};

use crate::failure::Failure;
use crate::limits::Limit;
use crate::{model, options};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "\
Without a command it measures this machine: the bare line, throughput by size, round trips,
one-way latency and a sweep of the load, in less than a minute, and draws a report.
Whoever receives a message reads a byte of each line of it.

Examples:
  ringway bench
  ringway bench throughput -s 8,64,1KiB --runs 5
  ringway bench latency --wait spin,park
  ringway bench load --load 0.8 --service exp:20us --arrival poisson -d 10s
  ringway bench load --load 1.2 --service exp:20us --bound 8
  ringway bench sweep --service fixed:20us --report sweep.html
  ringway bench load --rate 10000 --fail-if 'p99>200us'
  ringway bench load --load 0.95 --fail-if 'wait_mean_replay_ratio>1.1'")]
pub struct Bench {
    #[command(subcommand)]
    pub command: Option<BenchCommand>,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// How many messages go through in a second
    Throughput(Throughput),
    /// How long a message takes: to and fro, and one way
    Latency(Latency),
    /// An open loop: messages at their own times, servers behind, beside what theory says
    Load(Load),
    /// Loads from light to heavy: how waits grow
    Sweep(Sweep),
    /// More and more consumers, each of which gets all messages
    Fanout(Fanout),
}

/// What all of them take.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "For all runs")]
pub struct Common {
    /// The seed of all chance in it
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = options::whole::<u64>)]
    pub seed: u64,
    /// Run the ends as threads of one process instead of processes of their own
    #[arg(long)]
    pub threads: bool,
    /// Keep the ends on these processors: the producer's first; none lets them move [default: one
    /// for each end if there are enough]
    #[arg(long, value_name = "LIST", value_parser = options::pins)]
    pub pin: Option<Pins>,
    /// Bytes of the ring
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = options::size)]
    pub capacity: ByteSize,
    /// Fail with exit code 5 if a number is beyond a limit, such as `p99>20us`, `lost>0` or
    /// `wait_mean_replay_ratio>1.1`, a wait over that of the same chance without a machine (one over
    /// theory's has the chance in it); a time without a unit is in nanoseconds. May be given
    /// several times. One that the run does not measure is refused before it
    #[arg(long, value_name = "LIMIT", value_parser = str::parse::<Limit>)]
    pub fail_if: Vec<Limit>,
    /// Draw a report, a page of HTML
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Write the times, but for the warm-up, as an interval log of HDR histograms, with a tag for
    /// each cell such as round-trip-spin-64B or wait-load-0.8
    #[arg(long, value_name = "FILE")]
    pub hdr: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Processors for the ends, in their order; none to let them move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins(pub Vec<usize>);

/// How long runs are, and how many there are of each cell.
#[derive(Clone, Copy, Debug, Args)]
pub struct Length {
    /// How long each run is
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = options::length)]
    pub duration: Duration,
    /// How long to run before that, uncounted
    #[arg(short, long, value_name = "TIME", default_value = "100ms")]
    #[arg(value_parser = options::warm_up)]
    pub warm_up: Duration,
    /// How often to repeat each, interleaved
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    #[arg(value_parser = options::within::<u16>(1, 1000))]
    pub runs: u16,
}

#[derive(Debug, Args)]
pub struct Throughput {
    /// Bytes of a message, a list [default: 8, 64, 256, 1KiB, 16KiB and 64KiB, as far as the ring
    /// takes them]
    #[arg(short, long, value_name = "LIST", value_delimiter = ',', value_parser = options::size)]
    pub sizes: Vec<ByteSize>,
    /// How many consumers get all messages, a list
    #[arg(short, long, value_name = "LIST", value_delimiter = ',', default_value = "1")]
    #[arg(value_parser = options::within(1, CONSUMERS_MAX))]
    pub consumers: Vec<u16>,
    /// Messages that are sent and received at a time, a list
    #[arg(short, long, value_name = "LIST", value_delimiter = ',', default_value = "1")]
    #[arg(value_parser = options::within::<u16>(1, 4096))]
    pub batch: Vec<u16>,
    /// How the ends wait, a list
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "backoff")]
    #[arg(value_parser = options::named::<Wait>())]
    pub wait: Vec<Wait>,
    #[command(flatten)]
    pub length: Length,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Args)]
pub struct Latency {
    /// Bytes of a message, a list
    #[arg(short, long, value_name = "LIST", value_delimiter = ',', default_value = "8,64,1KiB")]
    #[arg(value_parser = options::size)]
    pub sizes: Vec<ByteSize>,
    /// How the ends wait, a list
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "spin,backoff,park")]
    #[arg(value_parser = options::named::<Wait>())]
    pub wait: Vec<Wait>,
    /// Messages a second of the one-way runs
    #[arg(short, long, value_name = "NUMBER", default_value = "10000")]
    #[arg(value_parser = options::rate)]
    pub rate: f64,
    #[command(flatten)]
    pub length: Length,
    #[command(flatten)]
    pub common: Common,
}

/// Messages and servers, but not how many a second.
#[derive(Clone, Debug, Args)]
pub struct Workload {
    /// When messages are offered: poisson, fixed, erlang:K, hyper:CV2, onoff:ON,OFF, trace:FILE
    /// (each end reads it, so no pipe)
    #[arg(long, value_name = "PATTERN", default_value = "poisson", value_parser = options::offered)]
    pub arrival: Arrival,
    /// How long a server takes for a message: exp:MEAN, fixed:TIME, erlang:MEAN,K, hyper:MEAN,CV2,
    /// lognormal:MEAN,CV2, pareto:MEAN,ALPHA, none; with --broadcast one for each consumer
    #[arg(long, value_name = "TIMES", default_value = "exp:20us")]
    pub service: Vec<Service>,
    /// How many consumers share the messages
    #[arg(short, long, value_name = "COUNT", default_value_t = 1)]
    #[arg(value_parser = options::within(1, CONSUMERS_MAX))]
    pub consumers: u16,
    /// Every consumer gets every message
    #[arg(long)]
    pub broadcast: bool,
    /// How many messages can be there at a time, those in service included; counted, because the
    /// ring's own bound is in bytes, and is to have room for them
    #[arg(long, value_name = "PLACES")]
    #[arg(value_parser = options::within(1, Scenario::PLACES_MAX))]
    pub bound: Option<u32>,
    /// What happens to a message that finds all places taken: it is lost, or waits with the producer
    #[arg(long, value_name = "WHAT", requires = "bound", value_parser = options::named::<WhenFull>())]
    pub when_full: Option<WhenFull>,
    /// What servers do while they work: keep a processor busy, or sleep, but for the last 60 us of
    /// each work; so does the producer until the next message is due [default: spin, or sleep if
    /// the ends are more than the processors]
    #[arg(long, value_name = "HOW")]
    pub work: Option<Work>,
    /// Bytes of a message
    #[arg(short, long, value_name = "SIZE", default_value = "64", value_parser = options::size)]
    pub size: ByteSize,
    /// How consumers wait for messages
    #[arg(long, value_name = "HOW", default_value = "backoff", value_parser = options::named::<Wait>())]
    pub wait: Wait,
    /// How long to offer messages that count
    #[arg(short, long, value_name = "TIME", default_value = "5s", value_parser = options::length)]
    pub duration: Duration,
    /// How long to offer messages before that
    #[arg(short, long, value_name = "TIME", default_value = "1s")]
    #[arg(value_parser = options::warm_up)]
    pub warm_up: Duration,
    /// How often to repeat it, each time by another seed
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    #[arg(value_parser = options::within::<u16>(1, 1000))]
    pub runs: u16,
}

impl Workload {
    /// The producer and the consumers; of a broadcast with several services one for each.
    pub fn ends(&self) -> usize {
        let consumers = usize::from(self.consumers);
        1 + if self.broadcast { consumers.max(self.service.len()) } else { consumers }
    }

    /// Messages a second, if this is the rate or the load that was asked for.
    pub fn rate(&self, rate: Option<f64>, load: Option<f64>) -> Result<f64, Failure> {
        let servers = if self.broadcast { 1 } else { self.consumers.into() };
        model::rate(rate, load, &self.arrival, &self.service, servers)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Work {
    Spin,
    Sleep,
}

#[derive(Debug, Args)]
pub struct Load {
    /// Messages offered a second, as in 5000 or 80k
    #[arg(short, long, value_name = "NUMBER", value_parser = options::rate)]
    #[arg(conflicts_with = "part")]
    pub rate: Option<f64>,
    /// The same as a part of what the servers can do: 0.8 if neither is given, or a trace's own
    #[arg(id = "part", long = "load", value_name = "NUMBER", value_parser = options::positive)]
    pub part: Option<f64>,
    #[command(flatten)]
    pub workload: Workload,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Args)]
pub struct Sweep {
    /// The loads, each a part of what the servers can do
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    #[arg(default_value = "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,0.95")]
    #[arg(value_parser = options::positive)]
    pub loads: Vec<f64>,
    #[command(flatten)]
    pub workload: Workload,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Args)]
pub struct Fanout {
    /// How many consumers, a list [default: 1, 2, 4 and so on while there are processors, 2 at
    /// least]
    #[arg(short, long, value_name = "LIST", value_delimiter = ',')]
    #[arg(value_parser = options::within(1, CONSUMERS_MAX))]
    pub consumers: Vec<u16>,
    /// Bytes of a message
    #[arg(short, long, value_name = "SIZE", default_value = "64", value_parser = options::size)]
    pub size: ByteSize,
    /// How the ends wait
    #[arg(long, value_name = "HOW", default_value = "backoff", value_parser = options::named::<Wait>())]
    pub wait: Wait,
    #[command(flatten)]
    pub length: Length,
    #[command(flatten)]
    pub common: Common,
}

const CONSUMERS_MAX: u16 = 256;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringway bench sweep --json > sweep.json
  ringway report sweep.json -o sweep.html")]
pub struct Report {
    /// Runs, as `bench --json` prints them; - is the standard input
    #[arg(required = true, value_name = "RUN.json")]
    pub runs: Vec<PathBuf>,
    /// Where to write the page; - is the standard output
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    pub output: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
What differs by more than the threshold and than chance makes of it is worse or better. Of loads
that were run once it is unsure where a run says that the machine disturbed it: that servers were
held up, the generator was late or work took longer. Run such loads several times (--runs).
Percentiles (99 and 99.9) have an interval by runs alone: of single runs they are the same up to
a factor of 2, and unsure beyond it.

Examples:
  ringway bench --json > before.json
  ringway bench --json > after.json
  ringway compare before.json after.json --threshold 10%")]
pub struct Compare {
    /// A run, as `bench --json` prints it; - is the standard input
    pub before: PathBuf,
    /// Another one of the same kind, which is to have all that the first one has
    pub after: PathBuf,
    /// How much worse it may be
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = options::percent)]
    pub threshold: f64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Doctor {
    /// How long to watch for stalls on each processor
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = options::length)]
    pub stalls: Duration,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
