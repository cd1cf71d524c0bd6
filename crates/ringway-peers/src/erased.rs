//! Ends behind a pointer, for what is not about nanoseconds: one piece of code for all systems,
//! where the streams and round trips are compiled for each.

use std::ops::DerefMut;

use anyhow::Result;

use crate::transport::{Message, Receiver, Sender};

/// A [`Sender`] whose type is not known.
pub(crate) trait AnySender<const W: usize> {
    fn try_send(&mut self, message: &Message<W>) -> Result<bool>;
    fn send(&mut self, message: &Message<W>) -> Result<()>;
    fn settle(&mut self) -> Result<()>;
}

impl<const W: usize, S: Sender<W>> AnySender<W> for S {
    fn try_send(&mut self, message: &Message<W>) -> Result<bool> {
        Sender::try_send(self, message)
    }

    fn send(&mut self, message: &Message<W>) -> Result<()> {
        Sender::send(self, message)
    }

    fn settle(&mut self) -> Result<()> {
        Sender::settle(self)
    }
}

/// A [`Receiver`] whose type is not known.
pub(crate) trait AnyReceiver<const W: usize> {
    fn try_receive(&mut self, look: &mut dyn FnMut(&Message<W>)) -> Result<bool>;
    fn receive(&mut self, look: &mut dyn FnMut(&Message<W>)) -> Result<()>;
}

impl<const W: usize, R: Receiver<W>> AnyReceiver<W> for R {
    fn try_receive(&mut self, look: &mut dyn FnMut(&Message<W>)) -> Result<bool> {
        Receiver::try_receive(self, look)
    }

    fn receive(&mut self, look: &mut dyn FnMut(&Message<W>)) -> Result<()> {
        Receiver::receive(self, look)
    }
}

/// An end that is reached by a pointer of whatever kind.
pub(crate) struct Erased<P>(pub(crate) P);

impl<const W: usize, P: DerefMut<Target: AnySender<W>>> Sender<W> for Erased<P> {
    fn try_send(&mut self, message: &Message<W>) -> Result<bool> {
        self.0.try_send(message)
    }

    fn send(&mut self, message: &Message<W>) -> Result<()> {
        self.0.send(message)
    }

    fn settle(&mut self) -> Result<()> {
        self.0.settle()
    }
}

impl<const W: usize, P: DerefMut<Target: AnyReceiver<W>>> Receiver<W> for Erased<P> {
    fn try_receive(&mut self, mut look: impl FnMut(&Message<W>)) -> Result<bool> {
        self.0.try_receive(&mut look)
    }

    fn receive(&mut self, mut look: impl FnMut(&Message<W>)) -> Result<()> {
        self.0.receive(&mut look)
    }
}

type BoxedSender<'a, const W: usize> = Erased<Box<dyn AnySender<W> + 'a>>;
type BoxedReceiver<'a, const W: usize> = Erased<Box<dyn AnyReceiver<W> + 'a>>;

/// An end of its own, behind a pointer.
pub(crate) fn boxed_sender<'a, const W: usize>(sender: impl Sender<W> + 'a) -> BoxedSender<'a, W> {
    Erased(Box::new(sender))
}

/// An end of its own, behind a pointer.
pub(crate) fn boxed_receiver<'a, const W: usize>(
    receiver: impl Receiver<W> + 'a,
) -> BoxedReceiver<'a, W> {
    Erased(Box::new(receiver))
}

/// Somebody's end, behind a pointer.
pub(crate) fn sender<'a, const W: usize>(
    sender: &'a mut (impl Sender<W> + 'a),
) -> Erased<&'a mut (dyn AnySender<W> + 'a)> {
    Erased(sender)
}

/// Somebody's end, behind a pointer.
pub(crate) fn receiver<'a, const W: usize>(
    receiver: &'a mut (impl Receiver<W> + 'a),
) -> Erased<&'a mut (dyn AnyReceiver<W> + 'a)> {
    Erased(receiver)
}
