//! What a shard is asked to do: the arguments of `text-generation-server serve` and the environment that TGI's launcher
//! gives a shard.

use std::path::PathBuf;

use super::download::Download;
use super::environment::Environment;
use super::raw::Raw;
use crate::error::Error;

/// The watermark's green share and bonus when nothing is set.
const WATERMARK: (f32, f32) = (0.5, 2.0);

/// A shard's arguments, checked. The model is named, not yet found.
#[derive(Clone, Debug)]
pub struct Shard {
    /// The model.
    pub model: Download,
    /// The shard's configuration, but for the folder of the model.
    pub config: gristmill_shard::Config,
}

impl Shard {
    /// Checks and resolves `raw`.
    ///
    /// # Errors
    /// A value makes no sense, or asks for what this version does not have.
    pub fn resolve(raw: &Raw, environment: &Environment) -> Result<Self, Error> {
        check(raw, environment)?;
        raw.check_positive(&["cpu-threads"])?;
        raw.check_classes()?;
        let (rank, world) = place(environment)?;
        let model = Download::named(raw.need("model-id")?, raw, environment);
        Ok(Self { model, config: config(raw, environment, rank, world)? })
    }
}

fn check(raw: &Raw, environment: &Environment) -> Result<(), Error> {
    if raw.switch("sharded") {
        let needed = ["RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"];
        if let Some(name) = needed.into_iter().find(|name| environment.text(name).is_none()) {
            return Err(Error::ArgumentValidation(format!("{name} must be set when sharded is True")));
        }
    }
    let quantize: Option<String> = raw.get("quantize");
    let widens = quantize.as_deref().is_some_and(|format| !format.starts_with("bitsandbytes"));
    if widens && raw.get::<String>("dtype").is_some() {
        return Err(Error::ArgumentValidation(
            "Only 1 can be set between `dtype` and `quantize`, as they both decide how goes the final model."
                .into(),
        ));
    }
    Ok(())
}

/// This shard's rank and the number of shards.
fn place(environment: &Environment) -> Result<(usize, usize), Error> {
    let rank = environment.number("RANK")?.unwrap_or(0);
    let world = environment.number("WORLD_SIZE")?.unwrap_or(1);
    match (rank, world) {
        (0, 1) => Ok((rank, world)),
        (rank, world) if rank >= world => {
            Err(Error::ArgumentValidation(format!("RANK must be < WORLD_SIZE. Given: {rank} and {world}")))
        }
        _ => Err(Error::NotYet(format!("WORLD_SIZE={world} is not yet supported by this version"))),
    }
}

fn config(
    raw: &Raw,
    environment: &Environment,
    rank: usize,
    world: usize,
) -> Result<gristmill_shard::Config, Error> {
    let uds_prefix = PathBuf::from(raw.need::<String>("uds-path")?);
    let mut uds_path = uds_prefix.clone().into_os_string();
    uds_path.push(format!("-{rank}"));
    Ok(gristmill_shard::Config {
        model: PathBuf::new(),
        uds_path: uds_path.into(),
        uds_prefix,
        rank,
        world,
        dtype: raw.get("dtype"),
        threads: raw.get("cpu-threads").unwrap_or_else(cores),
        kv_bytes: raw.get("cpu-kv-cache-bytes"),
        max_input_tokens: raw.get("max-input-tokens"),
        max_total_tokens: environment.number("MAX_TOTAL_TOKENS")?,
        max_batch_size: environment.number("MAX_BATCH_SIZE")?,
        prefix_caching: environment.switch("PREFIX_CACHING")?.unwrap_or(true),
        prefill_chunking: environment.switch("PREFILL_CHUNKING")?.unwrap_or(true),
        prefill_logprobs: environment.switch("REQUEST_LOGPROBS")?.unwrap_or(false),
        watermark: watermark(environment)?,
        rope_override: rope(environment)?,
    })
}

