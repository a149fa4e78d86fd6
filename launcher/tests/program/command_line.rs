//! The command line: names, exit codes and texts.

use super::caller::{Caller, accepted, refused};

#[test]
fn help_and_version_end_well() {
    for line in [
        &["gristmill", "--help"][..],
        &["gristmill", "--version"],
        &["gristmill", "serve", "--help"],
        &["gristmill", "router", "--help"],
        &["gristmill", "shard", "--help"],
        &["gristmill", "download", "--help"],
        &["text-generation-launcher", "--help"],
        &["text-generation-launcher", "--version"],
        &["text-generation-router", "--help"],
        &["text-generation-server", "--help"],
        &["text-generation-server", "serve", "--help"],
        &["text-generation-server", "download-weights", "--help"],
    ] {
        let answer = Caller::named(line[0]).call(&line[1..]);
        assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "{line:?}");
        assert!(!answer.stdout.is_empty(), "{line:?}");
    }
}

#[test]
fn names_select_programs() {
    for (line, word) in [
        (&["gristmill", "serve", "--help"][..], "--graceful-termination-timeout"),
        (&["text-generation-launcher", "--help"], "--graceful-termination-timeout"),
        (&["text-generation-router", "--help"], "--master-shard-uds-path"),
        (&["gristmill", "router", "--help"], "--master-shard-uds-path"),
        (&["text-generation-server", "serve", "--help"], "--uds-path"),
        (&["gristmill", "shard", "--help"], "--uds-path"),
        (&["text-generation-server", "download-weights", "--help"], "--extension"),
        (&["text-generation-server", "--help"], "download-weights"),
        (&["text-generation-launcher", "--version"], "text-generation-launcher "),
        (&["any-other-name", "--version"], "gristmill "),
    ] {
        let answer = Caller::named(line[0]).call(&line[1..]);
        assert!(answer.stdout.contains(word), "{line:?}: {}", answer.stdout);
    }
}

#[test]
fn a_line_that_does_not_parse_is_code_2_with_help_on_standard_error() {
    for line in [
        &["gristmill"][..],
        &["gristmill", "plan"],
        &["text-generation-launcher", "--no-such-flag"],
        &["text-generation-launcher", "surplus"],
        &["text-generation-launcher", "--port", "65536"],
        &["text-generation-launcher", "--port", "-1"],
        &["text-generation-launcher", "--quantize", "int3"],
        &["text-generation-launcher", "--dtype", "float64"],
        &["text-generation-launcher", "--sharded"],
        &["text-generation-launcher", "--sharded", "yes"],
        &["text-generation-launcher", "--waiting-served-ratio", "nan"],
        &["text-generation-launcher", "--cuda-graphs", "1,two"],
        &["text-generation-launcher", "--json-output=true"],
        &["text-generation-launcher", "--rope-scaling", "yarn"],
        &["text-generation-router", "--no-such-flag"],
        &["text-generation-server", "serve"],
        &["text-generation-server", "serve", "model", "--rank=0"],
        &["text-generation-server", "download-weights"],
    ] {
        let answer = Caller::named(line[0]).call(&line[1..]);
        assert_eq!((answer.code, answer.stdout.as_str()), (2, ""), "{line:?}: {}", answer.stderr);
        assert!(answer.stderr.contains("--help"), "{line:?}: {}", answer.stderr);
    }
}

#[test]
fn every_flag_of_tgis_launcher_is_known() {
    for arguments in [
        "--model-id M --revision r --validation-workers 1 --sharded false --num-shard 1 --speculate 0 --dtype bfloat16",
        "--trust-remote-code --rope-scaling linear --rope-factor 2 --disable-custom-kernels --watermark-gamma 0.5",
        "--watermark-delta -1.5 --enable-prefill-logprobs --max-concurrent-requests 1 --max-best-of 1",
        "--max-stop-sequences 1 --max-top-n-tokens 1 --max-input-tokens 1 --max-total-tokens 2",
        "--max-input-length 1 --waiting-served-ratio 0.5 --max-batch-prefill-tokens 1 --max-batch-total-tokens 9",
        "--max-waiting-tokens 1 --max-batch-size 1 --max-client-batch-size 1 --cuda-graphs 1,2,4",
        "--cuda-memory-fraction 0.5 --hostname localhost --port 1 --prometheus-port 1 --shard-uds-path /tmp/x",
        "--master-addr localhost --master-port 1 --huggingface-hub-cache /x --weights-cache-override /x --json-output",
        "--otlp-service-name x --cors-allow-origin a --cors-allow-origin b --api-key x --ngrok-authtoken x",
        "--ngrok-edge x --tokenizer-config-path /x --disable-grammar-support --env --usage-stats no-stack",
        "--payload-limit 1 --graceful-termination-timeout 1 --dtype auto --dtype float32",
        "--cpu-threads 1 --cpu-kv-cache-bytes 1048576",
    ] {
        for one in arguments.trim_start_matches("--").split(" --") {
            accepted(&format!("--{one}").split(' ').collect::<Vec<_>>());
        }
    }
    accepted(&["-e", "-g", "1", "-p", "1"]);
}

