//! What the launcher tells its children: TGI's arguments and variables, as far as our shard and router read them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::attention::Attention;
use crate::flags::Serve;
use crate::supervise::{ChildCommand, ShardCommand, THIS_PROGRAM};

/// All that the children's command lines and environments are made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Children<'a> {
    pub(super) serve: &'a Serve,
    /// The folder of the model.
    pub(super) folder: &'a Path,
    pub(super) attention: &'a Attention,
    pub(super) max_batch_prefill_tokens: u32,
}

impl Children<'_> {
    /// The command of the shard with `rank`.
    pub(super) fn shard(&self, rank: usize) -> ShardCommand {
        let command = ChildCommand {
            program: THIS_PROGRAM.into(),
            arguments: self.shard_arguments(),
            environment: self.shard_environment(rank),
        };
        ShardCommand { rank, socket: self.socket(rank), command }
    }

    /// The command of the router.
    pub(super) fn router(&self) -> ChildCommand {
        ChildCommand {
            program: THIS_PROGRAM.into(),
            arguments: self.router_arguments(),
            environment: self.router_environment(),
        }
    }

    fn socket(&self, rank: usize) -> PathBuf {
        let mut socket = self.serve.uds_prefix.clone().into_os_string();
        socket.push(format!("-{rank}"));
        socket.into()
    }

    fn shard_arguments(&self) -> Vec<OsString> {
        let mut arguments = vec![
            "shard".into(),
            self.folder.into(),
            flag("uds-path", &self.serve.uds_prefix),
            flag("logger-level", self.serve.logger_level),
            "--json-output".into(),
        ];
        arguments.extend(self.serve.shard_arguments.iter().map(OsString::from));
        arguments.extend(self.max_input_tokens());
        arguments
    }

    fn shard_environment(&self, rank: usize) -> Vec<(&'static str, OsString)> {
        let serve = self.serve;
        let mut variables = vec![
            ("RANK", rank.to_string()),
            ("WORLD_SIZE", serve.shards.to_string()),
            ("MASTER_ADDR", serve.master.0.clone()),
            ("MASTER_PORT", serve.master.1.to_string()),
            ("ATTENTION", self.attention.attention().to_owned()),
            ("PREFIX_CACHING", self.attention.prefix_caching().to_owned()),
        ];
        let mut set = |name, value: Option<String>| variables.extend(value.map(|value| (name, value)));
        set("MAX_TOTAL_TOKENS", serve.limits.max_total.map(|tokens| tokens.to_string()));
        set("MAX_BATCH_SIZE", serve.max_batch_size.map(|size| size.to_string()));
        set("REQUEST_LOGPROBS", serve.prefill_logprobs.then(|| "1".to_owned()));
        set("WATERMARK_GAMMA", serve.watermark.0.map(|gamma| gamma.to_string()));
        set("WATERMARK_DELTA", serve.watermark.1.map(|delta| delta.to_string()));
        set("ROPE_SCALING", serve.rope.as_ref().map(|rope| rope.scaling.clone()));
        set("ROPE_FACTOR", serve.rope.as_ref().map(|rope| rope.factor.to_string()));
        variables.into_iter().map(|(name, value)| (name, value.into())).collect()
    }

    fn router_arguments(&self) -> Vec<OsString> {
        let mut arguments = vec!["router".into()];
        arguments.extend(self.serve.router_arguments.iter().map(OsString::from));
        arguments.push(flag("max-batch-prefill-tokens", self.max_batch_prefill_tokens.to_string()));
        arguments.push(flag("master-shard-uds-path", self.socket(0)));
        arguments.push(flag("tokenizer-name", self.folder));
        arguments.push(flag("model-name", &self.serve.model.model_id));
        arguments.extend(self.max_input_tokens());
        arguments
    }

    fn router_environment(&self) -> Vec<(&'static str, OsString)> {
        let mut variables = vec![
            ("ATTENTION", self.attention.attention().into()),
            ("PREFIX_CACHING", self.attention.prefix_caching().into()),
        ];
        variables.extend(self.serve.api_key.as_ref().map(|key| ("API_KEY", key.into())));
        variables
    }

    fn max_input_tokens(&self) -> Option<OsString> {
        self.serve.limits.max_input.map(|tokens| flag("max-input-tokens", tokens.to_string()))
    }
}

/// `--name=value`, so that a value may begin with a dash.
fn flag(name: &str, value: impl AsRef<std::ffi::OsStr>) -> OsString {
    let mut flag = OsString::from(format!("--{name}="));
    flag.push(value);
    flag
}
