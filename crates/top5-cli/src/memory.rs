//! How much memory a plan may take when nobody says: what the system could give without swapping.

use std::fs;

use top5::Options;

/// The options with what is available now as the limit, where they have none.
pub(crate) fn limited(options: Options) -> Options {
    let memory_limit = options.memory_limit.or_else(available);
    Options { memory_limit, ..options }
}

/// Bytes that are free or can be freed, as far as the system tells: of the machine and of the container.
fn available() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| of_machine(&text));
    let read = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok();
    let container = read("memory.max").zip(read("memory.current")).and_then(|(most, now)| {
        let [most, now] = [most, now].map(|text| text.trim().parse::<u64>().ok());
        Some(most?.saturating_sub(now?))
    });
    machine.into_iter().chain(container).min()
}

/// The bytes that `/proc/meminfo` calls available.
fn of_machine(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read_in_bytes() {
        let text = "MemTotal:       24689764 kB\nMemFree: 1 kB\nMemAvailable:   23456 kB\n";
        assert_eq!(of_machine(text), Some(23456 * 1024));
    }

    #[test]
    fn what_is_not_understood_sets_no_limit() {
        for text in
            ["", "MemAvailable: many kB", "MemAvailable: 12", "MemAvailable: 99999999999999999 kB"]
        {
            assert_eq!(of_machine(text), None, "{text}");
        }
    }
}
