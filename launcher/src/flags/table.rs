//! Every flag of every program. The commands, their help, what the launcher hands to its children and the answers to
//! flags without an effect all come from here.

use super::flag::Class::{Deprecated, Met, NotYet, Refused};
use super::flag::Kind::{Bool, Choice, F32, Switch, Text, Texts, U16, U32, U64, Usize, Usizes};
use super::flag::Program::{Download, Router, Serve, Shard};
use super::flag::{Flag, Program};

/// The rows that `program` takes, in the order of its help.
pub fn of(program: Program) -> impl Iterator<Item = &'static Flag> {
    FLAGS.iter().filter(move |flag| flag.is_of(program))
}

/// The row called `name` that `program` takes.
pub fn find(program: Program, name: &str) -> Option<&'static Flag> {
    of(program).find(|flag| flag.name == name)
}

const QUANTIZE: &[&str] = &[
    "awq",
    "compressed-tensors",
    "eetq",
    "exl2",
    "gptq",
    "marlin",
    "bitsandbytes",
    "bitsandbytes-nf4",
    "bitsandbytes-fp4",
    "fp8",
];
const LOGGER_LEVELS: &[&str] = &["TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL"];

const NO_GPU: &str = "the model runs on the CPU";
const NO_REMOTE_CODE: &str = "code from a model repository is never run";
const NO_USAGE_STATS: &str = "nothing is ever sent";
const NO_CONVERSION: &str = "only safetensors and GGUF files are read";
const NO_TRACES: &str = "it names the traces of --otlp-endpoint";
const NO_HUB: &str = "models are read from local folders and files";
const NO_NGROK: &str = "`text-generation-router` was compiled without the `ngrok` feature";

const fn flag(
    name: &'static str,
    kind: super::flag::Kind,
    programs: &'static [Program],
    doc: &'static str,
) -> Flag {
    Flag::new(name, kind, programs, doc)
}

