//! `ringway create`.

use ringway::{Queue, QueueOptions};
use serde_json::json;

use crate::args::Create;
use crate::failure::{Ending, Failure};
use crate::output::{self, Console};

pub fn run(create: &Create, console: Console) -> Result<Ending, Failure> {
    let Create { name, capacity, members, subscriptions, history, mode, json } = create;
    let options = QueueOptions::new().capacity(capacity.as_u64()).mode(*mode);
    let options = options.members(*members).subscriptions(*subscriptions);
    let options = match history {
        Some(directory) => options.history(directory),
        None => options,
    };
    let queue = Queue::create(name, &options)?;
    let segment_size = queue.info()?.segment_size;
    let besides = segment_size - queue.capacity();
    if *json {
        output::json(&json!({
            "name": queue.name(),
            "instance_id": output::hex(&queue.instance_id()),
            "capacity_bytes": queue.capacity(),
            "message_size_max_bytes": queue.message_size_max(),
            "segment_size_bytes": segment_size,
            "members": members,
            "subscriptions": subscriptions,
            "history": queue.history(),
            "mode": format!("{mode:04o}"),
        }))?;
    } else {
        console.note(format_args!(
            "made queue '{name}': a ring of {}, messages up to {}; {} for {} and {}",
            output::bytes(queue.capacity()),
            output::bytes(queue.message_size_max() as u64),
            output::bytes(besides),
            output::count((*members).into(), "consumer"),
            output::count((*subscriptions).into(), "named subscription"),
        ));
    }
    Ok(Ending::Done)
}
