//! Stop strings against naive models.

use gristmill_text::{Cut, StopCutter, StopStrings};
use proptest::collection::vec;
use proptest::prelude::*;

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

/// Few letters, so that stop strings often begin, repeat and overlap.
fn text() -> impl Strategy<Value = String> {
    "[abé😀\n]{0,6}"
}

/// All that a cutter lets through, and whether it stopped.
fn cut(stops: &[String], pieces: &[String]) -> (String, bool) {
    let mut cutter = StopCutter::new(stops);
    let mut out = String::new();
    let mut stopped = false;
    for piece in pieces {
        let cut = cutter.push(piece);
        assert!(!stopped || cut == Cut { text: String::new(), stopped: true });
        out += &cut.text;
        stopped = cut.stopped;
    }
    out += &cutter.finish();
    (out, stopped)
}

/// Reads character by character until the text ends with a stop string.
fn naive_cut(stops: &[String], text: &str) -> (String, bool) {
    let ends = text.char_indices().map(|(index, c)| index + c.len_utf8());
    for end in ends {
        let found = stops.iter().filter(|stop| !stop.is_empty() && text[..end].ends_with(*stop));
        if let Some(longest) = found.map(String::len).max() {
            return (text[..end - longest].to_owned(), true);
        }
    }
    (text.to_owned(), false)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn cutter_is_as_the_naive_one(stops in vec(text(), 0..4), pieces in vec(text(), 0..12)) {
        prop_assert_eq!(cut(&stops, &pieces), naive_cut(&stops, &pieces.concat()));
    }

    /// No more is held back than what may begin a stop string, and nothing is sent that is part of one.
    #[test]
    fn cutter_holds_back_what_it_must(stops in vec(text(), 1..4), pieces in vec(text(), 1..12)) {
        let mut cutter = StopCutter::new(&stops);
        let (mut fed, mut sent) = (String::new(), String::new());
        for piece in &pieces {
            let cut = cutter.push(piece);
            if cut.stopped {
                return Ok(());
            }
            fed += piece;
            sent += &cut.text;
            let held = fed.strip_prefix(&sent).unwrap();
            let starts = fed.char_indices().map(|(index, _)| &fed[index..]);
            let needed = starts.filter(|end| stops.iter().any(|stop| stop.starts_with(end))).max_by_key(|end| end.len());
            prop_assert_eq!(held, needed.unwrap_or(""));
        }
    }

    #[test]
    fn stop_strings_end_a_row(stops in vec(text(), 0..4), pieces in vec(text(), 0..100)) {
        let mut matcher = StopStrings::new(&stops);
        let mut output = String::new();
        for piece in &pieces {
            output += piece;
            let ends = |stop: &String| output.ends_with(stop) || output.ends_with(&format!("{stop}\n"));
            prop_assert_eq!(matcher.push(piece), stops.iter().position(ends));
        }
    }
}

#[test]
fn stop_strings_look_at_token_borders_only() {
    let mut stops = StopStrings::new(&strings(&["END", "\n\n"]));
    assert_eq!(stops.push("the END."), None);
    assert_eq!(stops.push("EN"), None);
    assert_eq!(stops.push("D"), Some(0));
    assert_eq!(stops.push("\n"), Some(0), "as Python's $ has it");
    assert_eq!(stops.push("\n"), Some(1));
    assert_eq!(StopStrings::new(&[]).push("x"), None);
    assert_eq!(StopStrings::new(&strings(&[""])).push("x"), Some(0));
}

#[test]
fn long_stop_strings_are_found() {
    let long = "0123456789".repeat(50);
    let mut stops = StopStrings::new(std::slice::from_ref(&long));
    let text = "junk".repeat(1000) + &long;
    let last = text.chars().map(|c| stops.push(&c.to_string())).collect::<Vec<_>>();
    assert_eq!(last.iter().position(Option::is_some), Some(text.len() - 1));
}

#[test]
fn cutter_takes_what_is_complete_first() {
    let pieces = strings(&["xabcd"]);
    assert_eq!(cut(&strings(&["abcd", "bc"]), &pieces), ("xa".to_owned(), true));
    assert_eq!(cut(&strings(&["cd", "abcd"]), &pieces), ("x".to_owned(), true));
    assert_eq!(cut(&strings(&["abcde"]), &pieces), ("xabcd".to_owned(), false));
    assert_eq!(cut(&strings(&["", "zz"]), &pieces), ("xabcd".to_owned(), false));
}

#[test]
fn cutter_is_linear() {
    let stop = "a".repeat(200_000) + "b";
    let text = vec!["a".repeat(1000); 1000];
    let (out, stopped) = cut(&[stop], &text);
    assert_eq!((out.len(), stopped), (1_000_000, false));
}
