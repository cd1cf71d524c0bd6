//! `ringway create`.

use ringway::{Queue, QueueOptions};
use serde_json::json;

use crate::args::Create;
use crate::failure::{Ending, Failure};
use crate::output::{self, Console};

pub fn run(create: &Create, console: Console) -> Result<Ending, Failure> {
    let Create { name, capacity, members, mode, json } = create;
    let options = QueueOptions::new().capacity(capacity.as_u64()).members(*members).mode(*mode);
    let queue = Queue::create(name, &options)?;
    if *json {
        output::json(&json!({
            "name": queue.name(),
            "instance_id": output::hex(&queue.instance_id()),
            "capacity_bytes": queue.capacity(),
            "message_size_max_bytes": queue.message_size_max(),
            "members": members,
            "mode": format!("{mode:04o}"),
        }))?;
    } else {
        console.note(format_args!(
            "made queue '{name}': {}, messages up to {}, {members} consumers at a time",
            output::bytes(queue.capacity()),
            output::bytes(queue.message_size_max() as u64),
        ));
    }
    Ok(Ending::Done)
}
