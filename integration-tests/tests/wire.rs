//! The token wire, driven by a client that knows only the messages and the orders of calls.

use std::collections::BTreeMap;

use gristmill_integration_tests::demo;
use gristmill_integration_tests::shard::{Client, Shard, batch, request};
use gristmill_proto::v3::*;
use gristmill_text::Tokenizer;

/// What was generated for one request: ids, log-probability bits and texts, and the end.
#[derive(Clone, Debug, Default, PartialEq)]
struct Said {
    tokens: Vec<(u32, u32, String)>,
    end: Option<(String, u32, i32)>,
}

impl Said {
    fn hear(&mut self, generation: Generation) {
        assert!(self.end.is_none(), "request {} goes on after its end", generation.request_id);
        let tokens = generation.tokens.unwrap();
        for ((id, logprob), text) in tokens.ids.into_iter().zip(tokens.logprobs).zip(tokens.texts) {
            self.tokens.push((id, logprob.to_bits(), text));
        }
        self.end = generation.generated_text.map(|end| (end.text, end.generated_tokens, end.finish_reason));
    }
}

async fn start() -> (Shard, Client) {
    let mut shard = Shard::start(&demo::data("tiny/llama-tied-bf16"), &[("REQUEST_LOGPROBS", "1")]);
    let client = shard.client().await;
    (shard, client)
}

async fn prefill(client: &mut Client, batch: Batch, cached: Option<CachedBatch>) -> PrefillResponse {
    client.prefill(PrefillRequest { batch: Some(batch), cached_batch: cached }).await.unwrap().into_inner()
}

async fn decode(client: &mut Client, batches: Vec<CachedBatch>) -> DecodeResponse {
    client.decode(DecodeRequest { batches }).await.unwrap().into_inner()
}

/// One request from its prompt to its end, alone.
async fn alone(client: &mut Client, request: Request) -> Said {
    let mut said = Said::default();
    let answer = prefill(client, batch(1, vec![request]), None).await;
    answer.generations.into_iter().for_each(|generation| said.hear(generation));
    let mut next = answer.batch;
    while let Some(cached) = next {
        let answer = decode(client, vec![cached]).await;
        answer.generations.into_iter().for_each(|generation| said.hear(generation));
        next = answer.batch;
    }
    assert!(said.end.is_some());
    said
}

#[tokio::test]
async fn facts_are_what_a_router_accepts() {
    let (shard, mut client) = start().await;
    let info = client.info(InfoRequest {}).await.unwrap().into_inner();
    assert_eq!(
        (info.requires_padding, info.dtype.as_str(), info.device_type.as_str()),
        (false, "torch.bfloat16", "cpu")
    );
    assert_eq!((info.window_size, info.speculate, info.support_chunking), (None, 0, true));
    assert_eq!(
        (info.attention_impl.as_str(), info.block_size, info.use_prefix_caching),
        ("flashdecoding", 16, true)
    );
    let urls = client.service_discovery(ServiceDiscoveryRequest {}).await.unwrap().into_inner().urls;
    assert_eq!(urls, [format!("unix://{}", shard.socket().display())]);
    client.health(HealthRequest {}).await.unwrap();
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(shard.socket()).unwrap());
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn warmup_of_a_foreign_router_reports_limits() {
    let (_shard, mut client) = start().await;
    client.clear_cache(ClearCacheRequest { id: None }).await.unwrap();
    let mut first = request(0, &"_test ".repeat(100), 10);
    first.truncate = 64;
    first.prefill_logprobs = true;
    first.top_n_tokens = 20;
    first.parameters = Some(NextTokenChooserParameters {
        temperature: 0.9,
        top_k: 10,
        top_p: 0.9,
        typical_p: 0.9,
        repetition_penalty: 1.2,
        frequency_penalty: 0.1,
        watermark: true,
        ..Default::default()
    });
    let image = Image { data: vec![1, 2, 3], mimetype: "image/jpeg;base64".to_owned() };
    first
        .input_chunks
        .as_mut()
        .unwrap()
        .chunks
        .push(InputChunk { chunk: Some(input_chunk::Chunk::Image(image)) });
    let warmup = |max_total_tokens| WarmupRequest {
        batch: Some(batch(0, vec![first.clone(), first.clone()])),
        max_input_tokens: None,
        max_prefill_tokens: 128,
        max_total_tokens,
    };
    let limits = client.warmup(warmup(None)).await.unwrap().into_inner();
    assert_eq!((limits.max_input_tokens, limits.max_total_tokens), (255, 256));
    assert!(limits.max_supported_total_tokens.unwrap() >= 256);
    let limits = client.warmup(warmup(Some(100))).await.unwrap().into_inner();
    assert_eq!((limits.max_input_tokens, limits.max_total_tokens), (99, 100));
}

