//! Memory this process may still take: the host's, or its control group's when that is less.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes free for a KV cache. Page cache counts as free, as the kernel gives it back.
pub(crate) fn free() -> u64 {
    let host = meminfo("MemAvailable:").unwrap_or(0);
    group_free().map_or(host, |group| group.min(host))
}

fn meminfo(field: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The smallest room of the control groups from this process's up to the root (version 2).
fn group_free() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let groups = Path::new(path).ancestors().map(|group| root.join(group));
    groups.filter_map(|group| room(&group)).min()
}

fn room(group: &Path) -> Option<u64> {
    let limit = number(&group.join("memory.max"))?;
    let used = number(&group.join("memory.current"))?;
    let cached = stat(&group.join("memory.stat"), "inactive_file ").unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(cached)))
}

/// `max` and a missing file are no number.
fn number(path: &PathBuf) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn stat(path: &Path, field: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(field))?.trim().parse().ok()
}
