//! Tokens to text as OpenAI's clients see it: without special tokens, and cut before the first stop string.

use gristmill_text::StopCutter;

use crate::event::{Finish, FinishReason, Token};

/// Trims one generation, token by token.
pub(super) struct Trimmer {
    cutter: StopCutter,
    /// Bytes of text that the cutter was given.
    seen: usize,
    /// Tokens whose text is held back, as it may begin a stop string.
    held: Vec<Scored>,
}

/// A token of the answer, and the most likely ones at its place.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::http) struct Scored {
    pub(in crate::http) token: Token,
    pub(in crate::http) top: Vec<Token>,
}

/// What one token brought.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Trimmed {
    /// Text that is safe to show.
    pub(super) text: String,
    /// Tokens that this text came from. None while text is held back, and none for a stop string.
    pub(super) tokens: Vec<Scored>,
    /// OpenAI's `finish_reason`, at the end.
    pub(super) reason: Option<&'static str>,
}

impl Trimmer {
    /// For the stop strings of one request.
    pub(super) fn new(stops: &[String]) -> Self {
        Self { cutter: StopCutter::new(stops), seen: 0, held: Vec::new() }
    }

    /// Takes the next token. After a `reason` there is nothing more to take.
    pub(super) fn push(&mut self, token: Token, top: Vec<Token>, finish: Option<&Finish>) -> Trimmed {
        let mut text = String::new();
        let mut stopped = false;
        if !token.special {
            stopped = self.cut(&token.text, &mut text);
            self.held.push(Scored { token, top });
        }
        if let Some(finish) = finish {
            // A last character that never became complete is in no token's text.
            stopped |= self.cut(finish.text.get(self.seen..).unwrap_or_default(), &mut text);
            text.push_str(&self.cutter.finish());
        }
        if stopped && text.is_empty() {
            self.held.clear();
        }
        let tokens = if text.is_empty() { Vec::new() } else { std::mem::take(&mut self.held) };
        let reason = if stopped { Some("stop") } else { finish.map(|finish| name(finish.reason)) };
        Trimmed { text, tokens, reason }
    }

    /// Takes the next piece of text, appends what may be shown, and says whether a stop string was found.
    fn cut(&mut self, piece: &str, text: &mut String) -> bool {
        self.seen += piece.len();
        let cut = self.cutter.push(piece);
        text.push_str(&cut.text);
        cut.stopped
    }
}

fn name(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Length => "length",
        FinishReason::EosToken | FinishReason::StopSequence => "stop",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn token(text: &str) -> Token {
        Token { id: 7, text: text.to_owned(), logprob: -0.5, special: text.starts_with('<') }
    }

    fn finish(text: &str, reason: FinishReason) -> Finish {
        let (queued, inference) = (Duration::ZERO, Duration::ZERO);
        Finish { text: text.to_owned(), generated_tokens: 1, reason, seed: None, queued, inference }
    }

    /// The text shown after each token, how many tokens it came from, and the reason of the end.
    fn shown(
        stops: &[&str],
        texts: &[&str],
        end: Option<&Finish>,
    ) -> Vec<(String, usize, Option<&'static str>)> {
        let mut trimmer = Trimmer::new(&stops.iter().map(|stop| (*stop).to_owned()).collect::<Vec<_>>());
        let last = texts.len() - 1;
        let each = texts.iter().enumerate().map(|(index, text)| {
            let finish = end.filter(|_| index == last);
            let trimmed = trimmer.push(token(text), Vec::new(), finish);
            (trimmed.text, trimmed.tokens.len(), trimmed.reason)
        });
        each.collect()
    }

    fn line(
        text: &str,
        tokens: usize,
        reason: Option<&'static str>,
    ) -> (String, usize, Option<&'static str>) {
        (text.to_owned(), tokens, reason)
    }

    #[test]
    fn text_passes_and_special_tokens_do_not() {
        let end = finish("one two", FinishReason::EosToken);
        let lines = [line("one", 1, None), line(" two", 1, None), line("", 0, Some("stop"))];
        assert_eq!(shown(&[], &["one", " two", "</s>"], Some(&end)), lines);
    }

    #[test]
    fn a_stop_string_within_a_token_ends_it_there() {
        assert_eq!(shown(&["b"], &["aabaa"], None), [line("aa", 1, Some("stop"))]);
    }

    #[test]
    fn a_partial_stop_string_is_held_back_and_released_or_dropped() {
        let lines = [line("a", 1, None), line("", 0, None), line("", 0, Some("stop"))];
        assert_eq!(shown(&["END"], &["a", "EN", "D"], None), lines);
        let lines = [line("a", 1, None), line("", 0, None), line("ENx", 2, None)];
        assert_eq!(shown(&["END"], &["a", "EN", "x"], None), lines);
        let end = finish("aEN", FinishReason::Length);
        assert_eq!(
            shown(&["END"], &["a", "EN"], Some(&end)),
            [line("a", 1, None), line("EN", 1, Some("length"))]
        );
    }

    #[test]
    fn the_end_brings_what_no_token_had() {
        let end = finish("a\u{FFFD}", FinishReason::Length);
        assert_eq!(
            shown(&[], &["a", ""], Some(&end)),
            [line("a", 1, None), line("\u{FFFD}", 1, Some("length"))]
        );
    }

    #[test]
    fn the_shards_stop_is_a_stop_also_where_the_text_does_not_show_it() {
        let end = finish("a", FinishReason::StopSequence);
        assert_eq!(
            shown(&["</s>"], &["a", "</s>"], Some(&end)),
            [line("a", 1, None), line("", 0, Some("stop"))]
        );
    }

    proptest! {
        /// What is shown depends on the text alone, not on how it is split into tokens.
        #[test]
        fn splits_make_no_difference(texts in vec("[ab]{0,3}", 1..12), stops in vec("[ab]{1,3}", 0..3)) {
            let stops: Vec<_> = stops.iter().map(String::as_str).collect();
            let texts: Vec<_> = texts.iter().map(String::as_str).collect();
            let whole = texts.concat();
            let end = finish(&whole, FinishReason::Length);
            let split = shown(&stops, &texts, Some(&end));
            let until = split.iter().position(|(_, _, reason)| reason.is_some()).unwrap();
            let text: String = split[..=until].iter().map(|(text, _, _)| text.as_str()).collect();
            let together = &shown(&stops, &[&whole], Some(&end))[0];
            prop_assert_eq!((&text, split[until].2), (&together.0, together.2));
            let found = stops.iter().any(|stop| whole.contains(stop));
            prop_assert_eq!(together.2, Some(if found { "stop" } else { "length" }));
            prop_assert!(whole.starts_with(&text) && stops.iter().all(|stop| !text.contains(stop)));
        }
    }
}
