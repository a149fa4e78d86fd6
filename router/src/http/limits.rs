//! Deadlines and caps of the HTTP side: what they bound, unit, value.

use std::time::Duration;

/// From accepting a connection, or from the answer before, to the end of a request's headers. It also ends connections
/// kept open for reuse, so it is longer than load balancers keep theirs (600 s); else they would answer 502 now and then.
pub(crate) const HEADERS: Duration = Duration::from_secs(620);

/// From the end of the headers to the end of the body. A client that is slower gets 408.
pub(crate) const BODY: Duration = Duration::from_secs(60);

/// Time for which a client may take nothing of what is written to it. It loses its connection then, and with it its slot.
pub(crate) const STALL: Duration = Duration::from_secs(60);

/// Once the server is to end: time without any generation after which connections that are still open are cut.
pub(crate) const FAREWELL: Duration = Duration::from_secs(2);

/// Silence on an event stream after which a comment line keeps it alive.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Connections open at once; further ones wait in the listener's queue. Each may hold one body of `--payload-limit`.
pub(crate) const CONNECTIONS: usize = 4096;

/// HTTP/2 streams open at once on one connection.
pub(crate) const STREAMS_PER_CONNECTION: u32 = 256;
