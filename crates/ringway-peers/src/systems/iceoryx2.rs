//! iceoryx2: publish and subscribe of loaned samples without overflow, so that nothing is lost;
//! an event beside it where the receiver sleeps.

use std::fs;

use anyhow::{Context, Result, anyhow};
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;

use crate::transport::{
    Channel, Facts, Kind, Message, Prepared, Receiver, Sender, System, Transport, Wait,
};

pub(crate) struct Iceoryx2;

impl System for Iceoryx2 {
    const FACTS: Facts = Facts {
        name: "iceoryx2",
        kind: Kind::Reliable,
        package: Some("iceoryx2"),
        busy: true,
        blocking: true,
        streams: Wait::Busy,
        batches: false,
        broadcast: true,
        shared: false,
        refuses: true,
        size_max: 64 << 10,
    };

    fn prepare(channels: &[Channel], _: usize) -> Result<Prepared> {
        let mut prepared = Prepared::default();
        for channel in channels {
            prepared.kept.push(Box::new(Removed(prefix(channel))));
        }
        Ok(prepared)
    }
}

/// Removes what killed processes leave behind: the memory whose names begin like that.
struct Removed(String);

impl Drop for Removed {
    fn drop(&mut self) {
        for entry in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name.to_string_lossy().starts_with(&self.0) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// What the names of all that belongs to a channel begin with. A listener is a socket: its whole
/// path may have 107 bytes, of which a number of up to 39 digits and an ending are not ours.
fn prefix(channel: &Channel) -> String {
    let name = channel.unique_name();
    let name = name.strip_prefix("ringway-").unwrap_or(&name);
    format!("{}_", name.replace(['.', '-'], "_"))
}

type Ipc = ipc::Service;

fn node(channel: &Channel) -> Result<Node<Ipc>> {
    set_log_level(LogLevel::Fatal);
    let wrong = |error| anyhow!("{error:?}");
    let mut config = Config::default();
    config.global.prefix = FileName::new(prefix(channel).as_bytes()).map_err(wrong)?;
    let root = channel.directory.to_str().context("a path of text")?;
    config.global.set_root_path(&Path::new(root.as_bytes()).map_err(wrong)?);
    Ok(NodeBuilder::new().config(&config).create::<Ipc>()?)
}

/// Senders and receivers that a service has places for: some may die.
const PLACES: usize = 4;

fn service<const W: usize>(
    channel: &Channel,
    node: &Node<Ipc>,
) -> Result<iceoryx2::service::port_factory::publish_subscribe::PortFactory<Ipc, Message<W>, ()>> {
    Ok(node
        .service_builder(&"messages".try_into()?)
        .publish_subscribe::<Message<W>>()
        .enable_safe_overflow(false)
        .history_size(0)
        .subscriber_max_buffer_size((channel.ring_bytes / size_of::<Message<W>>()).clamp(16, 4096))
        .max_publishers(PLACES)
        .max_subscribers(PLACES)
        .max_nodes(2 * PLACES)
        .open_or_create()?)
}

fn event(node: &Node<Ipc>) -> Result<iceoryx2::service::port_factory::event::PortFactory<Ipc>> {
    Ok(node.service_builder(&"news".try_into()?).event().open_or_create()?)
}

impl<const W: usize> Transport<W> for Iceoryx2 {
    type Sender = IceoryxSender<W>;
    type Receiver = IceoryxReceiver<W>;

    fn sender(channel: &Channel) -> Result<IceoryxSender<W>> {
        let node = node(channel)?;
        let publisher = service::<W>(channel, &node)?
            .publisher_builder()
            .backpressure_strategy(if channel.tries {
                BackpressureStrategy::DiscardData
            } else {
                BackpressureStrategy::RetryUntilDelivered
            })
            .create()?;
        let notifier = match channel.wait {
            Wait::Busy => None,
            Wait::Blocking => Some(event(&node)?.notifier_builder().create()?),
        };
        Ok(IceoryxSender { publisher, notifier, _node: node })
    }

    fn receiver(channel: &Channel) -> Result<IceoryxReceiver<W>> {
        let node = node(channel)?;
        let subscriber = service::<W>(channel, &node)?.subscriber_builder().create()?;
        let listener = match channel.wait {
            Wait::Busy => None,
            Wait::Blocking => Some(event(&node)?.listener_builder().create()?),
        };
        Ok(IceoryxReceiver { subscriber, listener, _node: node })
    }
}

pub(crate) struct IceoryxSender<const W: usize> {
    publisher: Publisher<Ipc, Message<W>, ()>,
    notifier: Option<Notifier<Ipc>>,
    _node: Node<Ipc>,
}

impl<const W: usize> Sender<W> for IceoryxSender<W> {
    #[inline]
    fn try_send(&mut self, message: &Message<W>) -> Result<bool> {
        let mut sample = self.publisher.loan_uninit()?;
        sample.payload_mut().write(*message);
        // SAFETY: the whole payload was written.
        let received = unsafe { sample.assume_init() }.send()?;
        if let Some(notifier) = &self.notifier {
            notifier.notify()?;
        }
        Ok(received > 0)
    }
}

pub(crate) struct IceoryxReceiver<const W: usize> {
    subscriber: Subscriber<Ipc, Message<W>, ()>,
    listener: Option<Listener<Ipc>>,
    _node: Node<Ipc>,
}

impl<const W: usize> Receiver<W> for IceoryxReceiver<W> {
    #[inline]
    fn try_receive(&mut self, mut look: impl FnMut(&Message<W>)) -> Result<bool> {
        let sample = self.subscriber.receive()?;
        if let Some(sample) = &sample {
            look(sample.payload());
        }
        Ok(sample.is_some())
    }

    #[inline]
    fn receive(&mut self, mut look: impl FnMut(&Message<W>)) -> Result<()> {
        while !self.try_receive(&mut look)? {
            match &self.listener {
                None => std::hint::spin_loop(),
                Some(listener) => drop(listener.blocking_wait(|_| {})?),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Delivery;

    #[test]
    fn a_listener_has_a_name_that_fits_however_long_the_numbers_are() {
        let directory = std::path::PathBuf::from("/dev/shm/ringway-peers-4194304-99999");
        fs::create_dir(&directory).unwrap();
        let channel = Channel {
            directory: directory.clone(),
            name: "there".to_owned(),
            wait: Wait::Blocking,
            delivery: Delivery::Broadcast,
            receivers: 1,
            ring_bytes: 4 << 20,
            tries: false,
            answered: false,
        };
        let removed = Removed(prefix(&channel));
        let receiver = <Iceoryx2 as Transport<1>>::receiver(&channel).map(drop);
        drop(removed);
        fs::remove_dir_all(&directory).unwrap();
        receiver.unwrap();
    }
}
