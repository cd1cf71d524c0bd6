//! `ringway man`.

use std::io::{self, Write};

use clap::CommandFactory;

use crate::args::{Arguments, Man};
use crate::failure::{Ending, Failure};

pub fn run(man: &Man) -> Result<Ending, Failure> {
    let command = Arguments::command();
    if let Some(directory) = &man.dir {
        std::fs::create_dir_all(directory)
            .and_then(|()| clap_mangen::generate_to(command, directory))
            .map_err(|source| Failure::File { source, path: directory.clone() })?;
        return Ok(Ending::Done);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .and_then(|()| io::stdout().write_all(&page))
        .map_err(Failure::Output)?;
    Ok(Ending::Done)
}
