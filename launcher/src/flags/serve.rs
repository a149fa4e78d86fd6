//! What the launcher is asked to do.

use std::path::PathBuf;
use std::time::Duration;

use super::download::Download;
use super::environment::Environment;
use super::flag::Program;
use super::raw::Raw;
use crate::error::Error;
use crate::logging::level::logger_level;

/// The launcher's flags, checked. What its children take as well is already in the form they take.
#[derive(Clone, Debug)]
pub struct Serve {
    /// The model to find.
    pub model: Download,
    /// How many shards to start.
    pub shards: usize,
    /// The limits on prompts and answers.
    pub limits: TokenLimits,
    /// Set by the user, else chosen from the model's configuration.
    pub max_batch_prefill_tokens: Option<u32>,
    /// The most sequences in one batch.
    pub max_batch_size: Option<usize>,
    /// `ATTENTION`, when the user chose it.
    pub attention: Option<String>,
    /// `PREFIX_CACHING`, when the user chose it.
    pub prefix_caching: Option<String>,
    /// True when adapters are asked for.
    pub adapters: bool,
    /// How to stretch the position encoding.
    pub rope: Option<Rope>,
    /// The watermark's green share and bonus.
    pub watermark: (Option<f32>, Option<f32>),
    /// Answer the log probabilities of prompt tokens.
    pub prefill_logprobs: bool,
    /// The shards' socket without its rank.
    pub uds_prefix: PathBuf,
    /// Where several shards meet.
    pub master: (String, usize),
    /// How long running requests get when the server stops.
    pub grace: Duration,
    /// The bearer key.
    pub api_key: Option<String>,
    /// What the shard logs: its `--logger-level`.
    pub logger_level: &'static str,
    /// Flags that the router takes as they are.
    pub router_arguments: Vec<String>,
    /// Flags that the shard takes as they are.
    pub shard_arguments: Vec<String>,
}

/// The limits of one request, in tokens, and of the KV cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenLimits {
    /// The longest prompt.
    pub max_input: Option<usize>,
    /// The longest prompt and answer together.
    pub max_total: Option<usize>,
    /// The tokens in the KV cache.
    pub max_batch_total: Option<u32>,
}

/// A stretch of the position encoding.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// `linear` or `dynamic`.
    pub scaling: String,
    /// By how much.
    pub factor: f32,
}

/// What `ATTENTION` may be.
const ATTENTIONS: &[&str] = &["flashinfer", "flashdecoding", "flashdecoding-ipex", "paged"];

/// The launcher's flags that its children also take, but with values the launcher computes.
const COMPUTED: &[&str] = &["max-input-tokens", "max-batch-prefill-tokens", "json-output", "sharded"];

impl Serve {
    /// Checks `raw` in TGI's order and resolves it.
    ///
    /// # Errors
    /// The flags contradict each other, or ask for what this version does not have.
    pub fn resolve(raw: &Raw, environment: &Environment) -> Result<Self, Error> {
        let shards = shards(raw.get("sharded"), raw.get("num-shard"), || devices(environment))?;
        if raw.get::<String>("quantize").as_deref() == Some("exl2") && shards > 1 {
            return Err(argument("Sharding is currently not supported with `exl2` quantization"));
        }
        let limits = limits(raw)?;
        check(raw, limits)?;
        raw.check_classes()?;
        if shards > 1 {
            return Err(Error::NotYet(format!("--num-shard {shards} is not yet supported by this version")));
        }
        Self::unchecked(raw, environment, shards, limits)
    }

    fn unchecked(
        raw: &Raw,
        environment: &Environment,
        shards: usize,
        limits: TokenLimits,
    ) -> Result<Self, Error> {
        Ok(Self {
            model: Download::of_launcher(raw, environment)?,
            shards,
            limits,
            max_batch_prefill_tokens: raw.get("max-batch-prefill-tokens"),
            max_batch_size: raw.get("max-batch-size"),
            attention: attention(environment)?,
            prefix_caching: prefix_caching(environment)?,
            adapters: raw.get::<String>("lora-adapters").is_some_and(|list| !list.is_empty()),
            rope: rope(raw.get("rope-scaling"), raw.get("rope-factor")),
            watermark: (raw.get("watermark-gamma"), raw.get("watermark-delta")),
            prefill_logprobs: raw.switch("enable-prefill-logprobs"),
            uds_prefix: raw.need::<String>("shard-uds-path")?.into(),
            master: (raw.need("master-addr")?, raw.need("master-port")?),
            grace: Duration::from_secs(raw.need("graceful-termination-timeout")?),
            api_key: raw.get("api-key"),
            logger_level: logger_level(environment.text("LOG_LEVEL")),
            router_arguments: raw.shared_with(Program::Router, &COMPUTED[..2]),
            shard_arguments: raw.shared_with(Program::Shard, COMPUTED),
        })
    }
}

fn argument(text: impl Into<String>) -> Error {
    Error::ArgumentValidation(text.into())
}

