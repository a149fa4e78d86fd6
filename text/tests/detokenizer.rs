//! The detokenizer against decodes of the whole.
#![expect(clippy::unwrap_used, reason = "what tests share may panic as tests do")]

use std::path::Path;
use std::sync::LazyLock;

use gristmill_text::{Detokenizer, Tokenizer};
use proptest::collection::vec;
use proptest::prelude::*;

static BYTE_LEVEL: LazyLock<Tokenizer> = LazyLock::new(|| load("byte_level"));
static SENTENCEPIECE: LazyLock<Tokenizer> = LazyLock::new(|| load("sentencepiece"));

/// What becomes of half a character.
const HALF: &str = "\u{FFFD}";

fn load(name: &str) -> Tokenizer {
    Tokenizer::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

/// The texts of pushes after a prompt, the last one what was held back.
fn stream(tokenizer: &Tokenizer, prompt: &[u32], ids: &[u32]) -> Vec<String> {
    let mut detokenizer = Detokenizer::new(tokenizer, prompt).unwrap();
    let mut texts: Vec<String> = ids.iter().map(|&id| detokenizer.push(tokenizer, id).unwrap()).collect();
    texts.push(detokenizer.finish());
    texts
}

fn byte(tokenizer: &Tokenizer, byte: u8) -> u32 {
    tokenizer.token_to_id(&format!("<0x{byte:02X}>")).unwrap()
}

/// Text with many characters of several bytes.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("你好，世界。".to_owned()),
        Just("😀👍🏽👨‍👩‍👧".to_owned()),
        Just(" the fox".to_owned()),
        Just("  \n\t".to_owned()),
        Just("\u{FFFD}".to_owned()),
        "\\PC{0,8}",
        any::<String>(),
    ];
    vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Any tokens, after any prompt that ends with a character: what is pushed is what the whole has beyond the prompt.
    #[test]
    fn byte_level_is_exact(prompt in texts(), ids in vec(0u32..570, 0..60)) {
        let prompt = BYTE_LEVEL.encode(&prompt, false).unwrap().ids;
        let whole = BYTE_LEVEL.decode(&[&prompt[..], &ids].concat(), false).unwrap();
        let start = BYTE_LEVEL.decode(&prompt, false).unwrap();
        let streamed = stream(&BYTE_LEVEL, &prompt, &ids);
        prop_assert_eq!(start + &streamed.concat(), whole);
        prop_assert_eq!(streamed.concat(), BYTE_LEVEL.decode_continuation(&ids, false).unwrap());
    }

    /// A push is never early or late: after each, all complete characters are out, and nothing of an incomplete one.
    #[test]
    fn pushes_are_prompt(ids in vec(0u32..570, 0..40)) {
        let streamed = stream(&BYTE_LEVEL, &[], &ids);
        for count in 0..=ids.len() {
            let whole = BYTE_LEVEL.decode(&ids[..count], false).unwrap();
            let so_far = streamed[..count].concat();
            let held = whole.strip_prefix(&so_far);
            prop_assert!([Some(""), Some(HALF)].contains(&held), "{so_far:?} of {whole:?}");
        }
    }

    /// Tokens of a text give the text again, in pieces without half characters.
    #[test]
    fn text_survives(text in texts()) {
        for tokenizer in [&*BYTE_LEVEL, &*SENTENCEPIECE] {
            let ids = tokenizer.encode(&text, false).unwrap().ids;
            let streamed = stream(tokenizer, &[], &ids);
            let expected = tokenizer.decode(&ids, false).unwrap();
            let streamed = streamed.concat();
            let shown = streamed.strip_prefix(' ').filter(|_| streamed != expected).unwrap_or(&streamed);
            prop_assert_eq!(shown, &expected);
        }
    }

    /// With byte fallback: whatever is valid comes out the same, after any prompt; garbage costs no neighbour.
    #[test]
    fn sentencepiece_continues(prompt in texts(), text in texts(), junk in vec(128u8..192, 0..3)) {
        let prompt = SENTENCEPIECE.encode(&format!("{prompt}x"), false).unwrap().ids;
        let mut ids = SENTENCEPIECE.encode(&text, false).unwrap().ids;
        let whole = SENTENCEPIECE.decode(&[&prompt[..], &ids].concat(), false).unwrap();
        let start = SENTENCEPIECE.decode(&prompt, false).unwrap();
        prop_assert_eq!(start + &stream(&SENTENCEPIECE, &prompt, &ids).concat(), whole);

        let clean = stream(&SENTENCEPIECE, &prompt, &ids).concat();
        let junk_ids: Vec<u32> = junk.iter().map(|&value| byte(&SENTENCEPIECE, value)).collect();
        ids.splice(0..0, junk_ids);
        let dirty = stream(&SENTENCEPIECE, &prompt, &ids).concat();
        prop_assert_eq!(dirty, "\u{FFFD}".repeat(junk.len()) + &clean);
    }

    /// A row may be taken up again anywhere: the two streams have all of the text.
    #[test]
    fn resumes_anywhere(text in texts(), at in 0.0..1.0) {
        for tokenizer in [&*BYTE_LEVEL, &*SENTENCEPIECE] {
            let prompt = tokenizer.encode("A prompt.", false).unwrap().ids;
            let ids = tokenizer.encode(&text, false).unwrap().ids;
            let cut = (at * ids.len() as f64) as usize;
            let mut first = stream(tokenizer, &prompt, &ids[..cut]);
            let held = first.pop().unwrap();
            prop_assert!(["", HALF].contains(&held.as_str()));
            let second = stream(tokenizer, &[&prompt[..], &ids[..cut]].concat(), &ids[cut..]);
            prop_assert_eq!(first.concat() + &second.concat(), stream(tokenizer, &prompt, &ids).concat());
        }
    }
}

