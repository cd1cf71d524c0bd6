//! A named pipe: made before the ends open, which wait for each other by opening.

use std::fs::File;

use anyhow::Result;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::bytes::{Reader, Writer, set_wait};
use crate::transport::{Channel, Facts, Kind, Message, Prepared, System, Transport, Wait};

pub(crate) struct Pipe;

impl System for Pipe {
    const FACTS: Facts = Facts {
        name: "pipe",
        kind: Kind::Reliable,
        package: None,
        busy: true,
        blocking: true,
        streams: Wait::Blocking,
        batches: true,
        broadcast: false,
        shared: false,
        refuses: true,
        size_max: 64 << 10,
    };

    fn prepare(channels: &[Channel], _: usize) -> Result<Prepared> {
        for channel in channels {
            mkfifo(&channel.path(), Mode::S_IRWXU)?;
        }
        Ok(Prepared::default())
    }
}

/// What a pipe holds by itself: good for small messages, and one of 64 KiB.
const USUAL_BYTES: usize = 64 << 10;
/// So many messages it is to hold at least.
const MESSAGES: usize = 16;

impl<const W: usize> Transport<W> for Pipe {
    type Sender = Writer;
    type Receiver = Reader<W>;

    fn sender(channel: &Channel) -> Result<Writer> {
        let fd = File::options().write(true).open(channel.path())?.into();
        set_wait(&fd, channel.wait)?;
        if MESSAGES * size_of::<Message<W>>() > USUAL_BYTES {
            // As much as everybody may ask for; less does no harm.
            let _ = fcntl(&fd, FcntlArg::F_SETPIPE_SZ(1 << 20));
        }
        Ok(Writer::new(fd))
    }

    fn receiver(channel: &Channel) -> Result<Reader<W>> {
        let fd = File::open(channel.path())?.into();
        set_wait(&fd, channel.wait)?;
        Ok(Reader::new(fd))
    }
}
