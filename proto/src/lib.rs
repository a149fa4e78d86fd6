//! The token wire between router and shards: `generate.v3`, byte-compatible with TGI's.
//!
//! Field numbers are TGI's. What Gristmill adds sits in one message per parent at field 100, which a
//! foreign peer skips.

#![forbid(unsafe_code)]

/// Package `generate.v3`.
pub mod v3 {
    #![expect(missing_docs, clippy::allow_attributes, reason = "generated from proto/generate.proto")]
    tonic::include_proto!("generate.v3");
}

/// Encoded `FileDescriptorSet` of every package, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