/// The table. A flag that the launcher and the router (or the shard) both take is handed on by the launcher.
pub const FLAGS: &[Flag] = &[
    // Model and precision.
    flag("model-id", Text, &[Serve], "The model: a hub id, a folder or a GGUF file")
        .default("bigscience/bloom-560m"),
    flag("model-id", Text, &[Shard, Download], "The model: a hub id, a folder or a GGUF file").positional(),
    flag("tokenizer-name", Text, &[Router], "The model whose tokenizer and configuration are used")
        .default("bigscience/bloom"),
    flag("model-name", Text, &[Router], "The model name shown to clients [default: the tokenizer name]"),
    flag("revision", Text, &[Serve, Router, Shard, Download], "Branch, tag or commit of a hub model"),
    flag("validation-workers", Usize, &[Serve, Router], "Threads that count the tokens of incoming requests")
        .default("2"),
    flag("sharded", Bool, &[Serve], "Whether to split the model over several devices [not yet: true]"),
    flag("sharded", Switch, &[Shard], "This shard is one of several").class(NotYet { unless: &["false"] }),
    flag("num-shard", Usize, &[Serve], "How many devices to split the model over [not yet: more than 1]"),
    flag("quantize", Choice(QUANTIZE), &[Serve, Shard], "The quantization of the weights")
        .class(NotYet { unless: &[] }),
    flag("speculate", Usize, &[Serve, Shard], "How many tokens to guess ahead [not yet: more than 0]")
        .class(NotYet { unless: &["0"] }),
    flag(
        "dtype",
        Choice(&["float16", "bfloat16", "float32", "auto"]),
        &[Serve, Shard],
        "The number format of the weights [default: that of the checkpoint]",
    ),
    flag(
        "kv-cache-dtype",
        Choice(&["fp8_e4m3fn", "fp8_e5m2"]),
        &[Serve, Shard],
        "The number format of the KV cache [default: follows the weights]",
    )
    .class(NotYet { unless: &[] }),
    flag(
        "trust-remote-code",
        Switch,
        &[Serve, Router, Shard, Download],
        "Accepted for compatibility: code from a model repository is never run",
    )
    .class(Met(NO_REMOTE_CODE)),
    flag("rope-scaling", Choice(&["linear", "dynamic"]), &[Serve], "How to stretch the position encoding"),
    flag("rope-factor", F32, &[Serve], "By how much to stretch the position encoding"),
    flag(
        "lora-adapters",
        Text,
        &[Serve],
        "Adapters to load, separated by commas: `id`, `id@revision`, `id=path`",
    )
    .class(NotYet { unless: &[""] }),
    flag("disable-custom-kernels", Switch, &[Serve], "Run without TGI's custom CUDA kernels")
        .class(Met(NO_GPU)),
    flag(
        "watermark-gamma",
        F32,
        &[Serve],
        "Share of the vocabulary on the watermark's green list [default: 0.5]",
    ),
    flag("watermark-delta", F32, &[Serve], "What the watermark adds to a green token's logit [default: 2.0]"),
    flag("enable-prefill-logprobs", Switch, &[Serve], "Answer the log probabilities of prompt tokens"),
    // Limits and scheduling.
    flag(
        "max-concurrent-requests",
        Usize,
        &[Serve, Router],
        "Requests in the server above which it answers 429",
    )
    .default("128"),
    flag("max-best-of", Usize, &[Serve, Router], "The largest `best_of` of a request").default("2"),
    flag("max-stop-sequences", Usize, &[Serve, Router], "The most stop sequences of a request").default("4"),
    flag("max-top-n-tokens", U32, &[Serve, Router], "The largest `top_n_tokens` of a request").default("5"),
    flag("max-input-tokens", Usize, &[Serve, Router, Shard], "The longest prompt in tokens"),
    flag("max-input-length", Usize, &[Serve], "The longest prompt in tokens")
        .class(Deprecated("--max-input-tokens")),
    flag("max-total-tokens", Usize, &[Serve, Router], "The most prompt and answer tokens of a request"),
    flag(
        "waiting-served-ratio",
        F32,
        &[Serve],
        "Waiting requests per running one above which decoding is interrupted",
    )
    .default("0.3"),
    flag(
        "waiting-served-ratio",
        F32,
        &[Router],
        "Waiting requests per running one above which decoding is interrupted",
    )
    .default("1.2"),
    flag(
        "max-batch-prefill-tokens",
        U32,
        &[Serve],
        "The most prompt tokens in one step [default: 4096, or the model's positions]",
    ),
    flag("max-batch-prefill-tokens", U32, &[Router], "The most prompt tokens in one step").default("4096"),
    flag(
        "max-batch-total-tokens",
        U32,
        &[Serve, Router],
        "Tokens in the KV cache [default: what the shard measures]",
    ),
    flag("max-waiting-tokens", Usize, &[Serve, Router], "Steps after which waiting requests are forced in")
        .default("20"),
    flag("max-batch-size", Usize, &[Serve, Router], "The most sequences in one batch"),
    flag("max-client-batch-size", Usize, &[Serve, Router], "The most prompts in one /v1/completions request")
        .default("4"),
    flag("cuda-graphs", Usizes, &[Serve], "Batch sizes to capture as CUDA graphs; 0 for none")
        .class(Met(NO_GPU)),
    flag("cuda-memory-fraction", F32, &[Serve], "Share of each GPU's memory to use")
        .default("1.0")
        .class(Met(NO_GPU)),
    flag(
        "cpu-threads",
        Usize,
        &[Serve, Shard],
        "Threads that compute [default: the cores this process may use]",
    ),
    flag(
        "cpu-kv-cache-bytes",
        U64,
        &[Serve, Shard],
        "Bytes of the KV cache on the CPU [default: a quarter of the free memory, at most 4 GiB]",
    ),
    // Network and operation.
    flag("hostname", Text, &[Serve, Router], "The address to listen on").default("0.0.0.0"),
    flag("port", U16, &[Serve, Router], "The port of the HTTP server").short('p').default("3000"),
    flag("prometheus-port", U16, &[Serve, Router], "The port of the metrics").default("9000"),
    flag("shard-uds-path", Text, &[Serve], "The shards' socket, to which `-` and the rank are added")
        .default("/tmp/text-generation-server"),
    flag("uds-path", Text, &[Shard], "The shards' socket, to which `-` and the rank are added")
        .default("/tmp/text-generation-server"),
    flag("master-shard-uds-path", Text, &[Router], "The socket of the shard with rank 0")
        .default("/tmp/text-generation-server-0"),
    flag("master-addr", Text, &[Serve], "Where several shards meet").default("localhost").class(Met(NO_GPU)),
    flag("master-port", Usize, &[Serve], "The port at which several shards meet")
        .default("29500")
        .class(Met(NO_GPU)),
    flag("huggingface-hub-cache", Text, &[Serve], "The folder of the hub cache").class(Met(NO_HUB)),
    flag("weights-cache-override", Text, &[Serve], "A folder that holds the model, whatever it is called"),
    flag("json-output", Switch, &[Serve, Router, Shard, Download], "Log one JSON object per line"),
    flag("logger-level", Choice(LOGGER_LEVELS), &[Shard, Download], "What to log").default("INFO"),
    flag("otlp-endpoint", Text, &[Serve, Router, Shard], "Where to send traces")
        .class(NotYet { unless: &[""] }),
    flag("otlp-service-name", Text, &[Serve, Router], "The name in traces")
        .default("text-generation-inference.router")
        .class(Met(NO_TRACES)),
    flag("otlp-service-name", Text, &[Shard], "The name in traces")
        .default("text-generation-inference.server")
        .class(Met(NO_TRACES)),
    flag(
        "cors-allow-origin",
        Texts,
        &[Serve, Router],
        "An origin that browsers may call from [default: any]",
    ),
    flag("api-key", Text, &[Serve, Router], "The bearer key of the protected routes").secret(),
    flag("ngrok", Switch, &[Serve, Router], "Publish the server through ngrok").class(Refused(NO_NGROK)),
    flag("ngrok-authtoken", Text, &[Serve, Router], "The ngrok token").secret(),
    flag("ngrok-edge", Text, &[Serve, Router], "The ngrok edge"),
    flag("tokenizer-config-path", Text, &[Serve, Router], "A file to read instead of tokenizer_config.json"),
    flag("disable-grammar-support", Switch, &[Serve, Router], "Refuse requests with a grammar"),
    flag("env", Switch, &[Serve], "Log the machine and the build, then go on")
        .short('e')
        .without_environment(),
    flag(
        "usage-stats",
        Choice(&["on", "off", "no-stack"]),
        &[Serve, Router],
        "Accepted: nothing is ever sent",
    )
    .default("on")
    .class(Met(NO_USAGE_STATS)),
    flag("payload-limit", Usize, &[Serve, Router], "The most bytes of a request body").default("2000000"),
    flag("max-image-fetch-size", Usize, &[Router], "The most bytes of an image that a request names")
        .default("1073741824")
        .class(Met("no image is ever fetched")),
    flag(
        "graceful-termination-timeout",
        U64,
        &[Serve],
        "Seconds that running requests get to finish when the server stops",
    )
    .short('g')
    .default("90"),
    // Download.
    flag("extension", Text, &[Download], "The kind of weight files").default(".safetensors"),
    flag("auto-convert", Switch, &[Download], "Convert other weight files").class(Met(NO_CONVERSION)),
    flag("no-auto-convert", Switch, &[Download], "Do not convert other weight files")
        .class(Met(NO_CONVERSION)),
    flag("merge-lora", Switch, &[Download], "Merge an adapter into its base model")
        .class(NotYet { unless: &["false"] }),
];