/// How many shards to start. Without either flag it is one: this version computes on the CPU, so it counts no devices.
fn shards(
    sharded: Option<bool>,
    num_shard: Option<usize>,
    devices: impl FnOnce() -> Option<usize>,
) -> Result<usize, Error> {
    let shards = match (sharded, num_shard) {
        (Some(true), None) => all_devices(devices())?,
        (Some(true), Some(0 | 1)) => return Err(argument("`sharded` is true but `num_shard` <= 1")),
        (Some(false), _) | (None, None) => 1,
        (Some(true) | None, Some(count)) => count,
    };
    if shards < 1 {
        return Err(argument("`num_shard` cannot be < 1"));
    }
    Ok(shards)
}

fn all_devices(devices: Option<usize>) -> Result<usize, Error> {
    match devices {
        Some(count) if count > 1 => Ok(count),
        Some(count) => {
            Err(Error::NotEnoughCUDADevices(format!("`sharded` is true but only found {count} CUDA devices")))
        }
        None => Err(argument(
            "--num-shard and CUDA_VISIBLE_DEVICES/NVIDIA_VISIBLE_DEVICES/ZE_AFFINITY_MASK are not set",
        )),
    }
}

/// The devices that the environment lists. `all` and `void` list none: counting them is left to the version that uses
/// them.
fn devices(environment: &Environment) -> Option<usize> {
    let list = ["CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"]
        .iter()
        .find_map(|name| environment.text(name))
        .filter(|list| !matches!(*list, "all" | "void"))?;
    Some(list.split(',').count())
}

fn limits(raw: &Raw) -> Result<TokenLimits, Error> {
    let max_input = match (raw.get::<usize>("max-input-tokens"), raw.get::<usize>("max-input-length")) {
        (Some(tokens), Some(length)) => {
            return Err(argument(format!(
                "Both `max_input_tokens` ({tokens}) and `max_input_length` ({length}) are set. Please define only \
                 `max_input_tokens` as `max_input_length is deprecated for naming consistency."
            )));
        }
        (tokens, length) => tokens.or(length),
    };
    let max_total = raw.get("max-total-tokens");
    Ok(TokenLimits { max_input, max_total, max_batch_total: raw.get("max-batch-total-tokens") })
}

fn check(raw: &Raw, limits: TokenLimits) -> Result<(), Error> {
    if let (Some(input), Some(total)) = (limits.max_input, limits.max_total)
        && input >= total
    {
        return Err(argument(format!("`max_input_tokens`({input}) must be < `max_total_tokens`({total})")));
    }
    raw.check_positive(&["validation-workers", "max-batch-size", "cpu-threads"])?;
    if let (Some(total), Some(batch)) = (limits.max_total, limits.max_batch_total)
        && total as u64 > u64::from(batch)
    {
        return Err(argument(format!(
            "`max_total_tokens` must be <= `max_batch_total_tokens`. Given: {total} and {batch}"
        )));
    }
    check_ngrok(raw)?;
    raw.get::<String>("lora-adapters").map_or(Ok(()), |list| check_adapters(&list))
}

fn check_ngrok(raw: &Raw) -> Result<(), Error> {
    let missing =
        ["ngrok-authtoken", "ngrok-edge"].into_iter().find(|name| raw.get::<String>(name).is_none());
    match missing {
        Some(name) if raw.switch("ngrok") => {
            Err(argument(format!("`{name}` must be set when using ngrok tunneling")))
        }
        _ => Ok(()),
    }
}

fn check_adapters(list: &str) -> Result<(), Error> {
    for entry in list.split(',').map(str::trim).filter(|_| !list.is_empty()) {
        if entry.matches('@').count() > 1 {
            return Err(argument(format!("Invalid LoRA adapter format: {entry}")));
        }
        if entry.split(['@', '=']).next().is_none_or(str::is_empty) {
            return Err(argument("Missing adapter id"));
        }
    }
    Ok(())
}

fn attention(environment: &Environment) -> Result<Option<String>, Error> {
    match environment.first(&["ATTENTION"]) {
        Some(name) if !ATTENTIONS.contains(&name) => Err(argument(format!(
            "environment variable ATTENTION must be one of {}. Given: {name}",
            ATTENTIONS.join(", ")
        ))),
        name => Ok(name.map(str::to_owned)),
    }
}

fn prefix_caching(environment: &Environment) -> Result<Option<String>, Error> {
    environment.switch("PREFIX_CACHING")?;
    Ok(environment.text("PREFIX_CACHING").map(str::to_owned))
}

