//! Converted GGUF files, kept: one folder for each state of each file.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use gristmill_model::checkpoint::gguf::Header;

use super::{DownloadError, gguf_to_folder};

/// Changes when the same file would become another folder.
const LAYOUT: u32 = 1;
/// Places in a file that are looked at to tell it from another of the same size, time and header.
const SAMPLES: u64 = 64;
/// Bytes looked at in each place.
const SAMPLE_BYTES: u64 = 4096;
/// Characters of the file's name that the folder's name begins with.
const MAX_STEM: usize = 64;

/// The folder that `gguf` was converted into, now or before.
pub(super) fn converted(gguf: &Path, cache: Option<&Path>) -> Result<PathBuf, DownloadError> {
    let cache = cache.ok_or_else(|| DownloadError::NoCache(gguf.to_owned()))?;
    let folder = cache.join(folder_name(gguf)?);
    if folder.join("config.json").is_file() {
        return Ok(folder);
    }
    tracing::info!("Converting {} into {}", gguf.display(), folder.display());
    match gguf_to_folder(gguf, &folder) {
        // Another process converted the same file at the same time, and the folder is complete.
        Err(DownloadError::Io { source, .. }) if source.kind() == io::ErrorKind::DirectoryNotEmpty => {
            Ok(folder)
        }
        result => result.map(|()| folder),
    }
}

fn folder_name(gguf: &Path) -> Result<String, DownloadError> {
    let path = gguf.canonicalize().map_err(DownloadError::io(gguf))?;
    let fingerprint =
        fingerprint(&path, Header::read(&path)?.data_offset()).map_err(DownloadError::io(&path))?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let stem: String = stem.chars().take(MAX_STEM).map(plain).collect();
    Ok(format!("{stem}-{}", &fingerprint.to_hex()[..16]))
}

/// Covers the path, size and time of the file, its header, and samples of its data.
fn fingerprint(path: &Path, data_offset: u64) -> io::Result<blake3::Hash> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let size = metadata.len();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&LAYOUT.to_le_bytes());
    hasher.update(path.as_os_str().as_bytes());
    for number in [size, metadata.mtime().cast_unsigned(), metadata.mtime_nsec().cast_unsigned(), data_offset]
    {
        hasher.update(&number.to_le_bytes());
    }
    let mut buffer = vec![0; SAMPLE_BYTES as usize];
    for start in (0..data_offset).step_by(SAMPLE_BYTES as usize) {
        hash_at(&mut hasher, &file, start, &mut buffer)?;
    }
    for sample in 0..SAMPLES {
        let start = data_offset + size.saturating_sub(data_offset) / SAMPLES * sample;
        hash_at(&mut hasher, &file, start, &mut buffer)?;
    }
    Ok(hasher.finalize())
}

/// Hashes one buffer of the file, less at its end.
fn hash_at(hasher: &mut blake3::Hasher, file: &File, start: u64, buffer: &mut [u8]) -> io::Result<()> {
    let left = file.metadata()?.len().saturating_sub(start);
    let len = left.min(buffer.len() as u64) as usize;
    file.read_exact_at(&mut buffer[..len], start)?;
    hasher.update(&buffer[..len]);
    Ok(())
}
