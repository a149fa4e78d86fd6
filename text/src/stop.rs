//! Stop strings: where a row ends (TGI's meaning) and where a text is cut (OpenAI's meaning).

use crate::limits::STOP_TAIL_BYTES;

/// Tells a shard that a row's output ends with a stop string.
///
/// This is TGI's rule: it looks only after each token, and only at the end of the output. One newline may
/// follow the stop string, for TGI matches with a Python `$`. An empty stop string ends a row after its first
/// token.
#[derive(Clone, Debug)]
pub struct StopStrings {
    list: Vec<String>,
    tail: String,
    /// Bytes of `tail` that are kept for sure.
    reach: usize,
}

impl StopStrings {
    /// For the stop strings of one request.
    pub fn new(list: &[String]) -> Self {
        let longest = list.iter().map(String::len).max().unwrap_or(0);
        Self { list: list.to_vec(), tail: String::new(), reach: (longest + 1).max(STOP_TAIL_BYTES) }
    }

    /// Takes one token's text; the index of the first stop string in the list that the output now ends with.
    pub fn push(&mut self, text: &str) -> Option<usize> {
        if self.list.is_empty() {
            return None;
        }
        self.tail.push_str(text);
        let line = self.tail.strip_suffix('\n');
        let ends_with =
            |stop: &String| self.tail.ends_with(stop) || line.is_some_and(|line| line.ends_with(stop));
        let hit = self.list.iter().position(ends_with);
        self.forget();
        hit
    }

    /// Drops what no stop string can reach any more, now and then.
    fn forget(&mut self) {
        if self.tail.len() > 2 * self.reach {
            let surplus = self.tail.len() - self.reach;
            let start = self.tail.char_indices().map(|(index, _)| index).find(|&index| index >= surplus);
            self.tail.drain(..start.unwrap_or(0));
        }
    }
}

/// Cuts a stream of text before the first stop string in it, wherever token borders are.
///
/// Text that may be the beginning of a stop string is held back. The stop string that is complete first
/// counts, the longest one if several are complete at once; so how the text is split into pieces makes no
/// difference. Empty stop strings are ignored.
#[derive(Clone, Debug)]
pub struct StopCutter {
    stops: Vec<Matcher>,
    held: String,
    stopped: bool,
}

/// What a [`StopCutter`] gives for a piece of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Text that is safe to send.
    pub text: String,
    /// Whether a stop string was found: nothing comes after this.
    pub stopped: bool,
}

impl StopCutter {
    /// For the stop strings of one request.
    pub fn new(list: &[String]) -> Self {
        let stops = list.iter().filter(|stop| !stop.is_empty()).map(|stop| Matcher::new(stop)).collect();
        Self { stops, held: String::new(), stopped: false }
    }

    /// Takes the next piece of text. After a stop every piece gives nothing.
    pub fn push(&mut self, text: &str) -> Cut {
        if self.stopped {
            return Cut { text: String::new(), stopped: true };
        }
        let before = self.held.len();
        self.held.push_str(text);
        for (index, byte) in text.bytes().enumerate() {
            if let Some(found) = self.step(byte) {
                self.stopped = true;
                let mut text = std::mem::take(&mut self.held);
                text.truncate(before + index + 1 - found);
                return Cut { text, stopped: true };
            }
        }
        let partial = self.stops.iter().map(|stop| stop.matched).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - partial);
        Cut { text: std::mem::replace(&mut self.held, rest), stopped: false }
    }

    /// The text held back, once it is known that no more comes. Empty after a stop.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Advances every stop string; the length of the longest that is now complete.
    fn step(&mut self, byte: u8) -> Option<usize> {
        self.stops.iter_mut().filter_map(|stop| stop.step(byte)).max()
    }
}

/// Finds one string in a stream of bytes (Knuth, Morris and Pratt): linear in time whatever the string.
#[derive(Clone, Debug)]
struct Matcher {
    string: Vec<u8>,
    /// For each length matched, the next shorter length that matches as well.
    shorter: Vec<u32>,
    /// How much of the string's beginning the stream now ends with.
    matched: usize,
}

impl Matcher {
    fn new(string: &str) -> Self {
        let mut matcher = Self { string: string.as_bytes().to_vec(), shorter: vec![0, 0], matched: 0 };
        for index in 1..string.len() {
            matcher.advance(matcher.string[index]);
            matcher.shorter.push(matcher.matched as u32);
        }
        matcher.matched = 0;
        matcher
    }

    fn advance(&mut self, byte: u8) {
        while self.matched > 0 && self.string[self.matched] != byte {
            self.matched = self.shorter[self.matched] as usize;
        }
        self.matched += usize::from(self.string[self.matched] == byte);
    }

    /// Takes one byte; the string's length if the stream now ends with it. Not to be called again after that.
    fn step(&mut self, byte: u8) -> Option<usize> {
        self.advance(byte);
        (self.matched == self.string.len()).then_some(self.matched)
    }
}