fn rope(scaling: Option<String>, factor: Option<f32>) -> Option<Rope> {
    match (scaling, factor) {
        (None, None) => None,
        (scaling, factor) => Some(Rope {
            scaling: scaling.unwrap_or_else(|| "linear".to_owned()),
            factor: factor.unwrap_or(1.0),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::{Invocation, parse};

    fn serve(arguments: &[&str], environment: &Environment) -> Result<Serve, String> {
        let line: Vec<_> = ["text-generation-launcher"].iter().chain(arguments).map(Into::into).collect();
        match parse(&line).unwrap() {
            Invocation::Run(raw) => Serve::resolve(&raw, environment).map_err(|error| format!("{error:?}")),
            Invocation::NotYet(name) => Err(name.to_owned()),
        }
    }

    #[test]
    fn shard_count_follows_the_table_of_tgi() {
        let none = "ArgumentValidation(\"--num-shard and CUDA_VISIBLE_DEVICES/NVIDIA_VISIBLE_DEVICES/\
                    ZE_AFFINITY_MASK are not set\")";
        let few = "NotEnoughCUDADevices(\"`sharded` is true but only found 1 CUDA devices\")";
        let low = "ArgumentValidation(\"`sharded` is true but `num_shard` <= 1\")";
        let zero = "ArgumentValidation(\"`num_shard` cannot be < 1\")";
        for (sharded, num_shard, devices, expected) in [
            (Some(true), None, None, Err(none)),
            (Some(true), None, Some(1), Err(few)),
            (Some(true), None, Some(4), Ok(4)),
            (Some(true), Some(1), Some(4), Err(low)),
            (Some(true), Some(2), None, Ok(2)),
            (Some(false), Some(3), Some(4), Ok(1)),
            (Some(false), Some(0), None, Ok(1)),
            (None, None, Some(4), Ok(1)),
            (None, None, None, Ok(1)),
            (None, Some(0), None, Err(zero)),
            (None, Some(3), None, Ok(3)),
        ] {
            let actual = shards(sharded, num_shard, || devices).map_err(|error| format!("{error:?}"));
            let case = format!("{sharded:?} {num_shard:?} {devices:?}");
            assert_eq!(actual, expected.map_err(str::to_owned), "{case}");
        }
    }

    #[test]
    fn devices_are_counted_in_the_first_list() {
        let both = Environment::from([("NVIDIA_VISIBLE_DEVICES", "0,1,2"), ("CUDA_VISIBLE_DEVICES", "0,1")]);
        assert_eq!(devices(&both), Some(2));
        assert_eq!(devices(&Environment::from([("NVIDIA_VISIBLE_DEVICES", "0,1,2")])), Some(3));
        assert_eq!(devices(&Environment::from([("NVIDIA_VISIBLE_DEVICES", "all")])), None);
        assert_eq!(devices(&Environment::default()), None);
    }

    #[test]
    fn children_get_what_both_take() {
        let serve = serve(
            &[
                "--port=8080",
                "--dtype=float32",
                "--cors-allow-origin=a",
                "--cors-allow-origin=b",
                "--api-key=k",
            ],
            &Environment::default(),
        )
        .unwrap();
        for argument in
            ["--port=8080", "--cors-allow-origin=a", "--cors-allow-origin=b", "--waiting-served-ratio=0.3"]
        {
            assert!(serve.router_arguments.iter().any(|given| given == argument), "{argument}");
        }
        assert!(serve.router_arguments.iter().all(|given| !given.contains("api-key")));
        assert!(serve.shard_arguments.contains(&"--dtype=float32".to_owned()));
        assert!(serve.shard_arguments.iter().all(|given| !given.contains("port")));
        assert_eq!(serve.api_key.as_deref(), Some("k"));
    }

    #[test]
    fn rope_flags_complete_each_other() {
        let stretch = |scaling: &str, factor| Some(Rope { scaling: scaling.to_owned(), factor });
        assert_eq!(rope(None, None), None);
        assert_eq!(rope(Some("dynamic".into()), None), stretch("dynamic", 1.0));
        assert_eq!(rope(None, Some(2.0)), stretch("linear", 2.0));
        assert_eq!(rope(Some("dynamic".into()), Some(2.0)), stretch("dynamic", 2.0));
    }

    #[test]
    fn attention_and_prefix_caching_are_checked_before_the_model_is_looked_for() {
        let chosen = Environment::from([("ATTENTION", "paged"), ("PREFIX_CACHING", "False")]);
        let resolved = serve(&[], &chosen).unwrap();
        assert_eq!(resolved.attention.as_deref(), Some("paged"));
        assert_eq!(resolved.prefix_caching.as_deref(), Some("False"));
        for (name, text) in [
            (
                "ATTENTION",
                "ATTENTION must be one of flashinfer, flashdecoding, flashdecoding-ipex, paged. Given: v4",
            ),
            ("PREFIX_CACHING", "PREFIX_CACHING must be one of 1, true, 0, false. Given: v4"),
        ] {
            let refused = serve(&[], &Environment::from([(name, "v4")])).unwrap_err();
            assert_eq!(refused, format!("ArgumentValidation(\"environment variable {text}\")"));
        }
    }

    #[test]
    fn the_old_name_of_the_input_limit_still_counts() {
        let serve = serve(&["--max-input-length=12"], &Environment::default()).unwrap();
        assert_eq!(serve.limits.max_input, Some(12));
    }
}
