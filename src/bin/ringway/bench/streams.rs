//! How many messages go through: `bench throughput` and `bench fanout`.

use ringway::Wait;
use serde_json::{Map, Value, json};

use crate::bench::args::Length;
use crate::bench::document::{float, repeated};
use crate::bench::done::Done;
use crate::bench::role::{Answer, Role};
use crate::bench::setting::Setting;
use crate::failure::Failure;
use crate::output::nanoseconds;

/// The sizes if nobody asks for others.
pub const SIZES: [usize; 6] = [8, 64, 256, 1024, 16 << 10, 64 << 10];

/// The fewest bytes that a message has: its number.
pub const SIZE_MIN: usize = 8;

/// One kind of stream.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub size: usize,
    pub consumers: usize,
    pub batch: usize,
    pub wait: Wait,
}

/// What a run of it came to.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    sent: u64,
    /// The least that a consumer received, and the most that one did not.
    received: u64,
    lost: u64,
    duplicated: u64,
    late: u64,
    rate_per_s: f64,
    cpu_share: f64,
}

/// Runs the cells in turn, so often, and gives what each came to that was run at all.
pub fn measure(
    setting: &Setting<'_>,
    cells: &[Cell],
    length: Length,
    done: &mut Done,
) -> Result<Vec<Value>, Failure> {
    let all = done.in_turn(cells, length.runs, |cell, number| {
        setting.progress(format_args!(
            "{} B to {}, run {} of {}",
            cell.size,
            crate::output::count(cell.consumers as u64, "consumer"),
            number + 1,
            length.runs
        ));
        run(setting, cell, length)
    })?;
    let measured = cells.iter().zip(&all).filter(|(_, runs)| !runs.is_empty());
    Ok(measured.map(|(cell, runs)| value(cell, length, runs)).collect())
}

fn run(setting: &Setting<'_>, cell: &Cell, length: Length) -> Result<Run, Failure> {
    let stage = setting.stage(1, cell.consumers)?;
    let warm_up_ns = nanoseconds(length.warm_up);
    let for_ns = warm_up_ns.saturating_add(nanoseconds(length.duration));
    let mut roles = vec![Role::Send { size: cell.size, batch: cell.batch, for_ns }];
    // Who receives in batches takes whatever there is.
    let batch = if cell.batch == 1 { 1 } else { 256 };
    roles.extend((0..cell.consumers).map(|_| Role::Receive { batch, warm_up_ns }));
    let heard = setting.run(&stage.names, cell.wait, false, roles)?;
    let (sender, receivers) = heard.answers.split_at(1);
    let sent = sender[0].count("sent");
    let unique = |it: &Answer| it.count("received").saturating_sub(it.count("duplicated"));
    let received = receivers.iter().map(unique).min().unwrap_or(0);
    // Of the time that counts, and of the consumer that got the fewest then.
    let rate_per_s = |it: &Answer| {
        let begin_ns = it.count("begin_ns").max(sender[0].count("begin_ns"));
        let taken_ns = it.count("end_ns").saturating_sub(begin_ns).max(1);
        float(unique(it).saturating_sub(it.count("before"))) / float(taken_ns) * 1e9
    };
    let shares: f64 = receivers.iter().map(Answer::cpu_share).sum();
    Ok(Run {
        sent,
        received,
        lost: sent.saturating_sub(received),
        duplicated: receivers.iter().map(|it| it.count("duplicated")).sum(),
        late: receivers.iter().map(|it| it.count("late")).sum(),
        rate_per_s: receivers.iter().map(rate_per_s).fold(f64::INFINITY, f64::min),
        cpu_share: shares / float(receivers.len().max(1) as u64),
    })
}

fn value(cell: &Cell, length: Length, runs: &[Run]) -> Value {
    let sum = |of: fn(&Run) -> u64| runs.iter().map(of).sum::<u64>();
    let rates: Vec<f64> = runs.iter().map(|run| run.rate_per_s).collect();
    let mut map = Map::from_iter([
        ("size_bytes".into(), json!(cell.size)),
        ("consumers".into(), json!(cell.consumers)),
        ("batch".into(), json!(cell.batch)),
        ("wait".into(), json!(cell.wait.to_string())),
        ("runs".into(), json!(runs.len())),
        ("sent".into(), json!(sum(|run| run.sent))),
        ("received".into(), json!(sum(|run| run.received))),
        ("lost".into(), json!(sum(|run| run.lost))),
        ("duplicated".into(), json!(sum(|run| run.duplicated))),
        ("out_of_order".into(), json!(sum(|run| run.late))),
    ]);
    map.extend(length.value());
    map.extend(repeated("rate_per_s", &rates));
    let rate = map["rate_per_s"].as_f64().unwrap_or(0.0);
    map.insert("bytes_per_s".into(), json!(rate * float(cell.size as u64)));
    map.insert("delivered_rate_per_s".into(), json!(rate * float(cell.consumers as u64)));
    let shares: f64 = runs.iter().map(|run| run.cpu_share).sum();
    map.insert("cpu_share".into(), json!(shares / float(runs.len().max(1) as u64)));
    map.into()
}
