//! Every number a client can send, with every value it should not: a status that fits, and never a server error.

use serde_json::json;

use crate::Rig;

/// What a field may hold.
#[derive(Clone, Copy)]
enum Kind {
    /// 32-bit float with a range: whether 0, -1 and 1.5 are inside.
    Float { zero: bool, minus_one: bool, one_and_a_half: bool },
    /// Integer of so many bits, and whether 0, -1 and its greatest value are inside.
    Integer { zero: bool, minus_one: Sign, greatest: bool },
}

/// What a negative number is to an integer field.
#[derive(Clone, Copy, PartialEq)]
enum Sign {
    /// The wrong type.
    Type,
    /// Out of range.
    Range,
}

/// How a value is answered: the status, and how the text begins.
type Expected = (u16, &'static str);

const FINE: Expected = (200, "");
const SYNTAX: Expected = (400, "Failed to parse the request body as JSON: ");
const TYPE: Expected = (422, "Failed to deserialize the JSON body into the target type: ");
const RANGE: Expected = (422, "Input validation error: ");

const POSITIVE: Kind = Kind::Float { zero: false, minus_one: false, one_and_a_half: true };
const MASS: Kind = Kind::Float { zero: false, minus_one: false, one_and_a_half: false };

/// The numbers of TGI's routes.
const PARAMETERS: [(&str, Kind); 11] = [
    ("best_of", Kind::Integer { zero: true, minus_one: Sign::Type, greatest: false }),
    ("temperature", POSITIVE),
    ("repetition_penalty", POSITIVE),
    ("frequency_penalty", Kind::Float { zero: true, minus_one: true, one_and_a_half: true }),
    ("top_k", Kind::Integer { zero: false, minus_one: Sign::Range, greatest: true }),
    ("top_p", MASS),
    ("typical_p", MASS),
    ("max_new_tokens", Kind::Integer { zero: false, minus_one: Sign::Type, greatest: false }),
    ("truncate", Kind::Integer { zero: false, minus_one: Sign::Type, greatest: false }),
    ("seed", Kind::Integer { zero: true, minus_one: Sign::Type, greatest: true }),
    ("top_n_tokens", Kind::Integer { zero: true, minus_one: Sign::Type, greatest: false }),
];

/// The numbers of `/v1`.
const OPENAI: [(&str, Kind); 6] = [
    ("temperature", Kind::Float { zero: true, minus_one: false, one_and_a_half: true }),
    ("top_p", MASS),
    ("frequency_penalty", Kind::Float { zero: true, minus_one: true, one_and_a_half: true }),
    ("presence_penalty", Kind::Float { zero: true, minus_one: false, one_and_a_half: false }),
    ("max_tokens", Kind::Integer { zero: false, minus_one: Sign::Type, greatest: false }),
    ("seed", Kind::Integer { zero: true, minus_one: Sign::Type, greatest: true }),
];

/// The values, as JSON text, and the answer to each.
fn values(field: &str, kind: Kind) -> Vec<(String, Expected)> {
    let inside = |inside: bool| if inside { FINE } else { RANGE };
    let common =
        [("null", FINE), ("1e400", SYNTAX), ("NaN", SYNTAX), ("\"x\"", TYPE), ("true", TYPE), ("[]", TYPE)];
    let of_kind = match kind {
        Kind::Float { zero, minus_one, one_and_a_half } => vec![
            ("0".to_owned(), inside(zero)),
            ("-1".to_owned(), inside(minus_one)),
            ("1.5".to_owned(), inside(one_and_a_half)),
            ("1e39".to_owned(), RANGE),
            ("-1e39".to_owned(), RANGE),
        ],
        Kind::Integer { zero, minus_one, greatest } => vec![
            ("0".to_owned(), inside(zero)),
            ("-1".to_owned(), if minus_one == Sign::Type { TYPE } else { RANGE }),
            ("1.5".to_owned(), TYPE),
            (greatest_of(field).to_string(), inside(greatest)),
            (u64::MAX.to_string(), if greatest_of(field) == u64::MAX { inside(greatest) } else { TYPE }),
            ("18446744073709551616".to_owned(), TYPE),
        ],
    };
    common.into_iter().map(|(value, expected)| (value.to_owned(), expected)).chain(of_kind).collect()
}

fn greatest_of(field: &str) -> u64 {
    match field {
        "top_k" => i32::MAX as u64,
        "max_new_tokens" | "max_tokens" | "top_n_tokens" => u64::from(u32::MAX),
        _ => u64::MAX,
    }
}

#[test]
fn tgi_numbers() {
    let rig = Rig::new(&["--max-input-tokens", "8", "--max-total-tokens", "12"]);
    for (field, kind) in PARAMETERS {
        for (value, expected) in values(field, kind) {
            // TGI samples when it is asked for the best of several.
            let body =
                format!(r#"{{"inputs": "a", "parameters": {{"do_sample": true, "{field}": {value}}}}}"#);
            check(&rig, "/generate", &body, expected);
        }
    }
}

#[test]
fn openai_numbers() {
    let rig = Rig::new(&["--max-input-tokens", "40", "--max-total-tokens", "44"]);
    for (field, kind) in OPENAI {
        for (value, expected) in values(field, kind) {
            let messages = json!([{"role": "user", "content": "a"}]);
            let body = format!(r#"{{"messages": {messages}, "{field}": {value}}}"#);
            check(&rig, "/v1/chat/completions", &body, expected);
            check(&rig, "/v1/completions", &format!(r#"{{"prompt": "a", "{field}": {value}}}"#), expected);
        }
    }
}

fn check(rig: &Rig, path: &str, body: &str, (status, text): Expected) {
    let answer = rig.client.post_text(path, body);
    let said = answer.body.strip_prefix(r#"{"error":""#).unwrap_or(&answer.body);
    let said = said.strip_prefix(r#"{"error":{"message":""#).unwrap_or(said);
    assert!(answer.status == status && said.starts_with(text), "{path} {body}: {answer:?}");
}
