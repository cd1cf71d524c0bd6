//! The machine that a run is measured on: its clock, its processors, and how quiet it is.

use std::fs;
use std::io;
use std::time::Duration;

use crate::workload::Clock;
use crate::workload::number::{float, floor};

/// The clock that all processes of a machine share (`CLOCK_MONOTONIC`).
///
/// ```
/// use ringway::workload::{Clock, MachineClock};
///
/// let clock = MachineClock::spinning();
/// let begin = clock.now_ns();
/// clock.wait_until(begin + 1000);
/// assert!(clock.now_ns() >= begin + 1000);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MachineClock {
    /// How long before a moment to stop sleeping; never to sleep if there is none.
    wake_early_ns: Option<u64>,
}

impl MachineClock {
    /// How long before a moment one that sleeps wakes up and looks at the time instead: shorter
    /// waits are no sleep at all.
    ///
    /// ```
    /// assert_eq!(ringway::workload::MachineClock::WAKE_EARLY_NS, 60_000);
    /// ```
    pub const WAKE_EARLY_NS: u64 = 60_000;

    /// One that waits by looking at the time again and again: exact to a few tens of nanoseconds,
    /// and a processor for it alone.
    ///
    /// ```
    /// let clock = ringway::workload::MachineClock::spinning();
    /// ```
    #[must_use]
    pub fn spinning() -> Self {
        Self { wake_early_ns: None }
    }

    /// One that sleeps until [`WAKE_EARLY_NS`](Self::WAKE_EARLY_NS) before the moment, for ends
    /// that share processors. Makes sleeps of the calling thread as exact as the kernel has them.
    ///
    /// ```
    /// let clock = ringway::workload::MachineClock::sleeping();
    /// ```
    #[must_use]
    pub fn sleeping() -> Self {
        // SAFETY: a call without pointers. Where it is refused, sleeps last a little longer.
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
        Self { wake_early_ns: Some(Self::WAKE_EARLY_NS) }
    }
}

impl Clock for MachineClock {
    #[inline]
    fn now_ns(&self) -> u64 {
        read_clock(libc::CLOCK_MONOTONIC)
    }

    #[inline]
    fn wait_until(&self, at_ns: u64) {
        if let Some(early_ns) = self.wake_early_ns {
            let now_ns = self.now_ns();
            let sleep_until_ns = at_ns.saturating_sub(early_ns);
            if sleep_until_ns > now_ns {
                std::thread::sleep(Duration::from_nanos(sleep_until_ns - now_ns));
            }
        }
        while self.now_ns() < at_ns {
            std::hint::spin_loop();
        }
    }
}

/// How long the calling thread has run on a processor so far, in nanoseconds.
///
/// ```
/// use ringway::workload::thread_cpu_ns;
///
/// let before = thread_cpu_ns();
/// std::thread::sleep(std::time::Duration::from_millis(1));
/// assert!(thread_cpu_ns() >= before);
/// ```
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    read_clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

#[inline]
fn read_clock(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place for the time is valid. Both clocks exist on every Linux.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// The processors that the calling thread may run on, by their numbers.
///
/// ```
/// assert!(!ringway::workload::processors().is_empty());
/// ```
#[must_use]
pub fn processors() -> Vec<usize> {
    // SAFETY: a set of zeros is an empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is as long as it says.
    let failed = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
    if failed != 0 {
        return vec![0];
    }
    let all = 0..8 * size_of_val(&set);
    // SAFETY: the index is within the set.
    all.filter(|processor| unsafe { libc::CPU_ISSET(*processor, &set) }).collect()
}

/// Keeps the calling thread, and threads and processes that it starts later, on one processor. An
/// error if there is no such processor, or it may not run there.
///
/// ```
/// use ringway::workload::{pin, processors};
///
/// pin(processors()[0])?;
/// assert_eq!(processors().len(), 1);
/// assert!(pin(1_000_000).is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn pin(processor: usize) -> io::Result<()> {
    // SAFETY: a set of zeros is an empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    if processor >= 8 * size_of_val(&set) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: the index is within the set.
    unsafe { libc::CPU_SET(processor, &mut set) };
    // SAFETY: the set is as long as it says.
    let failed = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How long the machine did something else while a thread of ours wanted to run: the floor under
/// all latencies. Made by [`stalls`].
///
/// ```
/// assert_eq!(ringway::workload::Stalls::default().max_ns, 0);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Stalls {
    /// How long it was watched, in nanoseconds.
    pub watched_ns: u64,
    /// The longest gap between two looks at the clock.
    pub max_ns: u64,
    /// All gaps of [`Stalls::LEAST_NS`] and more, together.
    pub total_ns: u64,
    /// For each limit of [`Stalls::LIMITS_NS`], how many gaps were as long or longer.
    pub at_least: [u64; 5],
}