#[tokio::test]
async fn wrong_calls_are_refused_and_disturb_nothing() {
    let (_shard, mut client) = start().await;
    let expected = alone(&mut client, request(5, "one two three", 6)).await;
    let going = prefill(&mut client, batch(1, vec![request(5, "one two three", 6)]), None).await;
    let cached = |id| CachedBatch { id, ..Default::default() };
    let refused = |status: tonic::Status| (status.code(), status.message().to_owned());
    let internal = |text: &str| (tonic::Code::Internal, text.to_owned());
    let unknown = client.decode(DecodeRequest { batches: vec![cached(1), cached(77)] }).await.unwrap_err();
    assert_eq!(refused(unknown), internal("Batch ID 77 not found in cache."));
    let none = client.decode(DecodeRequest { batches: vec![] }).await.unwrap_err();
    assert_eq!(refused(none), internal("Must provide at least one batch"));
    let empty =
        client.prefill(PrefillRequest { batch: Some(batch(2, vec![])), cached_batch: Some(cached(1)) });
    assert_eq!(refused(empty.await.unwrap_err()), internal("Batch must have at least one request"));
    let mut long = request(6, "x", 6);
    long.cache_len = 500;
    let long =
        client.prefill(PrefillRequest { batch: Some(batch(2, vec![long])), cached_batch: Some(cached(1)) });
    assert!(refused(long.await.unwrap_err()).1.contains("Prefix 500 vs input 1"));
    let mut beyond = request(6, "x", 6);
    beyond.ext = Some(RequestExt { ids: vec![3, 512], emitted: 0, more: false });
    let beyond =
        client.prefill(PrefillRequest { batch: Some(batch(2, vec![beyond])), cached_batch: Some(cached(1)) });
    assert!(refused(beyond.await.unwrap_err()).1.contains("token id 512 is not below vocab_size 512"));
    let keep = FilterBatchRequest { batch_id: 1, request_ids: vec![5, 9] };
    assert_eq!(
        refused(client.filter_batch(keep).await.unwrap_err()),
        internal("Request ID 9 not found in batch 1.")
    );
    let mut said = Said::default();
    going.generations.into_iter().for_each(|generation| said.hear(generation));
    let mut next = going.batch;
    while let Some(batch) = next {
        let answer = decode(&mut client, vec![batch]).await;
        answer.generations.into_iter().for_each(|generation| said.hear(generation));
        next = answer.batch;
    }
    assert_eq!(said, expected);
}

#[tokio::test]
async fn prompt_logprobs_come_once_with_the_first_token() {
    let (_shard, mut client) = start().await;
    let wanted = |chunk: Option<u32>| {
        let mut wanted = request(3, "the quick brown fox jumps over the lazy dog again and again", 4);
        wanted.prefill_logprobs = true;
        wanted.chunk_len = chunk;
        wanted.top_n_tokens = 3;
        wanted
    };
    let whole = prefill(&mut client, batch(1, vec![wanted(None)]), None).await;
    let first = whole.generations[0].prefill_tokens.clone().unwrap();
    assert!(first.logprobs[0].is_nan() && first.logprobs[1..].iter().all(|logprob| *logprob <= 0.0));
    assert_eq!(
        whole.generations[0].top_tokens[0].ids[0],
        whole.generations[0].tokens.as_ref().unwrap().ids[0]
    );
    let mut answer = prefill(&mut client, batch(2, vec![wanted(Some(5))]), None).await;
    assert!(answer.generations.is_empty() && answer.batch.as_ref().unwrap().current_tokens > 1);
    while answer.generations.is_empty() {
        let next = decode(&mut client, vec![answer.batch.unwrap()]).await;
        (answer.generations, answer.batch) = (next.generations, next.batch);
    }
    let chunked = answer.generations[0].prefill_tokens.clone().unwrap();
    let bits = |tokens: &Tokens| tokens.logprobs.iter().map(|logprob| logprob.to_bits()).collect::<Vec<_>>();
    assert_eq!((&chunked.ids, bits(&chunked)), (&first.ids, bits(&first)));
    let next = decode(&mut client, vec![answer.batch.unwrap()]).await;
    assert!(next.generations[0].prefill_tokens.is_none());
}