#[test]
fn contradictions_are_refused_in_tgis_words() {
    for (arguments, text) in [
        ("--quantize exl2 --num-shard 2", "Sharding is currently not supported with `exl2` quantization"),
        (
            "--max-input-tokens 7 --max-input-length 8",
            "Both `max_input_tokens` (7) and `max_input_length` (8) are set. Please define only `max_input_tokens` as \
             `max_input_length is deprecated for naming consistency.",
        ),
        (
            "--max-input-tokens 8 --max-total-tokens 8",
            "`max_input_tokens`(8) must be < `max_total_tokens`(8)",
        ),
        (
            "--max-input-length 9 --max-total-tokens 8",
            "`max_input_tokens`(9) must be < `max_total_tokens`(8)",
        ),
        ("--validation-workers 0", "`validation_workers` must be > 0"),
        ("--max-batch-size 0", "`max_batch_size` must be > 0"),
        (
            "--max-total-tokens 10 --max-batch-total-tokens 9",
            "`max_total_tokens` must be <= `max_batch_total_tokens`. Given: 10 and 9",
        ),
        ("--ngrok", "`ngrok-authtoken` must be set when using ngrok tunneling"),
        ("--ngrok --ngrok-authtoken x", "`ngrok-edge` must be set when using ngrok tunneling"),
        ("--lora-adapters a@b@c", "Invalid LoRA adapter format: a@b@c"),
        ("--lora-adapters a,,b", "Missing adapter id"),
        ("--sharded true --num-shard 1", "`sharded` is true but `num_shard` <= 1"),
        ("--num-shard 0", "`num_shard` cannot be < 1"),
        (
            "--sharded true",
            "--num-shard and CUDA_VISIBLE_DEVICES/NVIDIA_VISIBLE_DEVICES/ZE_AFFINITY_MASK are not set",
        ),
    ] {
        refused(arguments, &format!("ArgumentValidation({text:?})"));
    }
}

#[test]
fn too_few_devices_have_a_variant_of_their_own() {
    let answer = Caller::launcher().with("CUDA_VISIBLE_DEVICES", "0").call(&["--sharded", "true"]);
    let text = "Error: NotEnoughCUDADevices(\"`sharded` is true but only found 1 CUDA devices\")\n";
    assert_eq!((answer.code, answer.stderr.as_str()), (1, text));
}

#[test]
fn what_a_later_version_brings_is_named() {
    for (arguments, flag) in [
        ("--quantize awq", "--quantize awq"),
        ("--quantize bitsandbytes-nf4", "--quantize bitsandbytes-nf4"),
        ("--num-shard 2", "--num-shard 2"),
        ("--sharded true --num-shard 4", "--num-shard 4"),
        ("--speculate 3", "--speculate 3"),
        ("--kv-cache-dtype fp8_e5m2", "--kv-cache-dtype fp8_e5m2"),
        ("--lora-adapters a,b=/c", "--lora-adapters a,b=/c"),
        ("--otlp-endpoint http://x", "--otlp-endpoint http://x"),
    ] {
        refused(arguments, &format!("NotYet(\"{flag} is not yet supported by this version\")"));
    }
    for (line, name) in [
        (&["text-generation-server", "quantize", "a", "b", "--percdamp", "0.1"][..], "quantize"),
        (&["text-generation-router", "print-schema"], "print-schema"),
        (&["text-generation-server", "download-weights", "m", "--merge-lora"], "--merge-lora"),
        (&["text-generation-server", "serve", "m", "--quantize", "gptq"], "--quantize gptq"),
    ] {
        let answer = Caller::named(line[0]).call(&line[1..]);
        let text = format!("Error: NotYet(\"{name} is not yet supported by this version\")\n");
        assert_eq!((answer.code, answer.stderr), (1, text), "{line:?}");
    }
}

#[test]
fn ngrok_is_refused_in_tgis_words() {
    let text = "Refused(\"`text-generation-router` was compiled without the `ngrok` feature\")";
    refused("--ngrok --ngrok-authtoken x --ngrok-edge y", text);
}

#[test]
fn the_router_checks_its_own_flags() {
    for (arguments, text) in [
        (&["--validation-workers", "0"], "`validation_workers` must be > 0"),
        (&["--max-batch-size", "0"], "`max_batch_size` must be > 0"),
    ] {
        let answer = Caller::named("text-generation-router").call(arguments);
        assert_eq!((answer.code, answer.stderr), (1, format!("Error: ArgumentValidation(\"{text}\")\n")));
    }
}

#[test]
fn flags_without_effect_say_so_once() {
    for (arguments, line) in [
        (
            "--trust-remote-code",
            "`--trust-remote-code` has no effect: code from a model repository is never run",
        ),
        ("--cuda-graphs 0", "`--cuda-graphs` has no effect: the model runs on the CPU"),
        ("--usage-stats off", "`--usage-stats` has no effect: nothing is ever sent"),
        ("--max-input-length 5", "`--max-input-length` is deprecated: use `--max-input-tokens`"),
    ] {
        let answer = Caller::launcher().call(&arguments.split(' ').collect::<Vec<_>>());
        assert_eq!(answer.stdout.matches(line).count(), 1, "{arguments}: {}", answer.stdout);
    }
    let plain = Caller::launcher().call(&[]);
    assert!(!plain.stdout.contains("has no effect"), "{}", plain.stdout);
}
