//! `/generate`, `/generate_stream`, `POST /` and `/tokenize`, with TGI's meaning.

use gristmill_integration_tests::mock_shard::Options;
use gristmill_integration_tests::mock_shard::vocabulary::{self, texts};
use serde_json::{Value, json};

use crate::{Rig, generated, ids};

/// A token of the shards as TGI's routes show it.
fn token(id: u32) -> Value {
    let logprob: Value = serde_json::to_string(&vocabulary::logprob(id)).unwrap().parse().unwrap();
    json!({"id": id, "text": vocabulary::text(id), "logprob": logprob, "special": id == vocabulary::EOS})
}

#[test]
fn generate_answers_the_text_and_the_headers() {
    let rig = Rig::new(&[]);
    let answer =
        rig.client.post("/generate", &json!({"inputs": "héllo", "parameters": {"max_new_tokens": 3}}));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json(), json!({"generated_text": texts(&generated("héllo", 3))}));
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("x-compute-characters"), "5");
    assert_eq!(answer.header("x-prompt-tokens"), ids("héllo", true).len().to_string());
    assert_eq!(answer.header("x-generated-tokens"), "3");
    assert!(!answer.header("x-compute-type").is_empty());
    assert!(answer.header("x-compute-time").parse::<f64>().unwrap() > 0.0);
    for name in ["x-total-time", "x-validation-time", "x-queue-time", "x-inference-time", "x-time-per-token"]
    {
        assert!(answer.header(name).parse::<u64>().is_ok(), "{name}: {answer:?}");
    }
    rig.server.wait_for_output("Success");
}

#[test]
fn details_have_every_token() {
    let rig = Rig::new(&[]);
    let parameters = json!({"max_new_tokens": 2, "details": true, "top_n_tokens": 2});
    let answer = rig.client.post("/generate", &json!({"inputs": "hi", "parameters": parameters})).json();
    let tokens = generated("hi", 2);
    let top = |id: u32| vec![token(id), token(id + 1)];
    let expected = json!({
        "finish_reason": "length",
        "generated_tokens": 2,
        "seed": null,
        "prefill": [],
        "tokens": [token(tokens[0]), token(tokens[1])],
        "top_tokens": [top(tokens[0]), top(tokens[1])],
    });
    assert_eq!(answer["details"], expected);
}

#[test]
fn decoder_input_details_have_the_prompt_and_its_first_logprob_is_null() {
    let rig = Rig::new(&[]);
    let parameters = json!({"max_new_tokens": 1, "decoder_input_details": true});
    let answer =
        rig.client.post("/generate", &json!({"inputs": "hi there", "parameters": parameters})).json();
    let prefill = answer["details"]["prefill"].as_array().unwrap();
    let found: Vec<_> = prefill.iter().map(|token| token["id"].as_u64().unwrap() as u32).collect();
    assert_eq!(found, ids("hi there", true));
    assert!(prefill[0]["logprob"].is_null() && prefill[1]["logprob"].is_number());
}

/// Without `parameters` TGI samples; with some, it does so only when asked.
#[test]
fn absent_parameters_sample_and_empty_ones_do_not() {
    let rig = Rig::new(&["--max-total-tokens", "8", "--max-input-tokens", "7"]);
    let sampled = |body: Value| {
        assert_eq!(rig.client.post("/generate", &body).status, 200);
        rig.last_request().parameters.unwrap().do_sample
    };
    assert!(sampled(json!({"inputs": "hi"})));
    assert!(!sampled(json!({"inputs": "hi", "parameters": {}})));
    assert!(sampled(json!({"inputs": "hi", "parameters": {"do_sample": true}})));
}