impl Stalls {
    /// Shorter gaps are no stalls, but what looking takes.
    ///
    /// ```
    /// assert_eq!(ringway::workload::Stalls::LEAST_NS, 1000);
    /// ```
    pub const LEAST_NS: u64 = 1000;

    /// The lengths that stalls are counted by, in nanoseconds.
    ///
    /// ```
    /// assert_eq!(ringway::workload::Stalls::LIMITS_NS[0], 1000);
    /// ```
    pub const LIMITS_NS: [u64; 5] = [Self::LEAST_NS, 10_000, 100_000, 1_000_000, 10_000_000];

    /// The part of the time that was lost to them, 0 to 1.
    ///
    /// ```
    /// assert_eq!(ringway::workload::Stalls::default().share(), 0.0);
    /// ```
    #[must_use]
    pub fn share(&self) -> f64 {
        float(self.total_ns) / float(self.watched_ns.max(1))
    }

    fn count(&mut self, gap_ns: u64) {
        self.max_ns = self.max_ns.max(gap_ns);
        if gap_ns < Self::LEAST_NS {
            return;
        }
        self.total_ns += gap_ns;
        for (count, limit_ns) in self.at_least.iter_mut().zip(Self::LIMITS_NS) {
            *count += u64::from(gap_ns >= limit_ns);
        }
    }
}

/// Looks at the clock without a rest for so many nanoseconds, and counts the gaps.
///
/// ```
/// use ringway::workload::{MachineClock, stalls};
///
/// let stalls = stalls(&MachineClock::spinning(), 1_000_000);
/// assert!(stalls.watched_ns >= 1_000_000 && stalls.share() <= 1.0);
/// ```
pub fn stalls(clock: &impl Clock, watch_ns: u64) -> Stalls {
    let begin_ns = clock.now_ns();
    let mut stalls = Stalls::default();
    let mut before_ns = begin_ns;
    while before_ns - begin_ns < watch_ns {
        // A mock clock goes on by being waited for only.
        clock.wait_until(before_ns.saturating_add(1));
        let now_ns = clock.now_ns().max(before_ns + 1);
        stalls.count(now_ns - before_ns);
        before_ns = now_ns;
    }
    stalls.watched_ns = before_ns - begin_ns;
    stalls
}

/// What there is to know of a machine, as far as its system says. Made by [`Machine::survey`].
///
/// ```
/// let machine = ringway::workload::Machine::survey();
/// println!("{} processors, {}", machine.processors, machine.model);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Machine {
    /// What its processors are called.
    pub model: String,
    /// Processors that this process may use.
    pub processors: usize,
    /// Processors of the machine.
    pub processors_online: usize,
    /// Whether two of them share a core, where the system says so.
    pub siblings: Option<bool>,
    /// Whether a hypervisor lies below.
    pub virtual_machine: bool,
    /// The rule by which their frequency changes, where there is one.
    pub governor: Option<String>,
    /// What the kernel reads the time from.
    pub clock_source: Option<String>,
    /// The kernel's version.
    pub kernel: String,
    /// Bytes of the file system that queues lie in.
    pub tmpfs_size: u64,
    /// Those of them that are free.
    pub tmpfs_free: u64,
    /// When the kernel uses huge pages: always, madvise or never.
    pub huge_pages: Option<String>,
    /// The same for shared memory, which has more words.
    pub huge_pages_shared: Option<String>,
    /// Bytes that a process may lock in memory; `None` if there is no limit.
    pub lock_limit: Option<u64>,
    /// Processes that ran or wanted to, the mean of the last minute.
    pub load_average: f64,
    /// Whether this program was built without optimisation.
    pub debug_build: bool,
}