/// A cached prefix gives the same tokens, and a full hit writes nothing into the block that is shared.
#[tokio::test]
async fn cached_prefixes_change_no_byte() {
    let (_shard, mut client) = start().await;
    let text = "a b c d e f g h i j k l m n o p q r s t u v w x y z";
    let expected = alone(&mut client, request(1, text, 8)).await;
    let with = |id: u64, blocks: Vec<u32>, cache_len: u32| {
        let mut with = request(id, text, 8);
        with.slots = blocks.iter().flat_map(|block| block * 16..block * 16 + 16).collect();
        (with.blocks, with.cache_len) = (blocks, cache_len);
        with
    };
    let first = alone(&mut client, with(1, vec![40, 41, 42, 43, 44], 0)).await;
    assert_eq!(first, expected);
    assert_eq!(alone(&mut client, with(1, vec![40, 50, 51, 52, 53], 16)).await, expected);
    assert_eq!(alone(&mut client, with(1, vec![40, 41, 60, 61, 62], 32)).await, expected);
    assert_eq!(alone(&mut client, with(1, vec![40, 41, 70, 71, 72], 31)).await, expected);
}

/// Emission when nothing is asked for twice: an end token, a stop sequence and a limit end a row, in this order of checks.
#[tokio::test]
async fn rows_end_by_length_and_by_stop_sequence() {
    let (_shard, mut client) = start().await;
    let free = alone(&mut client, request(1, "one two three", 24)).await;
    let (text, count, reason) = free.end.clone().unwrap();
    assert_eq!((count, reason), (24, FinishReason::Length as i32));
    assert_eq!(free.tokens.iter().map(|token| token.2.as_str()).collect::<String>(), text);
    let (index, stop) = free
        .tokens
        .iter()
        .enumerate()
        .map(|(i, token)| (i, token.2.clone()))
        .skip(3)
        .find(|(_, text)| !text.is_empty())
        .unwrap();
    let index = free.tokens.iter().position(|token| token.2.ends_with(&stop)).unwrap_or(index);
    let mut stopped = request(1, "one two three", 24);
    stopped.stopping_parameters.as_mut().unwrap().stop_sequences = vec![stop];
    let stopped = alone(&mut client, stopped).await;
    assert_eq!(stopped.tokens, free.tokens[..=index]);
    assert_eq!(stopped.end.unwrap().2, FinishReason::StopSequence as i32);
}

/// Output of an earlier round, sent back as ids, goes on as if there had been no border.
#[tokio::test]
async fn rounds_go_on_where_they_were() {
    let (_shard, mut client) = start().await;
    let text = "one two three";
    let mut whole = request(1, text, 20);
    whole.parameters.as_mut().unwrap().do_sample = true;
    whole.parameters.as_mut().unwrap().seed = 11;
    let mut logged = whole.clone();
    logged.prefill_logprobs = true;
    let ids = prefill(&mut client, batch(1, vec![logged]), None).await.generations[0]
        .prefill_tokens
        .clone()
        .unwrap()
        .ids;
    let expected = alone(&mut client, whole.clone()).await;
    for border in [1, 7, 19] {
        let round = |ids: Vec<u32>, emitted: usize, new: u32| {
            let mut round = whole.clone();
            round.ext = Some(RequestExt { ids, emitted: emitted as u32, more: emitted == 0 });
            round.stopping_parameters.as_mut().unwrap().max_new_tokens = new;
            round
        };
        let first = alone(&mut client, round(ids.clone(), 0, border)).await;
        let more = first.tokens.iter().map(|token| token.0);
        let second = alone(
            &mut client,
            round(ids.iter().copied().chain(more).collect(), border as usize, 20 - border),
        )
        .await;
        let joined: Vec<_> = first.tokens.into_iter().chain(second.tokens).collect();
        assert_eq!(joined, expected.tokens, "border {border}");
        assert_eq!(second.end.unwrap().0, expected.end.clone().unwrap().0);
    }
}

/// A stop sequence with the last token of a round ends the request, not the round.
#[tokio::test]
async fn an_end_at_the_border_of_a_round_is_an_end() {
    let (_shard, mut client) = start().await;
    let free = alone(&mut client, request(1, "one two three", 24)).await;
    let last = (1..24)
        .find(|&i| free.tokens[..i].iter().all(|token| !token.2.ends_with(&free.tokens[i].2)))
        .unwrap();
    let mut round = request(1, "one two three", last as u32 + 1);
    round.stopping_parameters.as_mut().unwrap().stop_sequences = vec![free.tokens[last].2.clone()];
    let ended = alone(&mut client, round.clone()).await;
    assert_eq!(ended.end.unwrap().2, FinishReason::Length as i32);
    let ids = Tokenizer::load(&demo::data("tiny/llama-tied-bf16"))
        .unwrap()
        .encode("one two three", true)
        .unwrap()
        .ids;
    round.ext = Some(RequestExt { ids, emitted: 0, more: true });
    let ended = alone(&mut client, round).await;
    assert_eq!(ended.end.unwrap().2, FinishReason::StopSequence as i32);
}