#[test]
fn a_seed_is_reported_when_sampling_and_random_when_absent() {
    let rig = Rig::new(&[]);
    let seed = |parameters: Value| {
        let answer = rig.client.post("/generate", &json!({"inputs": "hi", "parameters": parameters}));
        answer.json()["details"]["seed"].clone()
    };
    let given = json!({"max_new_tokens": 1, "details": true, "do_sample": true, "seed": u64::MAX});
    assert_eq!(seed(given), json!(u64::MAX));
    let absent = json!({"max_new_tokens": 1, "details": true, "do_sample": true});
    assert_ne!(seed(absent.clone()), seed(absent));
    assert_eq!(seed(json!({"max_new_tokens": 1, "details": true})), Value::Null);
}

#[test]
fn stop_sequences_end_it_and_stay_in_the_text() {
    let rig = Rig::new(&[]);
    let tokens = generated("hi", 4);
    let stop = texts(&tokens[1..2]);
    let parameters = json!({"max_new_tokens": 4, "details": true, "stop": [stop]});
    let answer = rig.client.post("/generate", &json!({"inputs": "hi", "parameters": parameters})).json();
    assert_eq!(answer["generated_text"], texts(&tokens[..2]));
    assert_eq!(answer["details"]["finish_reason"], "stop_sequence");
}

#[test]
fn an_end_token_is_an_event_but_not_text() {
    let rig = Rig::with(Options { eos_every: 4, ..Options::default() }, &[]);
    let tokens = vocabulary::continuation(&ids("hi", true), 200, 4);
    assert_eq!(tokens.last(), Some(&vocabulary::EOS));
    let parameters = json!({"max_new_tokens": 200, "details": true});
    let answer = rig.client.post("/generate", &json!({"inputs": "hi", "parameters": parameters})).json();
    assert_eq!(answer["generated_text"], texts(&tokens[..tokens.len() - 1]));
    assert_eq!(answer["details"]["finish_reason"], "eos_token");
    assert_eq!(answer["details"]["tokens"].as_array().unwrap().last(), Some(&token(vocabulary::EOS)));
}

#[test]
fn truncate_keeps_the_end_of_the_prompt() {
    let rig = Rig::new(&[]);
    let parameters = json!({"max_new_tokens": 2, "truncate": 2});
    let answer = rig.client.post("/generate", &json!({"inputs": "one two three", "parameters": parameters}));
    let whole = ids("one two three", true);
    let tokens = vocabulary::continuation(&whole[whole.len() - 2..], 2, 0);
    assert_eq!(answer.json()["generated_text"], texts(&tokens));
    assert_eq!(answer.header("x-prompt-tokens"), "2");
}

#[test]
fn the_best_of_two_wins_and_the_other_is_shown() {
    let rig = Rig::new(&[]);
    let parameters = json!({"max_new_tokens": 2, "best_of": 2, "do_sample": true, "details": true});
    let answer = rig.client.post("/generate", &json!({"inputs": "hi", "parameters": parameters})).json();
    let others = answer["details"]["best_of_sequences"].as_array().unwrap();
    assert_eq!(others.len(), 1);
    assert_eq!(others[0]["generated_text"], texts(&generated("hi", 2)));
    assert_eq!(others[0]["generated_tokens"], 2);
    assert_ne!(others[0]["seed"], answer["details"]["seed"]);
}

#[test]
fn a_stream_is_one_event_a_token() {
    let rig = Rig::new(&[]);
    let parameters = json!({"max_new_tokens": 3, "details": true});
    let mut stream =
        rig.client.stream("/generate_stream", &json!({"inputs": "hi", "parameters": parameters}));
    assert_eq!(stream.status, 200);
    for (name, value) in
        [("content-type", "text/event-stream"), ("cache-control", "no-cache"), ("x-accel-buffering", "no")]
    {
        assert_eq!(stream.headers[name], value);
    }
    assert_eq!(stream.headers["x-compute-characters"], "2");
    let tokens = generated("hi", 3);
    let event = |index: usize| json!({"index": index + 1, "token": token(tokens[index]), "generated_text": null, "details": null});
    assert_eq!(stream.next_json().unwrap(), event(0));
    assert_eq!(stream.next_json().unwrap(), event(1));
    let details = json!({
        "finish_reason": "length",
        "generated_tokens": 3,
        "seed": null,
        "input_length": ids("hi", true).len(),
    });
    let last =
        json!({"index": 3, "token": token(tokens[2]), "generated_text": texts(&tokens), "details": details});
    assert_eq!(stream.next_json().unwrap(), last);
    assert_eq!(stream.next_data(), None);
}

