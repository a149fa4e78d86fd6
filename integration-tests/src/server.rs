//! The program under test as a process of its own, ended with the value.

use std::ffi::OsStr;
use std::io::{Read, Seek};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::{NamedTempFile, TempDir};

use crate::client::Client;
use crate::mock_shard::MockShards;
use crate::program::program;

/// A server may take this long to start or to end on a busy machine.
const HUNG: Duration = Duration::from_secs(120);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// A running server.
pub struct Server {
    child: Child,
    address: SocketAddr,
    output: NamedTempFile,
    /// Lives as long as the server.
    _folder: Option<TempDir>,
}

impl Server {
    /// Starts the program with `arguments` and a free `--port`, and waits until it listens.
    ///
    /// # Panics
    /// With its output, when it ends or takes too long.
    pub fn start<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        let mut server = Self::spawn(arguments);
        let start = Instant::now();
        while TcpStream::connect(server.address).is_err() {
            let ended = server.child.try_wait().unwrap();
            assert!(ended.is_none(), "the server ended with {ended:?}: {}", server.output());
            assert!(start.elapsed() < HUNG, "the server does not listen: {}", server.output());
            std::thread::sleep(LOOK);
        }
        server
    }

    /// Starts the program and does not wait.
    pub fn spawn<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self::spawn_at(port, arguments)
    }

    /// The same at a port of the test's choice.
    pub fn spawn_at<A: AsRef<OsStr>>(port: u16, arguments: impl IntoIterator<Item = A>) -> Self {
        let output = NamedTempFile::new().unwrap();
        let child = Command::new(program())
            .args(arguments)
            .args(["--hostname", "127.0.0.1", "--port", &port.to_string()])
            .stdout(output.reopen().unwrap())
            .stderr(output.reopen().unwrap())
            .spawn()
            .unwrap();
        Self { child, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), output, _folder: None }
    }

    /// A router in front of `shards`, with the tiny tokenizer and a chat template, and these flags.
    pub fn router(shards: &MockShards, flags: &[&str]) -> Self {
        let folder = model_folder(Some(CHAT_TEMPLATE));
        let mut server = Self::start(router_arguments(folder.path(), shards, flags));
        server._folder = Some(folder);
        server
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has printed.
    pub fn output(&self) -> String {
        let mut text = String::new();
        let mut file = self.output.reopen().unwrap();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < HUNG, "the server does not end: {}", self.output());
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until its output has `text`.
    pub fn wait_for_output(&self, text: &str) {
        let start = Instant::now();
        while !self.output().contains(text) {
            assert!(start.elapsed() < HUNG, "no {text:?} in: {}", self.output());
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.output());
        }
    }
}

/// The arguments of a router.
pub fn router_arguments(folder: &Path, shards: &MockShards, flags: &[&str]) -> Vec<String> {
    let socket = shards.master();
    let named = ["router", "--tokenizer-name", folder.to_str().unwrap()];
    let named = named.into_iter().chain(["--master-shard-uds-path", socket.to_str().unwrap()]);
    named.chain(flags.iter().copied()).map(str::to_owned).collect()
}

/// A template that shows roles and contents, and refuses the role `nobody`.
const CHAT_TEMPLATE: &str = "{% for message in messages %}\
    {% if message.role == 'nobody' %}{{ raise_exception('nobody may not speak') }}{% endif %}\
    {{ bos_token }}{{ message.role }}: {{ message.content }}\n{% endfor %}\
    {% if add_generation_prompt %}assistant:{% endif %}";

/// A model folder as a router needs it: the tiny tokenizer, and a chat template if there is one.
pub fn model_folder(template: Option<&str>) -> TempDir {
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/tiny/llama-plain");
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json"] {
        std::fs::copy(tiny.join(file), folder.path().join(file)).unwrap();
    }
    let mut config = json!({"bos_token": "<s>", "eos_token": "</s>"});
    if let Some(template) = template {
        config["chat_template"] = template.into();
    }
    std::fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    folder
}
