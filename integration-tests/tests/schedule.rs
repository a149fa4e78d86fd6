//! The router's engine against mock shards on the real wire: streams, batches, failures, cancellation, health.

use std::sync::Arc;

use futures::future::join_all;
use gristmill_integration_tests::mock_shard::vocabulary::{EOS, continuation, logprob, texts};
use gristmill_integration_tests::mock_shard::{Call, Message, MockShards, Options, Rpc};
use gristmill_proto::v3::{Batch, input_chunk};
use gristmill_router::backend::{Backend, Events};
use gristmill_router::error::BackendError;
use gristmill_router::event::{EVENTS_PER_STREAM, Finish, FinishReason, GenerationError, StreamEvent};
use gristmill_router::request::{Chooser, Stopping, ValidRequest};
use gristmill_router::{Config, Error};

fn config(shards: &MockShards) -> Config {
    Config {
        hostname: "127.0.0.1".to_owned(),
        port: 0,
        prometheus_port: 0,
        master_shard_uds_path: shards.master(),
        model_id: "mock".to_owned(),
        tokenizer_folder: "unused".into(),
        tokenizer_config_path: None,
        revision: None,
        api_key: None,
        cors_allow_origin: Vec::new(),
        payload_limit: 2_000_000,
        max_concurrent_requests: 128,
        max_best_of: 2,
        max_stop_sequences: 4,
        max_top_n_tokens: 5,
        max_input_tokens: None,
        max_total_tokens: None,
        waiting_served_ratio: 0.3,
        max_batch_prefill_tokens: 256,
        max_batch_total_tokens: None,
        max_waiting_tokens: 20,
        max_batch_size: None,
        validation_workers: 1,
        max_client_batch_size: 4,
        disable_grammar_support: false,
        docker_label: None,
        compute_type: "gpu+optimized".to_owned(),
    }
}

fn prompt(first: u32, len: u32) -> Vec<u32> {
    (first..first + len).collect()
}

fn request(prompt: &[u32], max_new_tokens: u32) -> ValidRequest {
    ValidRequest {
        inputs: texts(prompt).into(),
        ids: prompt.into(),
        truncate: 4095,
        add_special_tokens: true,
        prefill_logprobs: false,
        top_n_tokens: 0,
        chooser: Chooser {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            typical_p: 1.0,
            do_sample: false,
            seed: 7,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            watermark: false,
        },
        stopping: Stopping { max_new_tokens, stop_sequences: Vec::new(), ignore_eos_token: false },
    }
}

async fn start(options: Options) -> (MockShards, Backend) {
    // A shard that takes whole prompts needs a budget for the longest.
    let max_input_tokens = if options.chunking { None } else { Some(200) };
    let shards = MockShards::start(options);
    let config = Config { max_input_tokens, ..config(&shards) };
    let backend = Backend::start(&config).await.unwrap();
    (shards, backend)
}

/// A whole stream: its ids and how it ended.
async fn read(mut events: Events) -> (Vec<u32>, Result<Finish, GenerationError>) {
    let mut ids = Vec::new();
    loop {
        match events.next().await.expect("a stream says how it ends") {
            Ok(StreamEvent::Prefill(_)) => {}
            Ok(StreamEvent::Token { token, finish, .. }) => {
                ids.push(token.id);
                if let Some(finish) = finish {
                    assert_eq!(events.next().await, None);
                    return (ids, Ok(finish));
                }
            }
            Err(error) => {
                assert_eq!(events.next().await, None);
                return (ids, Err(error));
            }
        }
    }
}

async fn assert_served(backend: &Backend, prompt: &[u32], max_new: u32) {
    let (ids, end) = read(backend.submit(request(prompt, max_new))).await;
    assert_served_as(prompt, max_new, &ids, &end);
}

