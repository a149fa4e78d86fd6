//! What the router is asked to do.

use std::path::PathBuf;

use super::download::Download;
use super::environment::Environment;
use super::raw::Raw;
use crate::error::Error;

/// The router's flags, checked. The model is named, not yet found.
#[derive(Clone, Debug)]
pub struct Router {
    /// The model whose tokenizer and configuration are read.
    pub model: Download,
    /// The router's configuration, but for the folder of the tokenizer.
    pub config: gristmill_router::Config,
}

impl Router {
    /// Checks and resolves `raw`.
    ///
    /// # Errors
    /// A value makes no sense, or asks for what this version does not have.
    pub fn resolve(raw: &Raw, environment: &Environment) -> Result<Self, Error> {
        raw.check_positive(&["validation-workers", "max-batch-size"])?;
        raw.check_classes()?;
        let tokenizer: String = raw.need("tokenizer-name")?;
        let config = config(raw, environment, &tokenizer)?;
        Ok(Self { model: Download::named(tokenizer, raw, environment), config })
    }
}

fn config(raw: &Raw, environment: &Environment, tokenizer: &str) -> Result<gristmill_router::Config, Error> {
    Ok(gristmill_router::Config {
        hostname: raw.need("hostname")?,
        port: port(raw, environment)?,
        prometheus_port: raw.need("prometheus-port")?,
        master_shard_uds_path: raw.need::<String>("master-shard-uds-path")?.into(),
        model_id: raw.get("model-name").unwrap_or_else(|| tokenizer.to_owned()),
        tokenizer_folder: PathBuf::new(),
        tokenizer_config_path: raw.get::<String>("tokenizer-config-path").map(PathBuf::from),
        revision: raw.get("revision"),
        api_key: raw.get("api-key"),
        cors_allow_origin: raw.texts("cors-allow-origin"),
        payload_limit: raw.need("payload-limit")?,
        max_concurrent_requests: raw.need("max-concurrent-requests")?,
        max_best_of: raw.need("max-best-of")?,
        max_stop_sequences: raw.need("max-stop-sequences")?,
        max_top_n_tokens: raw.need("max-top-n-tokens")?,
        max_input_tokens: raw.get("max-input-tokens"),
        max_total_tokens: raw.get("max-total-tokens"),
        waiting_served_ratio: raw.need("waiting-served-ratio")?,
        max_batch_prefill_tokens: raw.need("max-batch-prefill-tokens")?,
        max_batch_total_tokens: raw.get("max-batch-total-tokens"),
        max_waiting_tokens: raw.need("max-waiting-tokens")?,
        max_batch_size: raw.get("max-batch-size"),
        validation_workers: raw.need("validation-workers")?,
        max_client_batch_size: raw.need("max-client-batch-size")?,
        disable_grammar_support: raw.switch("disable-grammar-support"),
        docker_label: crate::runtime_env::docker_label().map(str::to_owned),
        compute_type: environment.text("COMPUTE_TYPE").unwrap_or("cpu").to_owned(),
    })
}

/// Vertex AI's port beats the flag.
fn port(raw: &Raw, environment: &Environment) -> Result<u16, Error> {
    match environment.number("AIP_HTTP_PORT")? {
        Some(port) => Ok(port),
        None => raw.need("port"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::{Invocation, parse};

    fn router(arguments: &[&str], environment: &Environment) -> Router {
        let line: Vec<_> = ["text-generation-router"].iter().chain(arguments).map(Into::into).collect();
        let Invocation::Run(raw) = parse(&line).unwrap() else { panic!("no program") };
        Router::resolve(&raw, environment).unwrap()
    }

    #[test]
    fn defaults_are_those_of_tgis_router() {
        let Router { model, config } = router(&[], &Environment::default());
        assert_eq!(
            (model.model_id.as_str(), config.model_id.as_str()),
            ("bigscience/bloom", "bigscience/bloom")
        );
        assert_eq!((config.hostname.as_str(), config.port, config.prometheus_port), ("0.0.0.0", 3000, 9000));
        assert_eq!(config.master_shard_uds_path, PathBuf::from("/tmp/text-generation-server-0"));
        assert_eq!((config.waiting_served_ratio, config.max_waiting_tokens), (1.2, 20));
        assert_eq!((config.max_batch_prefill_tokens, config.max_batch_total_tokens), (4096, None));
        assert_eq!((config.max_concurrent_requests, config.validation_workers), (128, 2));
        assert_eq!((config.max_best_of, config.max_stop_sequences, config.max_top_n_tokens), (2, 4, 5));
        assert_eq!((config.max_client_batch_size, config.payload_limit), (4, 2_000_000));
        assert_eq!(config.compute_type, "cpu");
        assert!(config.cors_allow_origin.is_empty() && !config.disable_grammar_support);
    }

    #[test]
    fn the_name_shown_is_not_the_folder_read() {
        let line = ["--tokenizer-name=/models/x", "--model-name=org/x", "--cors-allow-origin=a"];
        let Router { model, config } = router(&line, &Environment::from([("COMPUTE_TYPE", "1-cpu")]));
        assert_eq!((model.model_id.as_str(), config.model_id.as_str()), ("/models/x", "org/x"));
        assert_eq!(
            (config.cors_allow_origin, config.compute_type),
            (vec!["a".to_owned()], "1-cpu".to_owned())
        );
    }

    #[test]
    fn the_port_of_vertex_ai_beats_the_flag() {
        let config = router(&["--port=80"], &Environment::from([("AIP_HTTP_PORT", "8000")])).config;
        assert_eq!(config.port, 8000);
    }
}