/// A program that sends no blocks and starts again with the same ids finds room again and again.
#[tokio::test]
async fn a_batch_id_that_comes_again_replaces_the_forgotten_one() {
    let mut shard =
        Shard::start_with(&demo::data("tiny/llama-tied-bf16"), &[], &["--cpu-kv-cache-bytes", "262144"]);
    let mut client = shard.client().await;
    let expected = alone(&mut client, request(0, "one two three", 40)).await;
    for _ in 0..40 {
        prefill(&mut client, batch(0, vec![request(0, "one two three", 200), request(1, "four", 200)]), None)
            .await;
    }
    client.clear_cache(ClearCacheRequest { id: None }).await.unwrap();
    assert_eq!(alone(&mut client, request(0, "one two three", 40)).await, expected);
}

/// A small deterministic generator for the traffic.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % sides
    }
}

/// Requests of all kinds, each with what it says alone.
async fn scripts(client: &mut Client, count: u64) -> BTreeMap<u64, (Request, Said)> {
    let mut scripts = BTreeMap::new();
    let mut dice = Dice(9);
    for id in 1..=count {
        let words = ["sun ", "moon, ", "12 ", "日本 ", "🙂", "{x} "];
        let text: String = (0..1 + dice.roll(20)).map(|_| words[dice.roll(words.len())]).collect();
        let mut one = request(id, &text, 1 + dice.roll(16) as u32);
        let parameters = one.parameters.as_mut().unwrap();
        if id % 3 == 0 {
            (parameters.do_sample, parameters.seed, parameters.top_k) = (true, id, 20);
        }
        if id % 5 == 0 {
            parameters.repetition_penalty = 1.3;
        }
        let said = alone(client, one.clone()).await;
        scripts.insert(id, (one, said));
    }
    scripts
}

/// The client's own picture of the shard under random traffic.
struct Traffic {
    dice: Dice,
    waiting: Vec<Request>,
    batches: Vec<CachedBatch>,
    heard: BTreeMap<u64, Said>,
    removed: Vec<u64>,
    next_batch: u64,
}

impl Traffic {
    fn hear(&mut self, generations: Vec<Generation>, batch: Option<CachedBatch>) {
        for generation in generations {
            let id = generation.request_id;
            assert!(!self.removed.contains(&id), "request {id} was removed");
            self.heard.entry(id).or_default().hear(generation);
        }
        self.batches.extend(batch);
    }

    /// New requests with random chunks.
    fn arrivals(&mut self) -> Option<Batch> {
        let count = (1 + self.dice.roll(4)).min(self.waiting.len());
        let mut requests: Vec<Request> = self.waiting.drain(..count).collect();
        for request in &mut requests {
            request.chunk_len = (self.dice.roll(2) == 0).then(|| 1 + self.dice.roll(12) as u32);
        }
        self.next_batch += 1;
        (!requests.is_empty()).then(|| batch(self.next_batch, requests))
    }

    fn take_batch(&mut self) -> Option<CachedBatch> {
        let count = self.batches.len();
        (count > 0).then(|| self.batches.swap_remove(self.dice.roll(count)))
    }

    async fn turn(&mut self, client: &mut Client) {
        match self.dice.roll(6) {
            0 | 1 => self.prefill_beside_decode(client).await,
            2 => self.decode_beside_filter(client).await,
            3 => self.decode_beside_clear(client).await,
            _ => self.decode_some(client).await,
        }
    }

    /// A prefill, joined to a batch or alone, arrives while another batch decodes.
    async fn prefill_beside_decode(&mut self, client: &mut Client) {
        let Some(new) = self.arrivals() else { return };
        let cached = if self.dice.roll(2) == 0 { self.take_batch() } else { None };
        let other = self.take_batch();
        let (mut one, mut two) = (client.clone(), client.clone());
        let decoding =
            async { if let Some(other) = other { Some(decode(&mut two, vec![other]).await) } else { None } };
        let (prefilled, decoded) = tokio::join!(prefill(&mut one, new, cached), decoding);
        self.hear(prefilled.generations, prefilled.batch);
        if let Some(decoded) = decoded {
            self.hear(decoded.generations, decoded.batch);
        }
    }