fn assert_served_as(prompt: &[u32], max_new: u32, ids: &[u32], end: &Result<Finish, GenerationError>) {
    let expected = continuation(prompt, max_new as usize, 0);
    assert_eq!(ids, expected);
    let finish = end.as_ref().unwrap();
    assert_eq!(finish.text, texts(&expected));
    assert_eq!((finish.generated_tokens, finish.reason), (max_new, FinishReason::Length));
}

fn count(calls: &[Call], rpc: Rpc) -> usize {
    calls.iter().filter(|call| call.rpc() == rpc).count()
}

fn prefilled(calls: &[Call]) -> Vec<Batch> {
    let batch = |call: &Call| match &call.message {
        Message::Prefill(request) => request.batch.clone(),
        _ => None,
    };
    calls.iter().filter_map(batch).collect()
}

fn every_kind() -> [Options; 6] {
    let kind = |ours, chunking, world| Options { ours, chunking, world, ..Options::default() };
    [
        kind(true, true, 1),
        kind(true, false, 1),
        kind(false, true, 1),
        kind(false, false, 1),
        kind(true, true, 2),
        kind(false, true, 3),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn start_calls_in_tgi_order_with_the_largest_prefill() {
    let (shards, backend) = start(Options { world: 2, ..Options::default() }).await;
    let calls = shards.calls();
    let rpcs: Vec<Rpc> = calls.iter().map(Call::rpc).collect();
    let [clear, info, warmup] = [Rpc::ClearCache, Rpc::Info, Rpc::Warmup];
    assert_eq!(rpcs, [Rpc::ServiceDiscovery, clear, clear, info, info, warmup, warmup]);
    assert_eq!(calls[1].message, Message::ClearCache(None));
    let Message::Warmup(warmup) = &calls[5].message else { panic!("{calls:?}") };
    assert_eq!(
        (warmup.max_input_tokens, warmup.max_total_tokens, warmup.max_prefill_tokens),
        (None, None, 256)
    );
    let batch = warmup.batch.clone().unwrap();
    assert_eq!((batch.id, batch.size, batch.max_tokens, batch.max_blocks), (0, 1, 0, 0));
    let request = &batch.requests[0];
    assert!(request.inputs.starts_with("_test _test ") && request.inputs.ends_with("QmCC)"));
    let chunks = &request.input_chunks.as_ref().unwrap().chunks;
    assert_eq!(chunks[0].chunk, Some(input_chunk::Chunk::Text("_test ".repeat(256))));
    let Some(input_chunk::Chunk::Image(image)) = &chunks[1].chunk else { panic!("{chunks:?}") };
    assert_eq!(image.mimetype, "image/jpeg;base64");
    assert_eq!((request.truncate, request.prefill_logprobs, request.top_n_tokens), (256, true, 20));
    assert_eq!(request.stopping_parameters.as_ref().unwrap().max_new_tokens, 1);
    let limits = backend.limits();
    // The second shard has less memory, and block 0 is not for requests.
    assert_eq!(limits.max_batch_total_tokens, 257 * 16 - 1);
    assert_eq!((limits.max_input_tokens, limits.max_total_tokens), (4095, 4096));
}

#[tokio::test(flavor = "multi_thread")]
async fn warmup_fills_the_budget_with_the_longest_prompts() {
    let shards = MockShards::start(Options::default());
    let config = Config { max_input_tokens: Some(100), max_total_tokens: Some(150), ..config(&shards) };
    let backend = Backend::start(&config).await.unwrap();
    let warmups = |call: Call| match call.message {
        Message::Warmup(warmup) => warmup.batch,
        _ => None,
    };
    let batch = shards.calls().into_iter().find_map(warmups).unwrap();
    let shape = |request: &gristmill_proto::v3::Request| {
        (request.truncate, request.stopping_parameters.as_ref().unwrap().max_new_tokens)
    };
    assert_eq!(batch.requests.iter().map(shape).collect::<Vec<_>>(), [(100, 50), (100, 50), (56, 94)]);
    assert_eq!(batch.requests[1].input_chunks.as_ref().unwrap().chunks.len(), 1, "one picture is enough");
    assert_eq!((backend.limits().max_input_tokens, backend.limits().max_total_tokens), (100, 150));
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_that_do_not_go_together_are_refused() {
    let refused = async |options: Options, change: fn(&mut Config)| {
        let shards = MockShards::start(options);
        let mut config = config(&shards);
        change(&mut config);
        Backend::start(&config).await.err().unwrap().to_string()
    };
    let whole = || Options { chunking: false, ..Options::default() };
    let small = || Options { blocks: 10, max_total_tokens: 100, ..Options::default() };
    let cases = [
        (
            refused(Options::default(), |c| (c.max_input_tokens, c.max_total_tokens) = (Some(9), Some(9)))
                .await,
            "Argument validation error: `max_input_tokens` must be < `max_total_tokens`",
        ),
        (
            refused(whole(), |c| c.max_input_tokens = Some(300)).await,
            "Argument validation error: `max_batch_prefill_tokens` must be >= `max_input_tokens`. \
             Given: 256 and 300",
        ),
        (
            refused(small(), |_| ()).await,
            "Argument validation error: `max_batch_prefill_tokens` must be <= `max_batch_total_tokens`. \
             Given: 256 and 160",
        ),
        (
            refused(small(), |c| c.max_total_tokens = Some(161)).await,
            "Backend failed: Not enough memory to handle `max_total_tokens=161`",
        ),
        (
            // 160 tokens are counted, but a block of them is reserved.
            refused(small(), |c| c.max_total_tokens = Some(146)).await,
            "Backend failed: Not enough memory to handle `max_total_tokens=146`",
        ),
        (
            refused(Options { stubborn: Some((10, 20)), ..Options::default() }, |c| {
                c.max_input_tokens = Some(11);
            })
            .await,
            "Backend failed: Unable to warmup the Python model shards: Server error: `max_input_tokens` was set \
             to 11, but the shard answered 10",
        ),
        (
            refused(Options::default(), |c| c.max_batch_size = Some(0)).await,
            "Argument validation error: `max_batch_size` must be > 0",
        ),
    ];
    for (refusal, expected) in cases {
        assert_eq!(refusal, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_does_not_measure_its_memory_gets_the_flag_or_16000() {
    let options = Options { ours: false, measured: false, ..Options::default() };
    let (_shards, backend) = start(options.clone()).await;
    assert_eq!(backend.limits().max_batch_total_tokens, 16_000);
    let shards = MockShards::start(options);
    let config = Config { max_batch_total_tokens: Some(5_000), ..config(&shards) };
    assert_eq!(Backend::start(&config).await.unwrap().limits().max_batch_total_tokens, 5_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn start_failures_name_the_step() {
    let failed = async |rpc| {
        let shards = MockShards::start(Options { world: 2, ..Options::default() });
        shards.fail_next_on(1, rpc, "boom");
        Backend::start(&config(&shards)).await.err().unwrap().to_string()
    };
    let prefix = "Backend failed: Unable to";
    let cleared = failed(Rpc::ClearCache).await;
    assert_eq!(cleared, format!("{prefix} clear the Python model shards cache: Server error: boom"));
    assert_eq!(
        failed(Rpc::Info).await,
        format!("{prefix} get the Python model shards info: Server error: boom")
    );
    assert_eq!(
        failed(Rpc::Warmup).await,
        format!("{prefix} warmup the Python model shards: Server error: boom")
    );

    let shards = MockShards::start(Options::default());
    let absent = Config { master_shard_uds_path: shards.master().with_file_name("none"), ..config(&shards) };
    let error = Backend::start(&absent).await.err().unwrap();
    assert!(matches!(error, Error::Backend(BackendError::Connection(_))));
    let start = "Backend failed: Unable to connect to the Python model shards: Could not connect to Text Generation server: ";
    assert!(error.to_string().starts_with(start), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_shard_serves_many_at_once() {
    for options in every_kind() {
        let (_shards, backend) = start(options).await;
        let requests = (0..40_u32).map(|index| (prompt(10 + index, 1 + index * 7 % 90), 1 + index * 5 % 60));
        join_all(requests.map(|(prompt, max_new)| {
            let backend = backend.clone();
            async move { assert_served(&backend, &prompt, max_new).await }
        }))
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_request_runs_in_rounds_and_is_one_stream() {
    for options in every_kind().into_iter().filter(|options| options.world == 1) {
        let (shards, backend) = start(options.clone()).await;
        assert_served(&backend, &prompt(100, 20), 1100).await;
        let rounds: Vec<u32> = prefilled(&shards.calls())
            .iter()
            .map(|batch| batch.requests[0].stopping_parameters.as_ref().unwrap().max_new_tokens)
            .collect();
        // Where a round could not be prefilled in one go, there is only one.
        assert_eq!(rounds, if options.chunking { vec![1024, 76] } else { vec![1100] });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_prompts_come_in_chunks_while_others_decode() {
    let (shards, backend) = start(Options::default()).await;
    shards.hold(Rpc::Decode);
    let short = tokio::spawn(read(backend.submit(request(&prompt(10, 5), 30))));
    shards.wait_for(|calls| count(calls, Rpc::Decode) == 1).await;
    let long = tokio::spawn(read(backend.submit(request(&prompt(500, 1000), 10))));
    shards.pass(Rpc::Decode, 1);
    shards.wait_for(|calls| count(calls, Rpc::Prefill) == 2).await;
    shards.open(Rpc::Decode);
    let (ids, end) = short.await.unwrap();
    assert_served_as(&prompt(10, 5), 30, &ids, &end);
    let (ids, end) = long.await.unwrap();
    assert_served_as(&prompt(500, 1000), 10, &ids, &end);
    let chunk = prefilled(&shards.calls())[1].requests[0].chunk_len;
    assert_eq!(chunk, Some(256), "the budget less one running row, in whole blocks");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_carry_what_was_asked_for() {
    let (_shards, backend) = start(Options { eos_every: 20, ..Options::default() }).await;
    let prompt = prompt(30, 3);
    let mut asked = request(&prompt, 500);
    asked.prefill_logprobs = true;
    asked.top_n_tokens = 2;
    asked.chooser.do_sample = true;
    let mut events = backend.submit(asked);
    let Some(Ok(StreamEvent::Prefill(prefill))) = events.next().await else {
        panic!("the prompt comes first")
    };
    let given: Vec<_> = prefill.iter().map(|token| (token.id, token.logprob)).collect();
    assert_eq!(given, [(30, None), (31, Some(logprob(31))), (32, Some(logprob(32)))]);
    let expected = continuation(&prompt, 500, 20);
    for (index, id) in expected.iter().enumerate() {
        let Some(Ok(StreamEvent::Token { token, top, finish })) = events.next().await else {
            panic!("{index}")
        };
        assert_eq!((token.id, token.special, token.logprob), (*id, *id == EOS, logprob(*id)));
        assert_eq!(top.iter().map(|token| token.id).collect::<Vec<_>>(), [*id, id + 1]);
        let Some(finish) = finish else { continue };
        assert_eq!(index + 1, expected.len());
        assert_eq!((finish.reason, finish.seed), (FinishReason::EosToken, Some(7)));
        assert_eq!(finish.text, texts(&expected[..index]), "the end token is not part of the text");
    }
    assert_eq!(events.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_sequence_ends_a_stream() {
    let (_shards, backend) = start(Options::default()).await;
    let prompt = prompt(30, 3);
    let expected = continuation(&prompt, 10, 0);
    let mut asked = request(&prompt, 500);
    asked.stopping.stop_sequences = vec![texts(&expected[8..])];
    let (ids, end) = read(backend.submit(asked)).await;
    assert_eq!((ids, end.unwrap().reason), (expected, FinishReason::StopSequence));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_step_ends_its_requests_and_the_next_ones_are_served() {
    for options in every_kind() {
        for rpc in [Rpc::Prefill, Rpc::Decode] {
            let (shards, backend) = start(options.clone()).await;
            shards.hold(Rpc::Decode);
            let first = tokio::spawn(read(backend.submit(request(&prompt(10, 5), 30))));
            shards.wait_for(|calls| count(calls, Rpc::Decode) > 0).await;
            let second = tokio::spawn(read(backend.submit(request(&prompt(50, 5), 30))));
            shards.fail_next(rpc, "boom");
            shards.open(Rpc::Decode);
            let failure = Err(GenerationError::Shard("Server error: boom".to_owned()));
            let (first, second) = (first.await.unwrap(), second.await.unwrap());
            // A prefill without chunking concerns only the new request.
            let spared = rpc == Rpc::Prefill && !options.chunking;
            assert_eq!(first.1 == failure, !spared, "{rpc:?} {options:?}");
            assert!(second.1 == failure || rpc == Rpc::Decode, "{rpc:?} {options:?}");
            assert_served(&backend, &prompt(10, 5), 30).await;
            assert!(backend.healthy().await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_filter_ends_its_batch() {
    let (shards, backend) = start(Options { ours: false, ..Options::default() }).await;
    shards.fail_next(Rpc::FilterBatch, "boom");
    shards.hold(Rpc::Prefill);
    let short = tokio::spawn(read(backend.submit(request(&prompt(10, 5), 3))));
    shards.wait_for(|calls| count(calls, Rpc::Prefill) == 1).await;
    let long = tokio::spawn(read(backend.submit(request(&prompt(50, 5), 300))));
    shards.open(Rpc::Prefill);
    assert!(short.await.unwrap().1.is_ok());
    assert_eq!(long.await.unwrap().1, Err(GenerationError::Shard("Server error: boom".to_owned())));
    assert_served(&backend, &prompt(10, 5), 30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failing_rank_fails_the_step_of_all() {
    let (shards, backend) = start(Options { world: 2, ..Options::default() }).await;
    shards.fail_next_on(0, Rpc::Decode, "boom");
    let (_, end) = read(backend.submit(request(&prompt(10, 5), 30))).await;
    assert_eq!(end, Err(GenerationError::Shard("Server error: boom".to_owned())));
    assert_served(&backend, &prompt(10, 5), 30).await;
}

/// Where a request is when its client leaves.
#[derive(Clone, Copy, Debug)]
enum State {
    Queued,
    Starting,
    Running,
}

async fn cancel_in(state: State, options: Options) {
    let world = options.world as usize;
    let (shards, backend) = start(options).await;
    shards.hold(Rpc::Prefill);
    shards.hold(Rpc::Decode);
    let witness = tokio::spawn(read(backend.submit(request(&prompt(10, 5), 40))));
    shards.wait_for(|calls| count(calls, Rpc::Prefill) == world).await;
    let doomed = backend.submit(request(&prompt(300, 4), 1000));
    if !matches!(state, State::Queued) {
        shards.pass(Rpc::Prefill, 1);
        shards.wait_for(|calls| count(calls, Rpc::Prefill) == 2 * world).await;
    }
    if matches!(state, State::Running) {
        shards.pass(Rpc::Prefill, 1);
        shards.wait_for(|calls| count(calls, Rpc::Decode) == world).await;
    }
    drop(doomed);
    shards.open(Rpc::Prefill);
    shards.open(Rpc::Decode);
    let (ids, end) = witness.await.unwrap();
    assert_served_as(&prompt(10, 5), 40, &ids, &end);
    assert_served(&backend, &prompt(900, 60), 30).await;
    let steps = steps_with(&shards.calls(), &prompt(300, 4)) / world;
    let expected = match state {
        State::Queued => 0,
        State::Starting => 1,
        State::Running => 2,
    };
    assert_eq!(steps, expected, "steps of a request cancelled while {state:?}");
}

/// Steps, on any rank, with the request of this prompt.
fn steps_with(calls: &[Call], prompt: &[u32]) -> usize {
    let batches = prefilled(calls);
    let asked = batches.iter().flat_map(|batch| &batch.requests).find(|asked| asked.inputs == texts(prompt));
    let Some(id) = asked.map(|asked| asked.id) else { return 0 };
    let steps = calls.iter().filter(|call| match &call.message {
        Message::Prefill(step) => {
            let new = step.batch.iter().flat_map(|batch| &batch.requests).any(|asked| asked.id == id);
            new || step.cached_batch.iter().any(|batch| batch.request_ids.contains(&id))
        }
        Message::Decode(step) => step.batches.iter().any(|batch| batch.request_ids.contains(&id)),
        _ => false,
    });
    steps.count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_request_leaves_at_the_next_step_and_the_others_go_on() {
    for options in every_kind() {
        for state in [State::Queued, State::Starting, State::Running] {
            cancel_in(state, options.clone()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_cancelled_between_two_chunks_is_not_computed_further() {
    let (shards, backend) = start(Options::default()).await;
    shards.hold(Rpc::Decode);
    let doomed = backend.submit(request(&prompt(300, 1500), 10));
    shards.pass(Rpc::Decode, 2);
    shards.wait_for(|calls| count(calls, Rpc::Decode) == 3).await;
    drop(doomed);
    shards.open(Rpc::Decode);
    shards.wait_for(|calls| count(calls, Rpc::ClearCache) == 2).await;
    assert_served(&backend, &prompt(900, 60), 1).await;
    assert_eq!(count(&shards.calls(), Rpc::Decode), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_request_never_reaches_the_shards_from_the_queue() {
    let (shards, backend) = start(Options { blocks: 20, max_total_tokens: 300, ..Options::default() }).await;
    shards.hold(Rpc::Decode);
    let all_of_it = backend.submit(request(&prompt(10, 100), 200));
    shards.wait_for(|calls| count(calls, Rpc::Decode) == 1).await;
    let doomed = backend.submit(request(&prompt(500, 100), 200));
    drop(doomed);
    let next = tokio::spawn(read(backend.submit(request(&prompt(700, 50), 10))));
    shards.open(Rpc::Decode);
    assert!(read(all_of_it).await.1.is_ok());
    let (ids, end) = next.await.unwrap();
    assert_served_as(&prompt(700, 50), 10, &ids, &end);
    assert_eq!(steps_with(&shards.calls(), &prompt(500, 100)), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_does_not_keep_up_is_cut_off_and_the_others_go_on() {
    let (_shards, backend) = start(Options::default()).await;
    let mut slow = backend.submit(request(&prompt(10, 5), 1000));
    assert_served(&backend, &prompt(300, 5), 400).await;
    let mut received = 0;
    while let Some(event) = slow.next().await {
        received += 1;
        if let Err(error) = event {
            assert_eq!(error, GenerationError::Incomplete);
        }
    }
    assert_eq!(received, EVENTS_PER_STREAM + 1);
    assert_served(&backend, &prompt(300, 5), 30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_asks_the_devices_while_all_is_well() {
    let (shards, backend) = start(Options { world: 2, ..Options::default() }).await;
    let answers = join_all((0..20).map(|_| backend.healthy())).await;
    assert!(answers.into_iter().all(|healthy| healthy));
    let calls = shards.calls();
    assert_eq!((count(&calls, Rpc::Health), count(&calls, Rpc::Prefill)), (2, 0), "one probe serves all");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_needs_a_real_prefill_after_a_failure() {
    let (shards, backend) = start(Options::default()).await;
    shards.fail_next(Rpc::Health, "no device");
    assert!(!backend.healthy().await);
    assert!(backend.healthy().await);
    let probe = prefilled(&shards.calls()).remove(0);
    let request = &probe.requests[0];
    assert_eq!((probe.id, request.id, &request.inputs[..]), (u64::MAX, u64::MAX, "liveness"));
    assert_eq!((probe.size, probe.max_tokens, probe.max_blocks), (1, 2, 1));
    assert_eq!((&request.blocks[..], &request.slots[..]), (&[0][..], &[0][..]));
    assert!(!request.add_special_tokens && request.truncate == 1);

    shards.fail_next(Rpc::Decode, "boom");
    assert!(read(backend.submit(request_of_five())).await.1.is_err());
    shards.fail_next(Rpc::Prefill, "still broken");
    assert!(!backend.healthy().await);
    // A step that succeeds is as good as a probe.
    assert!(read(backend.submit(request_of_five())).await.1.is_ok());
    let before = count(&shards.calls(), Rpc::Prefill);
    assert!(backend.healthy().await);
    assert_eq!(count(&shards.calls(), Rpc::Prefill), before);
}

fn request_of_five() -> ValidRequest {
    request(&prompt(10, 5), 5)
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_answered_while_a_shard_computes() {
    let (shards, backend) = start(Options { ours: false, ..Options::default() }).await;
    shards.hold(Rpc::Decode);
    // As in a shard that does one thing at a time.
    shards.hold(Rpc::Health);
    let running = tokio::spawn(read(backend.submit(request_of_five())));
    shards.wait_for(|calls| count(calls, Rpc::Decode) == 1).await;
    assert!(backend.healthy().await);
    shards.open(Rpc::Decode);
    shards.open(Rpc::Health);
    assert!(running.await.unwrap().1.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_probe_waits_its_turn() {
    let (shards, backend) = start(Options::default()).await;
    shards.fail_next(Rpc::Health, "no device");
    assert!(!backend.healthy().await);
    shards.hold(Rpc::Decode);
    let running = tokio::spawn(read(backend.submit(request_of_five())));
    shards.wait_for(|calls| count(calls, Rpc::Decode) == 1).await;
    // The prefill before made it healthy again; make it ill once more, with a step out.
    shards.fail_next(Rpc::Health, "no device");
    assert!(!backend.healthy().await);
    let backend = Arc::new(backend);
    let asking = tokio::spawn({
        let backend = backend.clone();
        async move { backend.healthy().await }
    });
    shards.open(Rpc::Decode);
    assert!(asking.await.unwrap());
    assert!(running.await.unwrap().1.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_shards_fail_everything_at_once() {
    let (mut shards, backend) = start(Options::default()).await;
    shards.hold(Rpc::Decode);
    let running = tokio::spawn(read(backend.submit(request_of_five())));
    shards.wait_for(|calls| count(calls, Rpc::Decode) == 1).await;
    shards.die();
    assert!(matches!(running.await.unwrap().1, Err(GenerationError::Shard(_))));
    assert!(!backend.healthy().await);
    assert!(matches!(read(backend.submit(request_of_five())).await.1, Err(GenerationError::Shard(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_ends_every_stream_and_refuses_new_ones() {
    let (shards, backend) = start(Options::default()).await;
    shards.hold(Rpc::Decode);
    let running = tokio::spawn(read(backend.submit(request_of_five())));
    shards.wait_for(|calls| count(calls, Rpc::Decode) == 1).await;
    backend.stop().await;
    assert_eq!(running.await.unwrap().1, Err(GenerationError::Incomplete));
    assert_eq!(read(backend.submit(request_of_five())).await.1, Err(GenerationError::Incomplete));
    assert!(!backend.healthy().await || count(&shards.calls(), Rpc::Health) == 1);
    backend.stop().await;
}
