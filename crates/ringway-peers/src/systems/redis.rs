//! Redis streams over a socket of a server of their own, which writes nothing to disk. A sender adds
//! (`XADD`), a receiver reads from where it is on (`XREAD`), and several share by a group that
//! acknowledges what it was given (`XREADGROUP`, `XACK`).

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use redis::{Client, Cmd, Connection, Pipeline, Value, cmd, pipe};
use zerocopy::{FromBytes, IntoBytes};

use super::server::Server;
use crate::transport::{
    Channel, Delivery, Facts, Kind, Message, Prepared, Receiver, Sender, System, Transport, Wait,
};

pub(crate) struct RedisStreams;

const SERVER: &str = "redis-server";
const GROUP: &str = "workers";
const FIELD: &str = "m";
/// A receiver asks for so many messages at most.
const COUNT: usize = 64;
/// And has the server forget those that it has read after so many.
const TRIM_INTERVAL: usize = 1024;
const PATIENCE: Duration = Duration::from_secs(10);

impl System for RedisStreams {
    const FACTS: Facts = Facts {
        name: "redis-streams",
        kind: Kind::Reliable,
        package: Some("redis"),
        busy: true,
        blocking: true,
        streams: Wait::Blocking,
        batches: true,
        broadcast: true,
        shared: true,
        // A stream grows until the server has no memory.
        refuses: false,
        size_max: 64 << 10,
    };

    fn missing(_: usize) -> Option<String> {
        let found = Command::new(SERVER).arg("--version").stdout(Stdio::null()).status().is_ok();
        (!found).then(|| "there is no redis-server (Debian: redis-server)".to_owned())
    }

    fn prepare(channels: &[Channel], _: usize) -> Result<Prepared> {
        let socket = socket(&channels[0]);
        let mut command = Command::new(SERVER);
        command
            .args(["--port", "0", "--unixsocket"])
            .arg(&socket)
            // What is not read is not lost: an addition fails when this is full.
            .args(["--maxmemory", "4gb", "--maxmemory-policy", "noeviction"])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no", "--dir"])
            .arg(&channels[0].directory);
        let mut server = Server::start(&mut command)?;
        let begin = Instant::now();
        while connect(&socket).is_err() {
            server.ensure_alive()?;
            ensure!(begin.elapsed() < PATIENCE, "the server does not come up");
            std::thread::sleep(Duration::from_millis(1));
        }
        if channels[0].delivery == Delivery::Shared {
            let mut connection = connect(&socket)?;
            let mut create = cmd("XGROUP");
            create.arg("CREATE").arg(&channels[0].name).arg(GROUP).arg("0").arg("MKSTREAM");
            create.exec(&mut connection)?;
        }
        Ok(Prepared { pids: vec![server.pid()], kept: vec![Box::new(server)] })
    }
}

fn socket(channel: &Channel) -> PathBuf {
    channel.directory.join("redis.socket")
}

fn connect(socket: &Path) -> Result<Connection> {
    let client = Client::open(format!("unix://{}", socket.display()))?;
    Ok(client.get_connection()?)
}

