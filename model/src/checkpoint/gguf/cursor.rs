//! Forward reading of a header that never goes past the file's end or the header's limit.

use std::fs::File;
use std::io::{BufReader, Read};

/// A place in a header. Every length is checked against what is left before memory is taken for it.
pub(super) struct Cursor {
    reader: BufReader<File>,
    position: u64,
    file_size: u64,
    limit: u64,
}

impl Cursor {
    pub(super) fn new(file: File, file_size: u64, limit: u64) -> Self {
        Self { reader: BufReader::with_capacity(1 << 16, file), position: 0, file_size, limit }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Checks that `count` entries of at least `entry_bytes` each are within `max` and can still follow.
    pub(super) fn check_count(
        &self,
        what: &str,
        count: u64,
        max: u64,
        entry_bytes: u64,
    ) -> Result<(), String> {
        if count > max {
            return Err(format!("{what}: {count} is over the limit of {max}"));
        }
        self.check_left(count.saturating_mul(entry_bytes))
            .map_err(|e| format!("{what}: {count} entries: {e}"))
    }

    fn check_left(&self, bytes: u64) -> Result<(), String> {
        let left = |end: u64| end.saturating_sub(self.position);
        if bytes > left(self.file_size) {
            return Err(format!(
                "{bytes} bytes at byte {} go past the end of the file at {}",
                self.position, self.file_size
            ));
        }
        if bytes > left(self.limit) {
            return Err(format!("the header is over the limit of {} bytes", self.limit));
        }
        Ok(())
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), String> {
        self.check_left(bytes.len() as u64)?;
        self.reader.read_exact(bytes).map_err(|e| e.to_string())?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn vec(&mut self, len: u64) -> Result<Vec<u8>, String> {
        self.check_left(len)?;
        let len = usize::try_from(len).map_err(|e| e.to_string())?;
        let mut bytes = vec![0; len];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, String> {
        self.bytes().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, String> {
        self.bytes().map(u64::from_le_bytes)
    }

    /// A length and that many bytes of UTF-8.
    pub(super) fn string(&mut self, max: u64) -> Result<String, String> {
        let len = self.u64()?;
        if len > max {
            return Err(format!("a string of {len} bytes is over the limit of {max}"));
        }
        String::from_utf8(self.vec(len)?).map_err(|e| format!("not UTF-8: {e}"))
    }
}
