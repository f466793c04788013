//! What the process may have, as Linux tells: memory of the machine, of the process and of the control groups that it is in,
//! and the length of the files that it writes. Where the system does not tell, nothing is known.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes that a thread of glibc's may reserve of the address space when it first asks for memory.
const ARENA: u64 = 64 << 20;

/// Bytes of memory that the process may still take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Without swapping, and without being ended for it.
    pub(crate) available: Option<u64>,
    /// At all.
    pub(crate) most: Option<u64>,
}

/// What may still be taken by a process in which `threads` threads may ask for memory.
pub(crate) fn memory(threads: usize) -> Memory {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (limits, status) = (text("/proc/self/limits"), text("/proc/self/status"));
    let left = |limit: &str, taken: &str| {
        let limit = of_limits(&limits, limit)?;
        let left = limit.saturating_sub(kib(&status, taken).unwrap_or(0));
        // Allocators fall back to what others have when that is not to be had, but do not give it back for a large piece.
        let reserved = (ARENA * threads as u64).min(left / 4 * 3);
        Some(left - reserved)
    };
    let process = [left("Max address space", "VmSize:"), left("Max data size", "VmData:")];
    let groups = of_groups(&text("/proc/self/cgroup"), &text("/proc/self/mountinfo"));
    let hard = process.into_iter().chain([groups]).flatten().min();
    let machine = text("/proc/meminfo");
    let [total, swap] = ["MemTotal:", "SwapFree:"].map(|name| kib(&machine, name));
    let all = total.map(|total| total.saturating_add(swap.unwrap_or(0)));
    Memory {
        available: kib(&machine, "MemAvailable:").into_iter().chain(hard).min(),
        most: all.into_iter().chain(hard).min(),
    }
}

/// Bytes of memory that the process has taken; 0 where the system does not tell.
pub(crate) fn resident() -> u64 {
    of_status("VmRSS:").unwrap_or(0)
}

/// The most bytes of memory that the process has had at once.
pub(crate) fn peak() -> Option<u64> {
    of_status("VmHWM:")
}

fn of_status(name: &str) -> Option<u64> {
    kib(&fs::read_to_string("/proc/self/status").ok()?, name)
}

/// The greatest length of a file that the process may write.
pub(crate) fn file_length() -> Option<u64> {
    of_limits(&fs::read_to_string("/proc/self/limits").ok()?, "Max file size")
}

