//! A server of another program, for as long as it is needed and no longer.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::runner::end_with_us;

/// Ends when it is dropped, or else with this process.
pub(crate) struct Server(Child);

impl Server {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = end_with_us(command).spawn();
        Ok(Self(
            child.with_context(|| format!("cannot start {}", command.get_program().display()))?,
        ))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// An error once it has ended by itself: then it is in vain to wait for it.
    pub(crate) fn ensure_alive(&mut self) -> Result<()> {
        let ended = self.0.try_wait()?;
        ensure!(ended.is_none(), "the server has ended: {ended:?}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