#[test]
fn a_character_in_pieces() {
    let ids = SENTENCEPIECE.encode("龘", false).unwrap().ids;
    assert_eq!(stream(&SENTENCEPIECE, &[1], &ids[1..]), ["", "", "龘", ""]);
    assert_eq!(stream(&SENTENCEPIECE, &[1], &ids[1..3]), ["", "", "\u{FFFD}"]);
    let ids = BYTE_LEVEL.encode("🦉", false).unwrap().ids;
    let streamed = stream(&BYTE_LEVEL, &[], &ids);
    assert!(streamed.len() > 2, "one token");
    assert!(streamed[..ids.len() - 1].iter().all(String::is_empty));
    assert_eq!(streamed[ids.len() - 1..], ["🦉", ""]);
}

#[test]
fn a_replacement_character_of_the_text_is_text() {
    let ids = SENTENCEPIECE.encode("a\u{FFFD}", false).unwrap().ids;
    assert_eq!(stream(&SENTENCEPIECE, &ids, &ids[ids.len() - 3..]), ["", "", "\u{FFFD}", ""]);
    let ids = BYTE_LEVEL.encode("\u{FFFD}", false).unwrap().ids;
    let streamed = stream(&BYTE_LEVEL, &ids, &ids);
    assert_eq!(streamed[ids.len() - 1], "\u{FFFD}", "not held back");
}

#[test]
fn the_space_of_a_first_word_is_kept() {
    let ids = SENTENCEPIECE.encode("the fox", false).unwrap().ids;
    assert_eq!(SENTENCEPIECE.decode(&ids, false).unwrap(), "the fox");
    assert_eq!(stream(&SENTENCEPIECE, &[1], &ids).concat(), " the fox");
    assert_eq!(SENTENCEPIECE.decode_continuation(&ids, true).unwrap(), " the fox");
}

#[test]
fn special_tokens_are_text() {
    assert_eq!(stream(&BYTE_LEVEL, &[], &[1, 2, 560]).concat(), "<|im_start|><|im_end|>tool call");
    assert_eq!(stream(&SENTENCEPIECE, &[1], &[2, 0]).concat(), "</s><unk>");
    assert_eq!(BYTE_LEVEL.decode_continuation(&[1, 560, 2], true).unwrap(), "tool call");
}

#[test]
fn unknown_ids_are_nothing() {
    for tokenizer in [&*BYTE_LEVEL, &*SENTENCEPIECE] {
        assert_eq!(stream(tokenizer, &[99_999], &[99_999, u32::MAX]), ["", "", ""]);
    }
}

#[test]
fn endless_junk_takes_no_memory() {
    let junk = byte(&SENTENCEPIECE, 0x80);
    let start = byte(&SENTENCEPIECE, 0xF0);
    let mut detokenizer = Detokenizer::new(&SENTENCEPIECE, &[]).unwrap();
    for _ in 0..10_000 {
        assert_eq!(detokenizer.push(&SENTENCEPIECE, junk).unwrap(), "\u{FFFD}");
    }
    assert_eq!(detokenizer.push(&SENTENCEPIECE, start).unwrap(), "");
    for _ in 0..10_000 {
        assert_eq!(detokenizer.push(&SENTENCEPIECE, start).unwrap(), "\u{FFFD}");
    }
    assert_eq!(detokenizer.finish(), "\u{FFFD}");
    assert_eq!(detokenizer.finish(), "");
}