/// A soft limit in the text of `/proc/self/limits`.
fn of_limits(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A number of KiB in the text of `/proc/meminfo` or `/proc/self/status`, in bytes.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Bytes left in the control groups of this process, both versions, with those above them. Pages of files that the system can
/// drop count as left.
fn of_groups(groups: &str, mounts: &str) -> Option<u64> {
    let [newer, older] = [["memory.max", "memory.current", "inactive_file"], OLDER];
    let mut least = None;
    for line in groups.lines() {
        // `0::/path` is of version 2, `4:memory:/path` of version 1.
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let names = match controllers {
            "" => newer,
            controllers if controllers.split(',').any(|name| name == "memory") => older,
            _ => continue,
        };
        let kind = if controllers.is_empty() { "cgroup2" } else { "cgroup" };
        for folder in folders(mounts, kind, Path::new(path)) {
            let left = left_in(&folder, names);
            least = least.into_iter().chain(left).min();
        }
    }
    least
}

/// Version 1's names for the limit, what is taken, and the part of it that can be dropped.
const OLDER: [&str; 3] = ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"];

/// The folders of a group and those above it, where its kind is mounted.
fn folders(mounts: &str, kind: &str, group: &Path) -> Vec<PathBuf> {
    let mount = |line: &str| -> Option<[PathBuf; 2]> {
        let (place, system) = line.split_once(" - ")?;
        let mut system = system.split(' ');
        let is_kind = system.next()? == kind;
        let of_memory = kind == "cgroup2" || system.nth(1)?.split(',').any(|o| o == "memory");
        let mut place = place.split(' ').skip(3);
        let (root, point) = (place.next()?, place.next()?);
        (is_kind && of_memory).then(|| [root.into(), point.into()])
    };
    let mut found = Vec::new();
    for [root, point] in mounts.lines().filter_map(mount) {
        // A container may see its own group as the root of what is mounted.
        let below = group.strip_prefix(&root).unwrap_or(Path::new(""));
        let folder = point.join(below);
        found.extend(folder.ancestors().take_while(|at| at.starts_with(&point)).map(PathBuf::from));
    }
    found
}

/// Bytes left in one group; None where it sets no limit.
fn left_in(folder: &Path, [limit, taken, droppable]: [&str; 3]) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let (limit, taken) = (number(limit)?, number(taken)?);
    let stat = read("memory.stat").unwrap_or_default();
    let dropped = stat.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == droppable).then(|| value.trim().parse::<u64>().ok())?
    });
    Some(limit.saturating_sub(taken.saturating_sub(dropped.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_kernel_are_read_in_bytes() {
        let text = "MemTotal:       24689764 kB\nMemFree: 1 kB\nMemAvailable:   23456 kB\n";
        assert_eq!(kib(text, "MemAvailable:"), Some(23456 * 1024));
        for text in
            ["", "MemAvailable: many kB", "MemAvailable: 12", "MemAvailable: 99999999999999999 kB"]
        {
            assert_eq!(kib(text, "MemAvailable:"), None, "{text}");
        }
        let limits = "Limit   Soft Limit  Hard Limit  Units\n\
                      Max file size             51200                unlimited            bytes     \n\
                      Max address space         unlimited            unlimited            bytes     \n";
        assert_eq!(of_limits(limits, "Max file size"), Some(51200));
        assert_eq!(of_limits(limits, "Max address space"), None);
        assert_eq!(of_limits("", "Max file size"), None);
    }

    /// Writes a group's files.
    fn group(folder: &Path, names: [&str; 3], limit: &str, taken: u64, dropped: u64) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(names[0]), format!("{limit}\n")).unwrap();
        fs::write(folder.join(names[1]), format!("{taken}\n")).unwrap();
        let stat = format!("cache 9\n{} {dropped}\nunevictable 0\n", names[2]);
        fs::write(folder.join("memory.stat"), stat).unwrap();
    }

    #[test]
    fn least_of_the_groups_above_the_process_counts() {
        let newer = ["memory.max", "memory.current", "inactive_file"];
        for (names, line, system, unlimited) in [
            (newer, "0::/a/b", "cgroup2 cgroup2 rw", "max"),
            (OLDER, "4:cpu,memory:/a/b", "cgroup cgroup rw,memory", "9223372036854771712"),
        ] {
            let place = tempfile::tempdir().unwrap();
            let mount = |root: &str| {
                format!(
                    "25 1 0:2 / / rw - ext4 /dev/a rw\n35 31 0:32 {root} {} rw,noexec - {system}\n",
                    place.path().display()
                )
            };
            let left = |root: &str| of_groups(line, &mount(root));
            let at = |name: &str| place.path().join(name);
            assert_eq!(left("/"), None);
            group(&at("a"), names, "5000", 1500, 500);
            group(&at("a/b"), names, unlimited, 100, 0);
            assert_eq!(left("/"), Some(4000));
            group(&at("a/b"), names, "3000", 1000, 0);
            assert_eq!(left("/"), Some(2000));
            // Within a container whose own group is the root.
            assert_eq!(left("/a/b"), None);
            group(place.path(), names, "700", 800, 0);
            assert_eq!(left("/a/b"), Some(0));
        }
        assert_eq!(of_groups("", ""), None);
        assert_eq!(of_groups("0::/\nnonsense", "nonsense - cgroup2"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_left() {
        let Memory { available, most } = memory(1);
        assert!(available.unwrap() > 0 && available <= most);
    }
}
