//! What the tests of the whole house share: the demo model, the device rig, a mock shard, a server and clients.

#![forbid(unsafe_code)]

pub mod client;
pub mod demo;
pub mod mock_shard;
pub mod program;
pub mod rig;
pub mod server;
pub mod shard;
