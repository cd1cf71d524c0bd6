//! `ringway completions`.

use std::io::{self, Write};

use clap::CommandFactory;

use crate::args::{Arguments, Completions};
use crate::failure::{Ending, Failure};

pub fn run(completions: &Completions) -> Result<Ending, Failure> {
    let mut command = Arguments::command();
    let mut script = Vec::new();
    clap_complete::generate(completions.shell, &mut command, "ringway", &mut script);
    io::stdout().write_all(&script).map_err(Failure::Output)?;
    Ok(Ending::Done)
}