impl Machine {
    /// Asks the system. What it does not say is empty, 0 or `None`.
    ///
    /// ```
    /// assert!(ringway::workload::Machine::survey().processors >= 1);
    /// ```
    #[must_use]
    pub fn survey() -> Self {
        let cpu_info = read("/proc/cpuinfo").unwrap_or_default();
        let (tmpfs_size, tmpfs_free) = file_system("/dev/shm");
        let load_average = read("/proc/loadavg").unwrap_or_default();
        let siblings = read("/sys/devices/system/cpu/smt/active").map(|active| active == "1");
        Self {
            model: cpu_fact(&cpu_info, "model name").unwrap_or_default(),
            processors: processors().len(),
            processors_online: online(),
            siblings,
            virtual_machine: cpu_fact(&cpu_info, "flags")
                .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            clock_source: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            kernel: read("/proc/sys/kernel/osrelease").unwrap_or_default(),
            tmpfs_size,
            tmpfs_free,
            huge_pages: chosen("/sys/kernel/mm/transparent_hugepage/enabled"),
            huge_pages_shared: chosen("/sys/kernel/mm/transparent_hugepage/shmem_enabled"),
            lock_limit: lock_limit(),
            load_average: load_average
                .split(' ')
                .next()
                .and_then(|number| number.parse().ok())
                .filter(|number: &f64| number.is_finite())
                .unwrap_or(0.0),
            debug_build: cfg!(debug_assertions),
        }
    }
}

/// A file of the system's, without the blanks at its ends.
fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The value of the first processor's line of this name.
fn cpu_fact(cpu_info: &str, name: &str) -> Option<String> {
    let mut lines = cpu_info.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
}

/// The word in brackets, of those in a file.
fn chosen(path: &str) -> Option<String> {
    let text = read(path)?;
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(word, _)| word.to_owned())
}

fn online() -> usize {
    // SAFETY: a call without pointers.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    usize::try_from(count).unwrap_or(1)
}

/// Bytes of a file system, and free ones.
fn file_system(path: &str) -> (u64, u64) {
    let Ok(path) = std::ffi::CString::new(path) else { return (0, 0) };
    // SAFETY: all zeros is a value of it.
    let mut facts: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a zero, and the place for the facts is valid.
    let failed = unsafe { libc::statvfs(path.as_ptr(), &raw mut facts) };
    if failed != 0 {
        return (0, 0);
    }
    let bytes = |blocks: u64| blocks.saturating_mul(facts.f_frsize);
    (bytes(facts.f_blocks), bytes(facts.f_bavail))
}

fn lock_limit() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the place for the limit is valid.
    let failed = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    (failed == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// The time of a drawn length in whole nanoseconds, the nearest.
pub(super) fn whole_ns(ns: f64) -> u64 {
    floor(ns + 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::MockClock;

    /// A clock that jumps by turns.
    struct Jumping(MockClock, std::cell::Cell<usize>);

    impl Clock for Jumping {
        fn now_ns(&self) -> u64 {
            self.0.now_ns()
        }
        fn wait_until(&self, at_ns: u64) {
            const GAPS: [u64; 5] = [99, 999, 1000, 15_000, 2_000_000];
            self.0.wait_until(at_ns);
            self.0.advance(GAPS[self.1.get() % 5] - 1);
            self.1.set(self.1.get() + 1);
        }
    }

    #[test]
    fn stalls_are_counted_by_their_length() {
        let clock = Jumping(MockClock::new(), std::cell::Cell::new(0));
        let all = 99 + 999 + 1000 + 15_000 + 2_000_000;
        let stalls = stalls(&clock, 3 * all);
        assert_eq!((stalls.watched_ns, stalls.max_ns), (3 * all, 2_000_000));
        assert_eq!(stalls.at_least, [9, 6, 3, 3, 0]);
        assert_eq!(stalls.total_ns, 3 * 2_016_000);
    }

    #[test]
    fn facts_are_found_in_what_the_system_writes() {
        let cpu_info = "processor\t: 0\nmodel name\t: One: the first\nflags\t\t: fpu hypervisor\n\nprocessor\t: 1\nmodel name\t: Two\n";
        assert_eq!(cpu_fact(cpu_info, "model name").as_deref(), Some("One: the first"));
        assert_eq!(cpu_fact(cpu_info, "no such"), None);
        let machine = Machine::survey();
        assert!(machine.processors >= 1 && machine.processors_online >= machine.processors);
        assert!(machine.tmpfs_size >= machine.tmpfs_free);
    }
}
