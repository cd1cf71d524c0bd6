//! Aeron over its shared memory, by the C client and the C driver that rusteron brings. The
//! driver is a process of its own, pinned nowhere: it moves the limit that senders run up to. Where
//! there are two processors it has none to itself. So who waits for it lets it have its own, as
//! Aeron's idle strategies do: a sender that has come to the limit, and a receiver that has polled
//! for longer than an answer takes.

use std::ffi::CString;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rusteron_client::{
    Aeron, AeronContext, AeronExclusivePublication, AeronOfferError, AeronSubscription, Handlers,
    IntoCString,
};
use rusteron_media_driver::bindings::aeron_threading_mode_t;
use rusteron_media_driver::{AeronDriver, AeronDriverContext};
use zerocopy::{FromBytes, IntoBytes};

use super::server::Server;
use crate::transport::{
    Channel, Facts, Kind, Message, Prepared, Receiver, Sender, System, TAKEN_MAX, Transport, Wait,
};

pub(crate) struct AeronIpc;

/// The argument that makes this program the driver.
pub(crate) const DRIVER: &str = "--aeron-driver";

const PATIENCE: Duration = Duration::from_secs(10);

impl System for AeronIpc {
    const FACTS: Facts = Facts {
        name: "aeron",
        kind: Kind::Reliable,
        package: Some("rusteron-client"),
        busy: true,
        blocking: false,
        streams: Wait::Busy,
        // It is its poll that takes many in one step.
        batches: true,
        broadcast: true,
        shared: false,
        refuses: true,
        // Larger ones than its unit travel in parts, and would have to be put together again.
        size_max: 1 << 10,
    };

    fn prepare(channels: &[Channel], _: usize) -> Result<Prepared> {
        let directory = driver_directory(&channels[0]);
        let mut command = Command::new(std::env::current_exe()?);
        let mut driver = Server::start(command.arg(DRIVER).arg(&directory))?;
        let begin = Instant::now();
        while !Path::new(&directory).join("cnc.dat").exists() {
            driver.ensure_alive()?;
            ensure!(begin.elapsed() < PATIENCE, "the driver does not come up");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Prepared { pids: vec![driver.pid()], kept: vec![Box::new(driver)] })
    }
}

fn driver_directory(channel: &Channel) -> String {
    channel.directory.join("aeron").to_string_lossy().into_owned()
}

/// Is the driver, until it is killed.
pub(crate) fn drive(directory: &str) -> Result<()> {
    let context = AeronDriverContext::new()?;
    context.set_dir(&directory.into_c_string())?;
    context.set_dir_delete_on_start(true)?;
    context.set_threading_mode(aeron_threading_mode_t::AERON_THREADING_MODE_SHARED)?;
    let driver = AeronDriver::new(&context)?;
    driver.start(false)?;
    loop {
        std::thread::park();
    }
}

fn client(channel: &Channel) -> Result<Aeron> {
    let context = AeronContext::new()?;
    context.set_dir(&driver_directory(channel).into_c_string())?;
    let aeron = Aeron::new(&context)?;
    aeron.start()?;
    Ok(aeron)
}

fn stream(channel: &Channel) -> i32 {
    if channel.name == "back" { 1002 } else { 1001 }
}

/// Three terms, half of one being the window, which is as much as a ring.
fn uri(channel: &Channel) -> CString {
    format!("aeron:ipc?term-length={}", 2 * channel.ring_bytes).into_c_string()
}

/// Polls before a receiver yields: some microseconds.
const POLLS: u32 = 64;

impl<const W: usize> Transport<W> for AeronIpc {
    type Sender = AeronSender;
    type Receiver = AeronReceiver;

    fn sender(channel: &Channel) -> Result<AeronSender> {
        let aeron = client(channel)?;
        let uri = uri(channel);
        let publication = aeron.add_exclusive_publication(&uri, stream(channel), PATIENCE)?;
        let begin = Instant::now();
        while !publication.is_connected() {
            ensure!(begin.elapsed() < PATIENCE, "no receiver came");
            std::thread::sleep(Duration::from_micros(50));
        }
        Ok(AeronSender { publication, _aeron: aeron })
    }

    fn receiver(channel: &Channel) -> Result<AeronReceiver> {
        let aeron = client(channel)?;
        let uri = uri(channel);
        let subscription = aeron.add_subscription(
            &uri,
            stream(channel),
            Handlers::NONE,
            Handlers::NONE,
            PATIENCE,
        )?;
        Ok(AeronReceiver { subscription, _aeron: aeron })
    }
}

pub(crate) struct AeronSender {
    publication: AeronExclusivePublication,
    _aeron: Aeron,
}

impl<const W: usize> Sender<W> for AeronSender {
    #[inline]
    fn try_send(&mut self, message: &Message<W>) -> Result<bool> {
        match self.publication.offer(message.as_bytes()) {
            Ok(_) => Ok(true),
            Err(AeronOfferError::BackPressured | AeronOfferError::AdminAction) => Ok(false),
            Err(error) => Err(error).context("cannot offer"),
        }
    }

    #[inline]
    fn send(&mut self, message: &Message<W>) -> Result<()> {
        while !self.try_send(message)? {
            std::thread::yield_now();
        }
        Ok(())
    }
}

pub(crate) struct AeronReceiver {
    subscription: AeronSubscription,
    _aeron: Aeron,
}

impl AeronReceiver {
    #[inline]
    fn poll<const W: usize>(
        &self,
        mut look: impl FnMut(&Message<W>),
        limit: usize,
    ) -> Result<bool> {
        let mut wrong = None;
        let received = self.subscription.poll_fn(
            |bytes, _| match Message::<W>::ref_from_bytes(bytes) {
                Ok(message) => look(message),
                Err(_) => wrong = Some(bytes.len()),
            },
            limit,
        )?;
        ensure!(wrong.is_none(), "a message of {wrong:?} bytes");
        Ok(received > 0)
    }

    /// Polls until there is something.
    #[inline]
    fn wait<const W: usize>(&self, mut look: impl FnMut(&Message<W>), limit: usize) -> Result<()> {
        let mut polls = 0_u32;
        while !self.poll(&mut look, limit)? {
            polls += 1;
            if polls.is_multiple_of(POLLS) {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
        Ok(())
    }
}

impl<const W: usize> Receiver<W> for AeronReceiver {
    #[inline]
    fn try_receive(&mut self, look: impl FnMut(&Message<W>)) -> Result<bool> {
        self.poll(look, 1)
    }

    #[inline]
    fn receive(&mut self, look: impl FnMut(&Message<W>)) -> Result<()> {
        self.wait(look, 1)
    }

    #[inline]
    fn receive_batch(&mut self, look: impl FnMut(&Message<W>)) -> Result<()> {
        self.wait(look, TAKEN_MAX)
    }
}