    /// A filter of one batch, and a probe, arrive while another batch decodes.
    async fn decode_beside_filter(&mut self, client: &mut Client) {
        let (Some(filtered), other) = (self.take_batch(), self.take_batch()) else { return };
        let keep: Vec<u64> = filtered.request_ids.iter().copied().filter(|_| self.dice.roll(3) > 0).collect();
        if keep.is_empty() {
            self.batches.push(filtered);
            self.batches.extend(other);
            return;
        }
        let (mut one, mut two, mut three) = (client.clone(), client.clone(), client.clone());
        let decoding =
            async { if let Some(other) = other { Some(decode(&mut two, vec![other]).await) } else { None } };
        let filter =
            one.filter_batch(FilterBatchRequest { batch_id: filtered.id, request_ids: keep.clone() });
        let (kept, decoded, health) = tokio::join!(filter, decoding, three.health(HealthRequest {}));
        health.unwrap();
        let kept = kept.unwrap().into_inner().batch.unwrap();
        assert_eq!((kept.id, &kept.request_ids, kept.size), (filtered.id, &keep, keep.len() as u32));
        self.removed.extend(filtered.request_ids.iter().filter(|id| !keep.contains(id)));
        self.batches.push(kept);
        if let Some(decoded) = decoded {
            self.hear(decoded.generations, decoded.batch);
        }
    }

    /// A batch is dropped while another decodes.
    async fn decode_beside_clear(&mut self, client: &mut Client) {
        if self.dice.roll(3) > 0 {
            return self.decode_some(client).await;
        }
        let (Some(dropped), other) = (self.take_batch(), self.take_batch()) else { return };
        let (mut one, mut two) = (client.clone(), client.clone());
        let decoding =
            async { if let Some(other) = other { Some(decode(&mut two, vec![other]).await) } else { None } };
        let (cleared, decoded) =
            tokio::join!(one.clear_cache(ClearCacheRequest { id: Some(dropped.id) }), decoding);
        cleared.unwrap();
        self.removed.extend(dropped.request_ids);
        if let Some(decoded) = decoded {
            self.hear(decoded.generations, decoded.batch);
        }
    }

    /// A step of one or several batches, which become one; facts are asked for meanwhile.
    async fn decode_some(&mut self, client: &mut Client) {
        let count = 1 + self.dice.roll(3);
        let batches: Vec<CachedBatch> = (0..count).filter_map(|_| self.take_batch()).collect();
        if batches.is_empty() {
            return;
        }
        let ids: Vec<u64> = batches.iter().flat_map(|batch| batch.request_ids.clone()).collect();
        let (mut one, mut two) = (client.clone(), client.clone());
        let (answer, info) = tokio::join!(decode(&mut one, batches), two.info(InfoRequest {}));
        info.unwrap();
        assert!(answer.generations.iter().all(|generation| ids.contains(&generation.request_id)));
        self.hear(answer.generations, answer.batch);
    }
}

/// How many different traffics: a few, or as many as a soak wants.
#[expect(clippy::disallowed_methods, reason = "`make soak` asks for more")]
fn seeds() -> u64 {
    std::env::var("GRISTMILL_SOAK_SEEDS").map_or(4, |seeds| seeds.parse().unwrap())
}

#[tokio::test]
async fn no_token_is_lost_or_doubled_under_random_traffic() {
    let (_shard, mut client) = start().await;
    let scripts = scripts(&mut client, 120).await;
    for seed in 0..seeds() {
        let waiting = scripts.values().map(|(request, _)| request.clone()).collect();
        let dice = Dice(seed);
        let mut traffic = Traffic {
            dice,
            waiting,
            batches: vec![],
            heard: BTreeMap::new(),
            removed: vec![],
            next_batch: 0,
        };
        while !(traffic.waiting.is_empty() && traffic.batches.is_empty()) {
            traffic.turn(&mut client).await;
        }
        let mut ended = 0;
        for (id, (_, expected)) in &scripts {
            let heard = traffic.heard.remove(id).unwrap_or_default();
            if traffic.removed.contains(id) && heard.end.is_none() {
                assert_eq!(heard.tokens, expected.tokens[..heard.tokens.len()]);
            } else {
                assert_eq!(heard, *expected, "request {id}, seed {seed}");
                ended += 1;
            }
        }
        assert!(ended > 20, "only {ended} requests were not removed");
    }
}