#[test]
fn top_tokens_are_in_the_events_and_details_only_when_asked_for() {
    let rig = Rig::new(&[]);
    let parameters = json!({"max_new_tokens": 1, "top_n_tokens": 1});
    let mut stream =
        rig.client.stream("/generate_stream", &json!({"inputs": "hi", "parameters": parameters}));
    let id = generated("hi", 1)[0];
    let event = json!({
        "index": 1,
        "token": token(id),
        "top_tokens": [token(id)],
        "generated_text": texts(&[id]),
        "details": null,
    });
    assert_eq!(stream.rest(), [event]);
}

#[test]
fn the_root_answers_an_array_or_a_stream_with_the_full_text() {
    let rig = Rig::new(&[]);
    let text = texts(&generated("hi", 2));
    let parameters = json!({"max_new_tokens": 2});
    let answer = rig.client.post("/", &json!({"inputs": "hi", "parameters": parameters}));
    assert_eq!(answer.json(), json!([{"generated_text": format!("hi{text}")}]));
    let body = json!({"inputs": "hi", "parameters": {"max_new_tokens": 2, "return_full_text": false}});
    assert_eq!(rig.client.post("/", &body).json(), json!([{"generated_text": text}]));
    let body = json!({"inputs": "hi", "parameters": parameters, "stream": true});
    let events = rig.client.stream("/", &body).rest();
    assert_eq!((events.len(), &events[1]["generated_text"]), (2, &json!(format!("hi{text}"))));
}

#[test]
fn full_text_has_the_prompt_in_front_on_every_route() {
    let rig = Rig::new(&[]);
    let body = json!({"inputs": "hi", "parameters": {"max_new_tokens": 1, "return_full_text": true}});
    let text = format!("hi{}", texts(&generated("hi", 1)));
    assert_eq!(rig.client.post("/generate", &body).json()["generated_text"], text);
    assert_eq!(rig.client.stream("/generate_stream", &body).rest()[0]["generated_text"], text);
}

#[test]
fn tokenize_shows_ids_text_and_bytes() {
    let rig = Rig::new(&[]);
    let tokens = rig.client.post("/tokenize", &json!({"inputs": "a é"})).json();
    let found: Vec<_> = tokens.as_array().unwrap().iter().map(|t| t["id"].as_u64().unwrap() as u32).collect();
    assert_eq!(found, ids("a é", true));
    assert_eq!(tokens[0], json!({"id": 0, "text": "", "start": 0, "stop": 0}));
    assert_eq!(
        (&tokens[1]["text"], &tokens[1]["start"], &tokens[1]["stop"]),
        (&json!("a"), &json!(0), &json!(1))
    );
    assert_eq!(tokens.as_array().unwrap().last().unwrap()["stop"], 4);
}

#[test]
fn null_is_as_good_as_absent() {
    let rig = Rig::new(&[]);
    let parameters = json!({
        "best_of": null, "temperature": null, "repetition_penalty": null, "frequency_penalty": null, "top_k": null,
        "top_p": null, "typical_p": null, "max_new_tokens": 1, "return_full_text": null, "truncate": null,
        "seed": null, "top_n_tokens": null, "grammar": null, "adapter_id": null,
    });
    let answer =
        rig.client.post("/generate", &json!({"inputs": "hi", "parameters": parameters, "unknown": {}}));
    assert_eq!(answer.status, 200, "{answer:?}");
}