/// The cores this process may use: its affinity and its cgroup's quota.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn watermark(environment: &Environment) -> Result<(f32, f32), Error> {
    let gamma = environment.finite("WATERMARK_GAMMA")?.unwrap_or(WATERMARK.0);
    let delta = environment.finite("WATERMARK_DELTA")?.unwrap_or(WATERMARK.1);
    Ok((gamma, delta))
}

fn rope(environment: &Environment) -> Result<Option<(String, f32)>, Error> {
    let factor = environment.finite("ROPE_FACTOR")?.unwrap_or(1.0);
    match environment.text("ROPE_SCALING") {
        None => Ok(None),
        Some(scaling @ ("linear" | "dynamic")) => Ok(Some((scaling.to_owned(), factor))),
        Some(other) => Err(Error::ArgumentValidation(format!(
            "environment variable ROPE_SCALING must be linear or dynamic. Given: {other}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::{Invocation, parse};

    fn shard(arguments: &[&str], environment: &Environment) -> Result<Shard, String> {
        let line: Vec<_> =
            ["text-generation-server", "serve", "model"].iter().chain(arguments).map(Into::into).collect();
        let Invocation::Run(raw) = parse(&line).unwrap() else { panic!("no program") };
        Shard::resolve(&raw, environment).map_err(|error| error.to_string())
    }

    #[test]
    fn the_environment_of_tgis_launcher_is_understood() {
        let environment = Environment::from([
            ("RANK", "0"),
            ("WORLD_SIZE", "1"),
            ("MAX_TOTAL_TOKENS", "77"),
            ("MAX_BATCH_SIZE", "5"),
            ("PREFIX_CACHING", "0"),
            ("PREFILL_CHUNKING", "false"),
            ("REQUEST_LOGPROBS", "1"),
            ("WATERMARK_GAMMA", "0.25"),
            ("ROPE_SCALING", "dynamic"),
            ("ROPE_FACTOR", "2"),
        ]);
        let config = shard(&["--uds-path=/s", "--max-input-tokens=9", "--cpu-threads=3"], &environment)
            .unwrap()
            .config;
        assert_eq!(config.uds_path, PathBuf::from("/s-0"));
        assert_eq!(config.uds_prefix, PathBuf::from("/s"));
        assert_eq!((config.max_input_tokens, config.max_total_tokens), (Some(9), Some(77)));
        assert_eq!((config.max_batch_size, config.threads), (Some(5), 3));
        assert_eq!(
            (config.prefix_caching, config.prefill_chunking, config.prefill_logprobs),
            (false, false, true)
        );
        assert_eq!(config.watermark, (0.25, 2.0));
        assert_eq!(config.rope_override, Some(("dynamic".to_owned(), 2.0)));
    }

    #[test]
    fn a_bare_environment_means_one_shard_with_everything_on() {
        let config = shard(&[], &Environment::default()).unwrap().config;
        assert_eq!(config.uds_path, PathBuf::from("/tmp/text-generation-server-0"));
        assert_eq!((config.rank, config.world), (0, 1));
        assert_eq!(
            (config.prefix_caching, config.prefill_chunking, config.prefill_logprobs),
            (true, true, false)
        );
        assert_eq!(config.watermark, (0.5, 2.0));
        assert_eq!(config.rope_override, None);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let two = Environment::from([("RANK", "1"), ("WORLD_SIZE", "2")]);
        let beyond = Environment::from([("RANK", "2"), ("WORLD_SIZE", "2")]);
        let none = Environment::default();
        for (arguments, environment, expected) in [
            (&[][..], &two, "WORLD_SIZE=2 is not yet supported by this version"),
            (&[], &beyond, "Invalid argument: RANK must be < WORLD_SIZE. Given: 2 and 2"),
            (&["--sharded"], &none, "Invalid argument: RANK must be set when sharded is True"),
            (&["--quantize=awq"], &none, "--quantize awq is not yet supported by this version"),
            (
                &["--quantize=awq", "--dtype=float16"],
                &none,
                "Invalid argument: Only 1 can be set between `dtype` and `quantize`, as they both decide how goes the \
                 final model.",
            ),
        ] {
            assert_eq!(shard(arguments, environment).unwrap_err(), expected);
        }
    }
}
