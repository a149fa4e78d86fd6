//! The log lines between a shard and its launcher: JSON with the keys `text` and `record.level.name`.

use std::fmt;

use serde::{Deserialize, Serialize};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// One line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardLine {
    /// The message with its fields.
    pub text: String,
    /// What is known of it.
    pub record: Record,
}

/// What is known of a line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// How serious it is.
    pub level: LevelName,
}

/// A level by its name.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelName {
    /// TRACE, DEBUG, INFO, SUCCESS, WARNING, ERROR or CRITICAL.
    pub name: String,
}

impl ShardLine {
    /// A line at `level`.
    pub fn new(text: String, level: Level) -> Self {
        let name = if level == Level::WARN { "WARNING" } else { level.as_str() };
        Self { text, record: Record { level: LevelName { name: name.to_owned() } } }
    }

    /// Logs the line as an event of this process. A line that is no JSON is shown at DEBUG only.
    pub fn log(line: &str) {
        let Ok(parsed) = serde_json::from_str::<Self>(line) else {
            return tracing::debug!("{line}");
        };
        let text = parsed.text.trim_end();
        match parsed.record.level.name.as_str() {
            "TRACE" => tracing::trace!("{text}"),
            "DEBUG" => tracing::debug!("{text}"),
            "WARNING" => tracing::warn!("{text}"),
            "ERROR" | "CRITICAL" => tracing::error!("{text}"),
            _ => tracing::info!("{text}"),
        }
    }
}

/// Writes events as these lines.
#[derive(Clone, Copy, Debug)]
pub struct ShardLines;

impl<S, N> FormatEvent<S, N> for ShardLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        context.field_format().format_fields(Writer::new(&mut text), event)?;
        let line = ShardLine::new(text, *event.metadata().level());
        writeln!(writer, "{}", serde_json::to_string(&line).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_keys_of_tgi() {
        let line = serde_json::to_string(&ShardLine::new("a \"b\"".into(), Level::WARN)).unwrap();
        assert_eq!(line, r#"{"text":"a \"b\"","record":{"level":{"name":"WARNING"}}}"#);
    }

    #[test]
    fn a_line_of_tgis_shard_is_understood_whatever_else_it_has() {
        let line = r#"{"text": "hello\n", "record": {"elapsed": {"seconds": 1}, "level": {"name": "INFO", "no": 20}}}"#;
        let parsed: ShardLine = serde_json::from_str(line).unwrap();
        assert_eq!(parsed, ShardLine::new("hello\n".into(), Level::INFO));
    }
}
