//! A client of HTTP that hides nothing: status, headers and bytes as they came.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use ureq::http::{HeaderMap, Request, Response};
use ureq::{Agent, Body, BodyReader};

/// After this a request is taken for hung.
const HUNG: Duration = Duration::from_secs(120);

/// Sends requests to one server. Each has a connection of its own.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    base: String,
    headers: Vec<(String, String)>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The body, which is text on every route.
    pub body: String,
}

impl Client {
    /// Of the server at `address`.
    pub fn new(address: SocketAddr) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(HUNG))
            .max_idle_connections(0)
            .build();
        Self { agent: config.into(), base: format!("http://{address}"), headers: Vec::new() }
    }

    /// The same client, which also sends this header.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.push((name.to_owned(), value.to_owned()));
        client
    }

    /// A request without a body.
    pub fn send(&self, method: &str, path: &str) -> Answer {
        self.answer(method, path, "")
    }

    /// A GET.
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path)
    }

    /// A POST of JSON.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, &body.to_string())
    }

    /// A POST of what may or may not be JSON.
    pub fn post_text(&self, path: &str, body: &str) -> Answer {
        self.with("content-type", "application/json").answer("POST", path, body)
    }

    /// A POST without a content type.
    pub fn post_untyped(&self, path: &str, body: &str) -> Answer {
        self.answer("POST", path, body)
    }

    /// A POST of JSON whose answer is read event by event.
    pub fn stream(&self, path: &str, body: &Value) -> EventStream {
        let response = self.with("content-type", "application/json").call("POST", path, &body.to_string());
        let (parts, body) = response.into_parts();
        EventStream {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: BufReader::new(body.into_reader()),
        }
    }

    fn answer(&self, method: &str, path: &str, body: &str) -> Answer {
        let response = self.call(method, path, body);
        let (parts, body) = response.into_parts();
        let mut text = String::new();
        body.into_reader().read_to_string(&mut text).unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body: text }
    }

    fn call(&self, method: &str, path: &str, body: &str) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if body.is_empty() {
            return self.agent.run(request.body(()).unwrap()).unwrap();
        }
        self.agent.run(request.body(body.to_owned()).unwrap()).unwrap()
    }
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// A header's text, empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// An answer that is still coming. Dropping it closes the connection.
pub struct EventStream {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    body: BufReader<BodyReader<'static>>,
}

impl EventStream {
    /// The next event's data; `None` at the end. Checks the framing of each: `data: `, one line, one empty line.
    pub fn next_data(&mut self) -> Option<String> {
        let line = self.line()?;
        if line == ":" {
            assert_eq!(self.line().as_deref(), Some(""));
            return self.next_data();
        }
        let data = line.strip_prefix("data: ").unwrap_or_else(|| panic!("not an event: {line:?}")).to_owned();
        assert_eq!(self.line().as_deref(), Some(""));
        Some(data)
    }

    /// The next event's JSON.
    pub fn next_json(&mut self) -> Option<Value> {
        self.next_data()
            .map(|data| serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error} in {data}")))
    }

    /// The JSON of every event up to the end; a `[DONE]` becomes a string.
    pub fn rest(&mut self) -> Vec<Value> {
        let parse = |data: String| serde_json::from_str(&data).unwrap_or(Value::String(data));
        std::iter::from_fn(|| self.next_data()).map(parse).collect()
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let count = self.body.read_line(&mut line).unwrap();
        (count > 0).then(|| line.strip_suffix('\n').unwrap().to_owned())
    }
}
