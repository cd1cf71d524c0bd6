//! A queue of a `RabbitMQ` node of our own, by AMQP. The queue is transient, and a sender asks for
//! no confirmation: it goes on when its client has written the message to the socket. Receivers
//! acknowledge some messages at a time.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use async_rs::Runtime;
use futures_lite::StreamExt;
use futures_lite::future::{block_on, poll_once};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel as Session, Connection, ConnectionProperties, Consumer};
use zerocopy::{FromBytes, IntoBytes};

use super::server::Server;
use crate::transport::{
    Channel, Facts, Kind, Message, Prepared, Receiver, Sender, System, Transport, Wait,
};

pub(crate) struct RabbitMq;

/// Where a node runs that is to be measured instead of one of our own. Never shown: there may be a
/// password in it.
const ADDRESS: &str = "AMQP_ADDR";
/// So many messages are on their way to a receiver at most.
const PREFETCH: u16 = 512;
/// And so many are acknowledged together.
const ACK_INTERVAL: u32 = 64;
const PATIENCE: Duration = Duration::from_secs(60);

impl System for RabbitMq {
    const FACTS: Facts = Facts {
        name: "rabbitmq",
        kind: Kind::Reliable,
        package: Some("lapin"),
        busy: true,
        blocking: true,
        streams: Wait::Blocking,
        batches: false,
        // By a queue for each receiver, which is several queues.
        broadcast: false,
        shared: true,
        // A queue grows until the server stops reading.
        refuses: false,
        size_max: 64 << 10,
    };

    fn missing(_: usize) -> Option<String> {
        if let Ok(address) = std::env::var(ADDRESS) {
            let error = open(&address).err()?;
            return Some(format!("no RabbitMQ answers where {ADDRESS} says: {error:#}"));
        }
        let missing = || "there is no rabbitmq-server (Debian: rabbitmq-server)".to_owned();
        program().is_none().then(missing)
    }

    fn prepare(channels: &[Channel], _: usize) -> Result<Prepared> {
        let mut pids = Vec::new();
        if std::env::var(ADDRESS).is_err() {
            let address;
            (address, pids) = node()?;
            fs::write(address_file(&channels[0]), address)?;
        }
        let (connection, session) = open_for(&channels[0])?;
        let names: Vec<_> = channels.iter().map(Channel::unique_name).collect();
        for name in &names {
            let declared = session.queue_declare(
                name.as_str().into(),
                QueueDeclareOptions::default(),
                FieldTable::default(),
            );
            block_on(declared)?;
        }
        let queues = Queues { names, session, _connection: connection };
        Ok(Prepared { pids, kept: vec![Box::new(queues)] })
    }
}

/// Removed when dropped.
struct Queues {
    names: Vec<String>,
    session: Session,
    _connection: Connection,
}

impl Drop for Queues {
    fn drop(&mut self) {
        for name in &self.names {
            let options = QueueDeleteOptions::default();
            let _ = block_on(self.session.queue_delete(name.as_str().into(), options));
        }
    }
}

/// It takes seconds to start, so one serves all jobs.
static NODE: Mutex<Option<Node>> = Mutex::new(None);

/// Ends when dropped.
struct Node {
    /// Erlang's own registry of nodes. It would be started anyway, and would stay behind.
    registry: Server,
    server: Server,
    address: String,
    _place: Place,
}

/// In shared memory, so that nothing waits for a disk. Removed when dropped.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} stays behind: {error}", self.0.display());
        }
    }
}

/// Where the node of our own is, and its processes.
fn node() -> Result<(String, Vec<u32>)> {
    let mut node = NODE.lock().unwrap_or_else(PoisonError::into_inner);
    let node = match &mut *node {
        Some(node) => node,
        none => none.insert(Node::start()?),
    };
    Ok((node.address.clone(), vec![node.server.pid(), node.registry.pid()]))
}

