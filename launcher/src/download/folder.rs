//! A folder that appears under its name only when it is complete.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use tempfile::TempDir;

use super::DownloadError;

/// A folder in the making, beside its target. Dropped unfinished, it is removed; left by a killed process, the
/// next one that makes the same target removes it.
pub(super) struct PartialFolder {
    folder: TempDir,
    target: PathBuf,
    /// Held locked as long as this process is at work here.
    _lock: File,
}

impl PartialFolder {
    /// Begins the folder that will become `target`.
    pub(super) fn create(target: &Path) -> Result<Self, DownloadError> {
        let (Some(name), Some(parent)) = (target.file_name(), target.parent()) else {
            let problem =
                std::io::Error::new(std::io::ErrorKind::InvalidInput, "is no name for a new folder");
            return Err(DownloadError::io(target)(problem));
        };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let prefix = format!(".{}.partial-", name.to_string_lossy());
        fs::create_dir_all(parent).map_err(DownloadError::io(parent))?;
        sweep(parent, &prefix);
        let folder = tempfile::Builder::new()
            .prefix(&prefix)
            .permissions(Permissions::from_mode(0o755))
            .tempdir_in(parent)
            .map_err(DownloadError::io(parent))?;
        let lock = File::open(folder.path()).map_err(DownloadError::io(folder.path()))?;
        flock(&lock, FlockOperation::LockExclusive)
            .map_err(|e| DownloadError::io(folder.path())(e.into()))?;
        Ok(Self { folder, target: target.to_owned(), _lock: lock })
    }

    /// Writes one file through `fill`, which also gets the path for its errors. The file is readable by all, and
    /// durable before the folder gets its name.
    pub(super) fn write(
        &self,
        name: &str,
        fill: impl FnOnce(&mut File, &Path) -> Result<(), DownloadError>,
    ) -> Result<(), DownloadError> {
        let path = self.folder.path().join(name);
        let mut file = File::create_new(&path).map_err(DownloadError::io(&path))?;
        fill(&mut file, &path)?;
        file.set_permissions(Permissions::from_mode(0o644)).map_err(DownloadError::io(&path))?;
        file.sync_all().map_err(DownloadError::io(&path))
    }

    /// Writes a text file.
    pub(super) fn write_text(&self, name: &str, text: &str) -> Result<(), DownloadError> {
        self.write(name, |file, path| file.write_all(text.as_bytes()).map_err(DownloadError::io(path)))
    }

    /// Writes a JSON file.
    pub(super) fn write_json(&self, name: &str, value: &Value) -> Result<(), DownloadError> {
        self.write_text(name, &format!("{value:#}\n"))
    }

    /// Gives the folder its name. A folder that is there and not empty is not replaced.
    pub(super) fn finish(self) -> Result<(), DownloadError> {
        fs::rename(self.folder.path(), &self.target).map_err(DownloadError::io(&self.target))?;
        let _renamed = self.folder.keep();
        Ok(())
    }
}

/// Removes what killed processes left. A folder without a lock and with files has lost its process: files are
/// only written under the lock.
fn sweep(parent: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix)) {
        let path = entry.path();
        let unlocked = File::open(&path).is_ok_and(|folder| {
            flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok() && has_files(&path)
        });
        if unlocked && let Err(error) = fs::remove_dir_all(&path) {
            tracing::warn!("{}: left by a stopped process, cannot be removed: {error}", path.display());
        }
    }
}

fn has_files(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
    }

    #[test]
    fn the_name_appears_at_the_end_with_open_modes() {
        let root = tempfile::tempdir().expect("a folder");
        let target = root.path().join("deep/model");
        let folder = PartialFolder::create(&target).expect("begun");
        folder.write_text("a.txt", "text").expect("written");
        assert!(!target.exists());
        folder.finish().expect("renamed");
        assert_eq!(names(&root.path().join("deep")), ["model"]);
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&target), mode(&target.join("a.txt"))), (0o755, 0o644));
    }

    #[test]
    fn an_unfinished_folder_is_removed_and_a_left_one_swept() {
        let root = tempfile::tempdir().expect("a folder");
        let target = root.path().join("model");
        let dropped = PartialFolder::create(&target).expect("begun");
        dropped.write_text("a.txt", "text").expect("written");
        drop(dropped);
        assert!(names(root.path()).is_empty());

        let left = root.path().join(".model.partial-left");
        fs::create_dir(&left).expect("made");
        fs::write(left.join("a.txt"), "text").expect("written");
        let working = PartialFolder::create(&target).expect("begun");
        working.write_text("b.txt", "text").expect("written");
        assert!(!left.exists());
        let second = PartialFolder::create(&target).expect("begun");
        assert!(working.folder.path().join("b.txt").exists(), "a locked folder is left alone");
        second.finish().expect("first to finish");
        second_finish_is_refused(working, &target);
    }

    fn second_finish_is_refused(working: PartialFolder, target: &Path) {
        fs::write(target.join("x"), "kept").expect("written");
        let error = working.finish().expect_err("the name is taken");
        assert!(
            matches!(error, DownloadError::Io { source, .. } if source.kind() == std::io::ErrorKind::DirectoryNotEmpty)
        );
        assert_eq!(names(target), ["x"]);
    }
}
