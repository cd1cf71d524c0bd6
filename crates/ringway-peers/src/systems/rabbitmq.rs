//! A queue of a `RabbitMQ` server that runs already, by AMQP. The queue is transient, and a sender
//! asks for no confirmation: it goes on when the client has the message. Receivers acknowledge some
//! messages at a time.

use anyhow::{Context, Result, bail};
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

use crate::transport::{
    Channel, Facts, Kind, Message, Prepared, Receiver, Sender, System, Transport, Wait,
};

pub(crate) struct RabbitMq;

/// Where the server is, if not where it is by itself.
const ADDRESS: &str = "AMQP_ADDR";
/// So many messages are on their way to a receiver at most.
const PREFETCH: u16 = 512;
/// And so many are acknowledged together.
const ACK_INTERVAL: u32 = 64;

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

    fn missing() -> Option<String> {
        let error = open().err()?;
        Some(format!(
            "no RabbitMQ answers at {} ({error}); Debian: rabbitmq-server, started; or set {ADDRESS}",
            address()
        ))
    }

    fn prepare(channels: &[Channel], _: usize) -> Result<Prepared> {
        let (connection, session) = open()?;
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
        Ok(Prepared { pids: Vec::new(), kept: vec![Box::new(queues)] })
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

fn address() -> String {
    std::env::var(ADDRESS).unwrap_or_else(|_| "amqp://127.0.0.1:5672/%2f".to_owned())
}

fn open() -> Result<(Connection, Session)> {
    let properties = ConnectionProperties::default();
    let runtime = Runtime::smol();
    let address = address();
    let connection = Connection::connect_with_runtime(&address, properties, runtime);
    let connection = block_on(connection)?;
    let session = block_on(connection.create_channel())?;
    Ok((connection, session))
}

impl<const W: usize> Transport<W> for RabbitMq {
    type Sender = RabbitSender;
    type Receiver = RabbitReceiver;

    fn sender(channel: &Channel) -> Result<RabbitSender> {
        let (connection, session) = open()?;
        Ok(RabbitSender { session, queue: channel.unique_name(), _connection: connection })
    }

    fn receiver(channel: &Channel) -> Result<RabbitReceiver> {
        let (connection, session) = open()?;
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
            let Some(delivery) = block_on(poll_once(next)) else { return Ok(false) };
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
