//! Everything a router and a shard need to know about text: tokens and back, stop strings, chat templates.
//!
//! | File | Noun |
//! |---|---|
//! | `tokenizer.rs` | [`Tokenizer`]: a folder's `tokenizer.json`, with the BOS handling of `tokenizer_config.json` |
//! | `detokenizer.rs` | [`Detokenizer`]: one row's tokens to text, never half a character |
//! | `stop.rs` | [`StopStrings`] ends a row on the shard as TGI does, [`StopCutter`] cuts a stream as OpenAI does |
//! | `template.rs` | [`ChatTemplate`]: messages to a prompt, rendered as transformers renders |
//! | `contained.rs` | panics of the libraries that read all this |
//! | `limits.rs` | the bounds on all of these |
//!
//! All files are data from outside: what is too large, too deep or too slow ends in a [`TextError`] that
//! names the file.
#![forbid(unsafe_code)]

mod config;
pub mod contained;
pub mod detokenizer;
pub mod error;
pub mod limits;
pub mod stop;
pub mod template;
pub mod tokenizer;

pub use detokenizer::Detokenizer;
pub use error::TextError;
pub use stop::{Cut, StopCutter, StopStrings};
pub use template::{ChatTemplate, TemplateContext};
pub use tokenizer::{Encoding, Tokenizer};
