//! Which model to find, and where to look for it.

use std::path::PathBuf;

use super::environment::Environment;
use super::raw::Raw;
use crate::error::Error;

/// A model by name, and the places it may be in.
#[derive(Clone, Debug)]
pub struct Download {
    /// Hub id, folder or GGUF file, as the user wrote it.
    pub model_id: String,
    /// Branch, tag or commit of a hub model.
    pub revision: Option<String>,
    /// The folder of the hub cache, when one is known.
    pub hub_cache: Option<PathBuf>,
    /// A folder that holds the model whatever it is called.
    pub weights_override: Option<PathBuf>,
    /// The folder that keeps converted GGUF files, when one is known.
    pub gguf_cache: Option<PathBuf>,
}

impl Download {
    /// Resolves the arguments of the download program.
    ///
    /// # Errors
    /// A flag asks for what this version does not have.
    pub fn resolve(raw: &Raw, environment: &Environment) -> Result<Self, Error> {
        raw.check_classes()?;
        Ok(Self::named(raw.need("model-id")?, raw, environment))
    }

    /// The model the launcher serves: its flags beat the environment.
    pub(super) fn of_launcher(raw: &Raw, environment: &Environment) -> Result<Self, Error> {
        let named = Self::named(raw.need("model-id")?, raw, environment);
        let folder = |name| raw.get::<String>(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        Ok(Self {
            hub_cache: folder("huggingface-hub-cache").or(named.hub_cache),
            weights_override: folder("weights-cache-override").or(named.weights_override),
            ..named
        })
    }

    /// The model `model_id`, looked for where the environment says.
    pub(super) fn named(model_id: String, raw: &Raw, environment: &Environment) -> Self {
        Self {
            model_id,
            revision: raw.get("revision"),
            hub_cache: hub_cache(environment),
            weights_override: environment.first(&["WEIGHTS_CACHE_OVERRIDE"]).map(PathBuf::from),
            gguf_cache: gguf_cache(environment),
        }
    }
}

/// The hub cache by huggingface_hub's rules: its own variables, else below `HF_HOME`, else below the home folder.
fn hub_cache(environment: &Environment) -> Option<PathBuf> {
    environment
        .first(&["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"])
        .map(PathBuf::from)
        .or_else(|| below(environment, "HF_HOME", "hub"))
        .or_else(|| below(environment, "HOME", ".cache/huggingface/hub"))
}

/// Beside the hub's files, where a container has its volume; else in the user's cache.
fn gguf_cache(environment: &Environment) -> Option<PathBuf> {
    below(environment, "HF_HOME", "gristmill/gguf")
        .or_else(|| below(environment, "XDG_CACHE_HOME", "gristmill/gguf"))
        .or_else(|| below(environment, "HOME", ".cache/gristmill/gguf"))
}

fn below(environment: &Environment, name: &str, rest: &str) -> Option<PathBuf> {
    environment.first(&[name]).map(|root| PathBuf::from(root).join(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: (&str, &str) = ("HOME", "/home/me");

    #[test]
    fn the_hub_cache_is_the_first_place_that_is_named() {
        for (environment, expected) in [
            (Environment::from([HOME]), Some("/home/me/.cache/huggingface/hub")),
            (Environment::from([HOME, ("HF_HOME", "/data")]), Some("/data/hub")),
            (Environment::from([("HF_HOME", "/data"), ("HUGGINGFACE_HUB_CACHE", "/h")]), Some("/h")),
            (Environment::from([("HF_HUB_CACHE", "/n"), ("HUGGINGFACE_HUB_CACHE", "/h")]), Some("/n")),
            (Environment::default(), None),
        ] {
            assert_eq!(hub_cache(&environment), expected.map(PathBuf::from));
        }
    }

    #[test]
    fn converted_files_go_to_the_first_place_that_is_named() {
        let (cache, data) = (("XDG_CACHE_HOME", "/cache"), ("HF_HOME", "/data"));
        for (environment, expected) in [
            (Environment::from([HOME]), Some("/home/me/.cache/gristmill/gguf")),
            (Environment::from([HOME, cache]), Some("/cache/gristmill/gguf")),
            (Environment::from([HOME, cache, data]), Some("/data/gristmill/gguf")),
            (Environment::default(), None),
        ] {
            assert_eq!(gguf_cache(&environment), expected.map(PathBuf::from));
        }
    }
}