/// Ends the node of our own, if there is one.
pub(crate) fn end() {
    drop(NODE.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// What starts a node as this user, in the process that it is started in: where there are
/// packages, the one in the path asks for another user.
fn program() -> Option<PathBuf> {
    let packaged = PathBuf::from("/usr/lib/rabbitmq/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::iter::once(packaged).chain(std::env::split_paths(&path));
    directories.map(|it| it.join("rabbitmq-server")).find(|it| it.is_file())
}

impl Node {
    fn start() -> Result<Self> {
        let program = program().context("there is no rabbitmq-server")?;
        let name = format!("ringway-peers-{}-rabbitmq", std::process::id());
        let place = Place(Path::new("/dev/shm").join(&name));
        let directory = &place.0;
        fs::create_dir(directory)?;
        let [amqp_port, peer_port, registry_port] = free_ports()?;
        let config = directory.join("rabbitmq.conf");
        fs::write(
            &config,
            format!(
                "listeners.tcp.1 = 127.0.0.1:{amqp_port}\n\
                 log.file = false\n\
                 disk_free_limit.absolute = 1MB\n"
            ),
        )?;
        let plugins = directory.join("plugins");
        fs::write(&plugins, "[].\n")?;

        let only_here = |command: &mut Command| {
            command.env("ERL_EPMD_ADDRESS", "127.0.0.1");
            command.env("ERL_EPMD_PORT", registry_port.to_string());
        };
        let mut registry = Command::new("epmd");
        only_here(&mut registry);
        let registry = Server::start(&mut registry)?;
        let mut server = Command::new(program);
        only_here(&mut server);
        server
            // Where it keeps the secret that nodes know each other by.
            .env("HOME", directory)
            // Makes the script become the node, instead of waiting for it.
            .env("RABBITMQ_ALLOW_INPUT", "1")
            .arg("-noinput")
            .env("RABBITMQ_NODENAME", format!("{name}@localhost"))
            .env("RABBITMQ_DIST_PORT", peer_port.to_string())
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1}",
            )
            .env("RABBITMQ_MNESIA_BASE", directory)
            .env("RABBITMQ_LOG_BASE", directory)
            .env("RABBITMQ_CONFIG_FILE", &config)
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", &plugins)
            // None: the machine's would set what is set here.
            .env("RABBITMQ_CONF_ENV_FILE", directory.join("none"));
        let server = Server::start(&mut server)?;
        let address = format!("amqp://127.0.0.1:{amqp_port}/%2f");
        let mut node = Self { registry, server, address, _place: place };
        let begin = Instant::now();
        while let Err(error) = open(&node.address) {
            node.server.ensure_alive()?;
            ensure!(begin.elapsed() < PATIENCE, "the node does not come up: {error:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(node)
    }
}

/// Ports that nobody listened at a moment ago.
fn free_ports() -> Result<[u16; 3]> {
    let listen = || TcpListener::bind(("127.0.0.1", 0));
    let listeners = [listen()?, listen()?, listen()?];
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// Tells the parts of a job where the node of our own is.
fn address_file(channel: &Channel) -> PathBuf {
    channel.directory.join("amqp")
}

fn open(address: &str) -> Result<(Connection, Session)> {
    let properties = ConnectionProperties::default();
    let runtime = Runtime::smol();
    let connection = Connection::connect_with_runtime(address, properties, runtime);
    let connection = block_on(connection)?;
    let session = block_on(connection.create_channel())?;
    Ok((connection, session))
}

fn open_for(channel: &Channel) -> Result<(Connection, Session)> {
    match std::env::var(ADDRESS) {
        Ok(address) => open(&address),
        Err(_) => open(&fs::read_to_string(address_file(channel))?),
    }
}

impl<const W: usize> Transport<W> for RabbitMq {
    type Sender = RabbitSender;
    type Receiver = RabbitReceiver;

    fn sender(channel: &Channel) -> Result<RabbitSender> {
        let (connection, session) = open_for(channel)?;
        Ok(RabbitSender { session, queue: channel.unique_name(), _connection: connection })
    }

    fn receiver(channel: &Channel) -> Result<RabbitReceiver> {
        let (connection, session) = open_for(channel)?;
        block_on(session.basic_qos(PREFETCH, BasicQosOptions::default()))?;
        let consumer = block_on(session.basic_consume(
            channel.unique_name().into(),
            std::process::id().to_string().into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        ))?;
        let waits = channel.wait == Wait::Blocking;
        Ok(RabbitReceiver { session, consumer, waits, unacked: 0, _connection: connection })
    }
}

pub(crate) struct RabbitSender {
    session: Session,
    queue: String,
    _connection: Connection,
}

impl<const W: usize> Sender<W> for RabbitSender {
    fn try_send(&mut self, message: &Message<W>) -> Result<bool> {
        let published = self.session.basic_publish(
            "".into(),
            self.queue.as_str().into(),
            BasicPublishOptions::default(),
            message.as_bytes(),
            BasicProperties::default(),
        );
        block_on(published)?;
        Ok(true)
    }
}

pub(crate) struct RabbitReceiver {
    session: Session,
    consumer: Consumer,
    waits: bool,
    unacked: u32,
    _connection: Connection,
}

impl<const W: usize> Receiver<W> for RabbitReceiver {
    fn try_receive(&mut self, mut look: impl FnMut(&Message<W>)) -> Result<bool> {
        let next = self.consumer.next();
        let delivery = if self.waits {
            block_on(next)
        } else {
            let Some(delivery) = block_on(poll_once(next)) else {
                // It comes by a thread of the client's, which has no other processor.
                std::thread::yield_now();
                return Ok(false);
            };
            delivery
        };
        let delivery = delivery.context("the server has ended it")??;
        match Message::<W>::read_from_bytes(&delivery.data) {
            Ok(message) => look(&message),
            Err(_) => bail!("a message of {} bytes", delivery.data.len()),
        }
        self.unacked += 1;
        if self.unacked == ACK_INTERVAL {
            self.unacked = 0;
            // All up to this one.
            let options = BasicAckOptions { multiple: true };
            block_on(self.session.basic_ack(delivery.delivery_tag, options))?;
        }
        Ok(true)
    }
}
