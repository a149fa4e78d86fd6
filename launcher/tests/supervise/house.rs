//! A folder in which children are shell scripts that leave files behind.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gristmill_launcher::error::Failure;
use gristmill_launcher::supervise::{ChildCommand, ShardCommand, Stop, run};
use rustix::process::{Signal, getpid, kill_process};
use tokio::net::UnixListener;
use tokio::sync::{Mutex, MutexGuard};

/// Signals reach the whole process, so one house is open at a time.
static OPEN: Mutex<()> = Mutex::const_new(());

/// The folder, as `$HOUSE` in the scripts.
pub(super) struct House {
    folder: tempfile::TempDir,
    _open: MutexGuard<'static, ()>,
}

impl House {
    /// An empty folder, once every other house is closed.
    pub(super) async fn open() -> Self {
        let open = OPEN.lock().await;
        Self { folder: tempfile::tempdir().unwrap(), _open: open }
    }

    /// A file in the folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the two scripts under the launcher's watch.
    pub(super) async fn run(&self, router: &str, shard: &str, grace: Duration) -> Result<(), Failure> {
        let mut stop = Stop::catch().unwrap();
        let shard = ShardCommand { rank: 0, socket: self.path("socket-0"), command: self.script(shard) };
        run(shard, self.script(router), grace, &mut stop).await
    }

    /// The same, with a listener on the shard's socket once the shard has made the file `shard`.
    pub(super) async fn listening(&self, router: &str, shard: &str, grace: Duration) -> Result<(), Failure> {
        let listen = async {
            exists(&self.path("shard")).await;
            let _listener = UnixListener::bind(self.path("socket-0")).unwrap();
            std::future::pending().await
        };
        tokio::select! {
            ended = self.run(router, shard, grace) => ended,
            never = listen => never,
        }
    }

    /// Sends SIGTERM to this process when each of these files is there.
    pub(super) fn stop_at(&self, names: &[&str]) {
        let paths: Vec<_> = names.iter().map(|name| self.path(name)).collect();
        tokio::spawn(async move {
            for path in paths {
                exists(&path).await;
                kill_process(getpid(), Signal::TERM).unwrap();
            }
        });
    }

    /// The children that were asked to end and did, in order.
    pub(super) fn ended(&self) -> Vec<String> {
        let ended = std::fs::read_to_string(self.path("ended")).unwrap_or_default();
        ended.lines().map(str::to_owned).collect()
    }

    fn script(&self, script: &str) -> ChildCommand {
        ChildCommand {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![("HOUSE", self.folder.path().into())],
        }
    }
}

async fn exists(path: &Path) {
    while !path.exists() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