/// A name for a receiver that shares: several may be in this process.
fn consumer_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{}.{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

impl<const W: usize> Transport<W> for RedisStreams {
    type Sender = RedisSender;
    type Receiver = RedisReceiver;

    fn sender(channel: &Channel) -> Result<RedisSender> {
        Ok(RedisSender { connection: connect(&socket(channel))?, key: channel.name.clone() })
    }

    fn receiver(channel: &Channel) -> Result<RedisReceiver> {
        Ok(RedisReceiver {
            connection: connect(&socket(channel))?,
            key: channel.name.clone(),
            consumer: (channel.delivery == Delivery::Shared).then(consumer_name),
            waits: channel.wait == Wait::Blocking,
            is_alone: channel.receivers == 1,
            last: "0".to_owned(),
            read: VecDeque::new(),
            untrimmed: 0,
        })
    }
}

pub(crate) struct RedisSender {
    connection: Connection,
    key: String,
}

impl RedisSender {
    fn addition<const W: usize>(&self, message: &Message<W>) -> Cmd {
        let mut addition = cmd("XADD");
        addition.arg(&self.key).arg("*").arg(FIELD).arg(message.as_bytes());
        addition
    }
}

impl<const W: usize> Sender<W> for RedisSender {
    fn try_send(&mut self, message: &Message<W>) -> Result<bool> {
        self.addition(message).exec(&mut self.connection)?;
        Ok(true)
    }

    fn send_batch(&mut self, messages: &[Message<W>]) -> Result<()> {
        let mut additions: Pipeline = pipe();
        for message in messages {
            additions.add_command(self.addition(message)).ignore();
        }
        Ok(additions.exec(&mut self.connection)?)
    }
}

pub(crate) struct RedisReceiver {
    connection: Connection,
    key: String,
    /// Its name in the group, if it shares.
    consumer: Option<String>,
    waits: bool,
    /// Nobody else reads, so that what it has read is nobody's.
    is_alone: bool,
    /// The last entry that it has read.
    last: String,
    /// What the server has sent and nobody has looked at.
    read: VecDeque<Vec<u8>>,
    untrimmed: usize,
}

impl RedisReceiver {
    /// Asks for more; whether there was any.
    fn refill(&mut self) -> Result<bool> {
        let mut read = match &self.consumer {
            Some(consumer) => {
                let mut read = cmd("XREADGROUP");
                read.arg("GROUP").arg(GROUP).arg(consumer);
                read
            }
            None => cmd("XREAD"),
        };
        read.arg("COUNT").arg(COUNT);
        if self.waits {
            read.arg("BLOCK").arg(0);
        }
        let from = if self.consumer.is_some() { ">" } else { &self.last };
        read.arg("STREAMS").arg(&self.key).arg(from);
        let reply: Value = read.query(&mut self.connection)?;
        let Value::Array(streams) = reply else { return Ok(false) };
        let entries = streams.into_iter().next().and_then(second).context("no stream")?;
        let Value::Array(entries) = entries else { bail!("no entries: {entries:?}") };
        let mut ids = Vec::new();
        for entry in entries {
            let Value::Array(mut entry) = entry else { bail!("no entry: {entry:?}") };
            let (fields, id) = (entry.pop(), entry.pop());
            let (Some(Value::Array(mut fields)), Some(Value::BulkString(id))) = (fields, id) else {
                bail!("no entry that was added here");
            };
            let Some(Value::BulkString(message)) = fields.pop() else { bail!("no message") };
            self.read.push_back(message);
            ids.push(String::from_utf8(id)?);
        }
        self.note(ids)
    }

    /// Has the server know that these entries are here.
    fn note(&mut self, ids: Vec<String>) -> Result<bool> {
        let count = ids.len();
        if self.consumer.is_some() {
            cmd("XACK").arg(&self.key).arg(GROUP).arg(&ids).exec(&mut self.connection)?;
        }
        if let Some(last) = ids.into_iter().next_back() {
            self.last = last;
        }
        self.untrimmed += count;
        if self.is_alone && self.untrimmed >= TRIM_INTERVAL {
            self.untrimmed = 0;
            let mut trim = cmd("XTRIM");
            trim.arg(&self.key).arg("MINID").arg("~").arg(&self.last);
            trim.exec(&mut self.connection)?;
        }
        Ok(count > 0)
    }
}

/// The second of an array of two: a stream's entries, behind its name.
fn second(pair: Value) -> Option<Value> {
    match pair {
        Value::Array(mut pair) if pair.len() == 2 => pair.pop(),
        _ => None,
    }
}

impl<const W: usize> Receiver<W> for RedisReceiver {
    fn try_receive(&mut self, mut look: impl FnMut(&Message<W>)) -> Result<bool> {
        if self.read.is_empty() && !self.refill()? {
            return Ok(false);
        }
        let Some(bytes) = self.read.pop_front() else { return Ok(false) };
        let message = Message::<W>::read_from_bytes(&bytes);
        let message = message.map_err(|_| anyhow::anyhow!("a message of {} bytes", bytes.len()))?;
        look(&message);
        Ok(true)
    }
}
