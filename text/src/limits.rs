//! Every limit on text from outside: what it counts, its value, and what reaching it costs.
//!
//! Model files and templates come from the network, so each of them is bounded before it is used.

/// Bytes of `tokenizer.json`. The largest in use have about 35 MB. Loading costs some 11 times the file in memory
/// for a moment, half of it for good, and about one second for each 20 MB.
pub const MAX_TOKENIZER_BYTES: u64 = 128 << 20;

/// Entries of `added_tokens` in `tokenizer.json`. Models in use have up to a few thousand. Every encoded text
/// is searched for all of them by one automaton, whose memory grows with this number.
pub const MAX_ADDED_TOKENS: usize = 65_536;

/// Bytes of one added token's text. Bounds the automaton together with [`MAX_ADDED_TOKENS`].
pub const MAX_ADDED_TOKEN_BYTES: usize = 4096;

/// Highest token id that a `tokenizer.json` may name. Vocabularies in use end below 300,000.
pub const MAX_TOKEN_ID: u32 = (1 << 24) - 1;

/// Bytes of `tokenizer_config.json`, `processor_config.json`, `chat_template.json`. The largest in use have
/// about 2 MB, nearly all of it `added_tokens_decoder`. Parsing costs a few milliseconds per MB.
pub const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// Bytes of one chat template. Templates in use have up to 50 KB. Compiling takes up to 40 ms at this size.
pub const MAX_TEMPLATE_BYTES: u64 = 256 << 10;

/// Bytes of one tag in a template, text in quotes not counted. Tags in use have a few hundred. Each may be
/// one more level of nesting, which costs the compiler up to 2 KB of stack.
pub const MAX_TAG_BYTES: usize = 4096;

/// Times that a template may say `elif`. Templates in use do so some 20 times. Each is one more level of
/// nesting.
pub const MAX_ELIFS: usize = 1000;

/// Bytes of stack of the thread that compiles or renders a template. Only what is used takes memory.
pub const TEMPLATE_STACK_BYTES: usize = 64 << 20;

/// Units of work that one rendering may do whatever the request: the engine takes one per instruction and per
/// 64 bytes of text it makes. A short chat takes 100 to 1,000, so this is ample. To spend it all takes about 2 ms
/// as a rule, 0.5 s at worst (reading the longest values it can make again and again), and at most 4 MB.
///
/// The engine does not count what it takes to compare, join, sort or concatenate (`~`) lists that hold the same list
/// many times over, so a template that is made for it can still burn time there. Templates come with the
/// model, never with a request.
pub const TEMPLATE_FUEL: u64 = 20_000;

/// Further units of work for each JSON value in the request's messages, tools and arguments: a chat may have
/// thousands of short messages, and templates take up to 25 units for each of their values.
pub const TEMPLATE_FUEL_PER_VALUE: u64 = 100;

/// Bytes of text in the request for which it gets one further unit of work. Templates copy a text some 5
/// times, thus take one for 10 bytes.
pub const TEMPLATE_BYTES_PER_FUEL: u64 = 2;

/// Bytes that a rendering may write whatever the request. Templates write at most a few KB of their own.
pub const TEMPLATE_OUTPUT_BYTES: usize = 64 << 10;

/// Further bytes that a rendering may write for each byte of the request: a template may show a tool list
/// twice, indented.
pub const TEMPLATE_OUTPUT_PER_BYTE: usize = 4;

/// Levels of lists and dicts within each other that the filter `tojson` writes. Each costs some 500 bytes of
/// stack.
pub const MAX_JSON_DEPTH: usize = 128;

/// Bytes of output that a shard keeps at least to look for stop strings in; more if a stop string is longer. TGI
/// keeps 200 to 300 characters and misses longer ones.
pub const STOP_TAIL_BYTES: usize = 300;
