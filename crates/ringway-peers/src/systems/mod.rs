//! The systems that are compared. Each file is one adapter, and says how it drives its system.

mod bare_futex;
mod bytes;
mod ceiling;
mod message_queue;
mod pipe;
mod ringway;
mod socket;

#[cfg(feature = "aeron")]
pub(crate) mod aeron;
#[cfg(feature = "iceoryx2")]
mod iceoryx2;
#[cfg(feature = "ipc-channel")]
mod ipc_channel;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "ringfire")]
mod ringfire;
#[cfg(any(feature = "aeron", feature = "redis", feature = "rabbitmq"))]
mod server;
#[cfg(feature = "shaq")]
mod shaq;
#[cfg(feature = "threads")]
mod threads;
#[cfg(feature = "zmq")]
mod zmq;

use anyhow::{Context, Result, bail};

use crate::job::{Job, Report};
use crate::part;
#[cfg(feature = "threads")]
use crate::transport::Threads;
use crate::transport::{Channel, Facts, Prepared, Transport};

/// The sizes that are measured, in bytes.
pub(crate) const SIZES: [usize; 5] = [8, 64, 256, 1 << 10, 64 << 10];

/// A system that is built in.
pub(crate) struct Known {
    pub(crate) facts: Facts,
    pub(crate) prepare: fn(&[Channel], usize) -> Result<Prepared>,
    pub(crate) run: fn(&Job) -> Result<Report>,
    /// Why it cannot run here, if so. Asked of those that are to run, since it may take a while.
    pub(crate) missing: fn(usize) -> Option<String>,
}

/// One that is not, and what would change that.
pub(crate) struct Absent {
    pub(crate) name: &'static str,
    pub(crate) why: &'static str,
}

/// Runs a job by the function for the size that it has.
macro_rules! for_size {
    ($job:expr, $module:ident :: $function:ident, $system:ty) => {
        match $job.size {
            8 => $module::$function::<$system, 1>($job),
            64 => $module::$function::<$system, 8>($job),
            256 => $module::$function::<$system, 32>($job),
            1024 => $module::$function::<$system, 128>($job),
            65536 => $module::$function::<$system, 8192>($job),
            other => bail!("no messages of {other} bytes are measured"),
        }
    };
}

macro_rules! every_size {
    ($name:ident, $of:ident) => {
        trait $name: $of<1> + $of<8> + $of<32> + $of<128> + $of<8192> {}
        impl<T: $of<1> + $of<8> + $of<32> + $of<128> + $of<8192>> $name for T {}
    };
}
every_size!(TransportOfEverySize, Transport);
#[cfg(feature = "threads")]
every_size!(ThreadsOfEverySize, Threads);

fn between<S: TransportOfEverySize>() -> Known {
    fn run<S: TransportOfEverySize>(job: &Job) -> Result<Report> {
        for_size!(job, part::between, S)
    }
    Known { facts: S::FACTS, prepare: S::prepare, run: run::<S>, missing: S::missing }
}

#[cfg(feature = "threads")]
fn in_one<S: ThreadsOfEverySize>() -> Known {
    fn run<S: ThreadsOfEverySize>(job: &Job) -> Result<Report> {
        for_size!(job, part::in_one, S)
    }
    Known { facts: S::FACTS, prepare: S::prepare, run: run::<S>, missing: S::missing }
}

/// All that are built in, in the order of the tables.
pub(crate) fn all() -> Vec<Known> {
    vec![
        between::<ringway::Ringway>(),
        between::<ceiling::Ceiling>(),
        #[cfg(feature = "ringfire")]
        between::<ringfire::Ringfire>(),
        #[cfg(feature = "shaq")]
        between::<shaq::Shaq>(),
        #[cfg(feature = "iceoryx2")]
        between::<iceoryx2::Iceoryx2>(),
        #[cfg(feature = "aeron")]
        between::<aeron::AeronIpc>(),
        between::<pipe::Pipe>(),
        between::<socket::Stream>(),
        between::<socket::Packets>(),
        between::<message_queue::MessageQueue>(),
        #[cfg(feature = "ipc-channel")]
        between::<ipc_channel::IpcChannel>(),
        #[cfg(feature = "zmq")]
        between::<zmq::Zmq>(),
        #[cfg(feature = "redis")]
        between::<redis::RedisStreams>(),
        #[cfg(feature = "rabbitmq")]
        between::<rabbitmq::RabbitMq>(),
        between::<bare_futex::BareFutex>(),
        #[cfg(feature = "threads")]
        in_one::<threads::Rtrb>(),
        #[cfg(feature = "threads")]
        in_one::<threads::Crossbeam>(),
        #[cfg(feature = "threads")]
        in_one::<threads::Disruptor>(),
        #[cfg(feature = "threads")]
        in_one::<threads::Photon>(),
    ]
}

/// All that are not.
pub(crate) fn absent() -> Vec<Absent> {
    let mut absent = Vec::new();
    let mut unless = |built: bool, names: &[&'static str], why| {
        if !built {
            absent.extend(names.iter().map(|name| Absent { name, why }));
        }
    };
    unless(
        cfg!(feature = "threads"),
        &["rtrb", "crossbeam-channel", "disruptor", "photon-ring"],
        "not built in: --features threads",
    );
    unless(cfg!(feature = "ringfire"), &["ringfire"], "not built in: --features ringfire");
    unless(cfg!(feature = "shaq"), &["shaq"], "not built in: --features shaq");
    unless(cfg!(feature = "iceoryx2"), &["iceoryx2"], "not built in: --features iceoryx2");
    unless(cfg!(feature = "ipc-channel"), &["ipc-channel"], "not built in: --features ipc-channel");
    unless(
        cfg!(feature = "zmq"),
        &["zeromq"],
        "not built in: --features zmq, which needs libzmq (Debian: libzmq3-dev) and pkg-config",
    );
    unless(
        cfg!(feature = "redis"),
        &["redis-streams"],
        "not built in: --features redis, which needs redis-server (Debian: redis-server)",
    );
    unless(
        cfg!(feature = "rabbitmq"),
        &["rabbitmq"],
        "not built in: --features rabbitmq, which needs rabbitmq-server (Debian: rabbitmq-server)",
    );
    unless(
        cfg!(feature = "aeron"),
        &["aeron"],
        "not built in: --features aeron, which needs a C++ compiler, libclang, libbsd and uuid \
         (Debian: build-essential libclang-dev libbsd-dev uuid-dev) and cmake 3.30",
    );
    absent
}

/// Ends what was started once for all jobs.
pub(crate) fn end() {
    #[cfg(feature = "rabbitmq")]
    rabbitmq::end();
}

pub(crate) fn find(name: &str) -> Result<Known> {
    all().into_iter().find(|known| known.facts.name == name).with_context(|| {
        let names: Vec<&str> = all().iter().map(|known| known.facts.name).collect();
        format!("there is no system '{name}'; there are {}", names.join(", "))
    })
}
