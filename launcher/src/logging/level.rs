//! Levels: TGI's `LOG_LEVEL` as a filter, and the level names of its shards.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// What `LOG_LEVEL` lets through: a bare level counts for the crates of this project, anything else is a filter of its
/// own, in which TGI's crate names mean ours.
pub fn filter(log_level: Option<&str>) -> EnvFilter {
    EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse_lossy(directives(log_level))
}

fn directives(log_level: Option<&str>) -> String {
    match log_level.unwrap_or("info") {
        level @ ("info" | "warn" | "debug" | "error" | "trace") => format!("gristmill={level}"),
        other => other.replace("text_generation_", "gristmill_"),
    }
}

/// The `--logger-level` of a shard under `LOG_LEVEL`: its bare level, in capitals.
pub fn logger_level(log_level: Option<&str>) -> &'static str {
    let bare = log_level.unwrap_or_default().split(',').find(|part| !part.contains('='));
    match bare.map(str::trim).unwrap_or_default().to_lowercase().as_str() {
        "trace" => "TRACE",
        "debug" => "DEBUG",
        "warn" => "WARNING",
        "error" => "ERROR",
        _ => "INFO",
    }
}

/// The level of tracing that a `--logger-level` means.
pub fn tracing_name(logger_level: &str) -> &'static str {
    match logger_level.to_uppercase().as_str() {
        "TRACE" => "trace",
        "DEBUG" => "debug",
        "WARN" | "WARNING" => "warn",
        "ERROR" | "CRITICAL" => "error",
        _ => "info",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_level_is_for_this_project_only() {
        assert_eq!(directives(None), "gristmill=info");
        assert_eq!(directives(Some("debug")), "gristmill=debug");
        assert_eq!(directives(Some("info,text_generation_router=debug")), "info,gristmill_router=debug");
    }

    #[test]
    fn the_shard_gets_the_bare_level() {
        assert_eq!(logger_level(None), "INFO");
        assert_eq!(logger_level(Some("info,text_generation_router=debug")), "INFO");
        assert_eq!(logger_level(Some("text_generation_router=debug,warn")), "WARNING");
        assert_eq!(logger_level(Some("debug")), "DEBUG");
    }
}
