//! How long the launcher waits for what.

use std::time::Duration;

/// From the start of a shard until it listens. Long, because the largest models are read over slow networks.
pub const SHARD_START: Duration = Duration::from_secs(3600);
/// Between two lines that say a shard is still being waited for.
pub const SHARD_START_NEWS: Duration = Duration::from_secs(10);
/// Between the first two looks at a shard's socket; it doubles up to [`SOCKET_LOOK_MAX`].
pub const SOCKET_LOOK: Duration = Duration::from_millis(1);
/// The longest pause between two looks at a shard's socket.
pub const SOCKET_LOOK_MAX: Duration = Duration::from_millis(4);
/// For the last output of a child that has ended.
pub const LAST_OUTPUT: Duration = Duration::from_secs(1);
