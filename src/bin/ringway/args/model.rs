//! What `ringway model` takes.

use clap::{ArgGroup, Args};
use ringway::workload::{Arrival, Plan, Scenario, Service, WhenFull};

use crate::limits::Limit;
use crate::options;

#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag by itself")]
#[command(group = ArgGroup::new("simulated").args(["simulate", "broadcast"]).multiple(true))]
#[command(after_help = "\
Examples:
  ringway model --load 0.9 --service fixed:20us
  ringway model --rate 3.2 --service exp:1s --servers 4 --simulate
  ringway model --load 1.2 --bound 32 --simulate
  ringway model --service exp:10us --until 'p99>200us'
  ringway model --broadcast --service exp:1us --service exp:3us --bound 64
  ringway model --explain

Arrivals:
  poisson        nobody who sends knows of the others
  fixed          evenly
  erlang:K       gaps of K exponential phases: between the two
  hyper:CV2      unevenly, with this squared coefficient of variation of the gaps
  onoff:ON,OFF   bursts: on and off for exponential times of these means
  trace:FILE     gaps from a file, one a line: nanoseconds, or a time with its unit

Service:
  exp:MEAN  fixed:TIME  erlang:MEAN,K  hyper:MEAN,CV2  lognormal:MEAN,CV2  pareto:MEAN,ALPHA  none")]
pub struct Model {
    /// When messages are offered
    #[arg(long, value_name = "PATTERN", default_value = "poisson")]
    pub arrival: Arrival,
    /// How long a server takes for a message; with --broadcast once for each consumer
    #[arg(long, value_name = "TIMES", default_value = "exp:1us")]
    pub service: Vec<Service>,
    /// Messages offered a second, as in 5000 or 80k
    #[arg(short, long, value_name = "NUMBER", value_parser = options::rate)]
    #[arg(conflicts_with = "load")]
    pub rate: Option<f64>,
    /// The same as a part of what the servers can do: 0.8 if neither is given, or a trace's own
    #[arg(long, value_name = "NUMBER", value_parser = options::positive)]
    pub load: Option<f64>,
    /// Find the highest rate at which theory keeps to this, as in 'p99>200us'
    #[arg(long, value_name = "LIMIT", conflicts_with_all = ["rate", "load", "broadcast"])]
    pub until: Option<Limit>,
    /// How many servers share the messages
    #[arg(short = 'c', long, value_name = "COUNT", default_value_t = 1)]
    #[arg(value_parser = options::within(1, Scenario::SERVERS_MAX))]
    pub servers: u32,
    /// How many messages can be there at a time, those in service included
    #[arg(long, value_name = "PLACES")]
    #[arg(value_parser = options::within(1, Scenario::PLACES_MAX))]
    pub bound: Option<u32>,
    /// What happens to a message that finds all places taken: it is lost, or waits with the producer
    #[arg(long, value_name = "WHAT", default_value = "reject", requires = "bound")]
    #[arg(value_parser = options::named::<WhenFull>())]
    pub when_full: WhenFull,
    /// Give each message one of this many keys; those of one key are served in order, one at a time
    #[arg(long, value_name = "COUNT")]
    #[arg(value_parser = options::within(1, Scenario::PLACES_MAX))]
    pub keys: Option<u32>,
    /// Every consumer gets every message, and with --bound the producer waits for the slowest;
    /// simulated
    #[arg(long, conflicts_with_all = ["servers", "when_full", "keys"])]
    pub broadcast: bool,
    /// Simulate it too, message by message
    #[arg(long)]
    pub simulate: bool,
    /// How many messages to simulate
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 1_000_000)]
    #[arg(requires = "simulated")]
    #[arg(value_parser = options::within(Plan::MESSAGES_MIN, Plan::MESSAGES_MAX))]
    pub messages: u64,
    /// The seed of the simulation's chance
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = options::whole::<u64>)]
    #[arg(requires = "simulated")]
    pub seed: u64,
    /// Name what some introductions get wrong, with the standard forms
    #[arg(long)]
    pub explain: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
