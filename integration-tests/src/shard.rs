//! The real shard as a process of its own, and a client of the wire.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gristmill_proto::v3::text_generation_service_client::TextGenerationServiceClient;
use gristmill_proto::v3::*;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::program::program;

/// A shard may take this long to load a model on a busy machine.
const START: Duration = Duration::from_secs(120);

/// What a client of the wire holds.
pub type Client = TextGenerationServiceClient<Channel>;

/// A running shard, ended with the value.
pub struct Shard {
    child: Child,
    home: tempfile::TempDir,
}

impl Shard {
    /// Starts a shard of one with `environment` on top of the usual.
    pub fn start(model: &Path, environment: &[(&str, &str)]) -> Self {
        Self::start_with(model, environment, &[])
    }

    /// The same with further arguments.
    pub fn start_with(model: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let child = Command::new(program())
            .args([
                "shard".as_ref(),
                model.as_os_str(),
                "--uds-path".as_ref(),
                home.path().join("s").as_os_str(),
            ])
            .args(arguments)
            .envs([
                ("RANK", "0"),
                ("WORLD_SIZE", "1"),
                ("ATTENTION", "flashdecoding"),
                ("PREFIX_CACHING", "1"),
            ])
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, home }
    }

    /// The socket it listens on.
    pub fn socket(&self) -> PathBuf {
        self.home.path().join("s-0")
    }

    /// A client, once the socket is there.
    pub async fn client(&mut self) -> Client {
        let limit = Instant::now() + START;
        loop {
            assert!(self.child.try_wait().unwrap().is_none(), "the shard has ended");
            assert!(Instant::now() < limit, "the shard does not listen");
            match connect(self.socket()).await {
                Ok(client) => return client,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

async fn connect(socket: PathBuf) -> Result<Client, tonic::transport::Error> {
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://shard").connect_with_connector(connector).await?;
    Ok(Client::new(channel).max_decoding_message_size(usize::MAX))
}

/// A greedy request of the wire with everything off, as TGI's router would write it.
pub fn request(id: u64, text: &str, max_new_tokens: u32) -> Request {
    Request {
        id,
        inputs: text.to_owned(),
        truncate: 1024,
        input_chunks: Some(Input {
            chunks: vec![InputChunk { chunk: Some(input_chunk::Chunk::Text(text.to_owned())) }],
        }),
        parameters: Some(NextTokenChooserParameters {
            temperature: 1.0,
            top_p: 1.0,
            typical_p: 1.0,
            repetition_penalty: 1.0,
            ..Default::default()
        }),
        stopping_parameters: Some(StoppingCriteriaParameters {
            max_new_tokens,
            ignore_eos_token: true,
            ..Default::default()
        }),
        add_special_tokens: true,
        ..Default::default()
    }
}

/// A batch of requests.
pub fn batch(id: u64, requests: Vec<Request>) -> Batch {
    Batch { id, size: requests.len() as u32, requests, max_tokens: 0, max_blocks: 0 }
}
