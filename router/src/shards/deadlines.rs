//! How long the router waits for a shard. A shard that takes longer counts as failed.

use std::time::Duration;

/// To open a socket that exists.
pub const CONNECT: Duration = Duration::from_secs(10);

/// ServiceDiscovery and Info: facts the shard knows.
pub const INFO: Duration = Duration::from_secs(30);

/// Warmup: the largest prefill, and on a GPU graphs and plans.
pub const WARMUP: Duration = Duration::from_secs(60 * 60);

/// Prefill and Decode: one forward, which on a CPU with a large model takes minutes.
pub const STEP: Duration = Duration::from_secs(10 * 60);

/// FilterBatch and ClearCache: bookkeeping, but behind a forward that was started ahead.
pub const KEEP: Duration = STEP;

/// Health, and a probe of the model: below the 5 s after which a Kubernetes probe gives up.
pub const PROBE: Duration = Duration::from_secs(3);

/// How long a shard that is in the middle of a step may keep a health probe waiting before it counts as busy and well:
/// below the 1 s that is the default of Kubernetes probes.
pub const PROBE_BUSY: Duration = Duration::from_millis(800);

/// How long a good answer to a health probe is given again without asking.
pub const PROBE_AGAIN: Duration = Duration::from_secs(1);
