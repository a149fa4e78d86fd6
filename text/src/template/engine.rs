//! The template engine, set up as transformers sets up Jinja.

use std::{io, thread};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, State, Template, UndefinedBehavior, escape_formatter, filters,
};
use minijinja_contrib::filters::datetimeformat;

use super::json::tojson;
use super::{budget, methods, shape};
use crate::contained::contain;
use crate::limits::TEMPLATE_STACK_BYTES;

/// The name in error messages; TGI's templates have it too.
const NAME: &str = "<string>";

/// Compiles a template into an engine of its own.
pub(super) fn compile(template: &str) -> Result<Environment<'static>, String> {
    shape::check(template)?;
    let mut engine = Environment::new();
    engine.set_syntax(syntax().map_err(|error| error.to_string())?);
    engine.set_auto_escape_callback(|_| AutoEscape::None);
    engine.set_undefined_behavior(UndefinedBehavior::Lenient);
    engine.set_unknown_method_callback(methods::call);
    engine.set_formatter(write_value);
    engine.add_filter("format", methods::format);
    engine.add_filter("string", string);
    engine.add_filter("tojson", tojson);
    engine.remove_filter("pprint");
    engine.remove_global("debug");
    engine.add_test("iterable", is_iterable);
    engine.add_test("sequence", is_sequence);
    engine.add_function("raise_exception", raise_exception);
    engine.add_function("strftime_now", strftime_now);
    let source = without_generation_tags(template);
    on_deep_stack(|| engine.add_template_owned(NAME, source))?.map_err(|error| error.to_string())?;
    Ok(engine)
}

/// Whether the template asks for `variable`.
pub(super) fn uses(engine: &Environment<'static>, variable: &str) -> Result<bool, String> {
    on_deep_stack(|| {
        template(engine).is_ok_and(|template| template.undeclared_variables(false).contains(variable))
    })
}

fn template<'a>(engine: &'a Environment<'static>) -> Result<Template<'a, 'a>, Error> {
    engine.get_template(NAME)
}

/// What a rendering may take; see [`crate::limits`].
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// Units of work.
    pub(super) fuel: u64,
    /// Bytes of output.
    pub(super) output: usize,
}

/// Renders within `bounds`.
pub(super) fn render(
    engine: &Environment<'static>,
    variables: Value,
    bounds: Bounds,
) -> Result<String, String> {
    let mut engine = engine.clone();
    engine.set_fuel(Some(bounds.fuel));
    let mut output = Output { bytes: Vec::new(), limit: bounds.output };
    let rendered = on_deep_stack(|| template(&engine)?.render_captured_to(variables, &mut output).map(drop))?;
    match rendered {
        Err(_) if output.is_full() => {
            Err(format!("the template's output is larger than {} bytes", bounds.output))
        }
        Err(error) => Err(error.to_string()),
        Ok(()) => String::from_utf8(output.bytes).map_err(|error| error.to_string()),
    }
}

/// Runs `work` on a thread whose stack holds the deepest code or value that the bounds let through. Starting
/// one takes some 30 us.
fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("template".to_owned()).stack_size(TEMPLATE_STACK_BYTES);
        let thread = thread.spawn_scoped(scope, || contain(work)).map_err(|error| error.to_string())?;
        thread.join().ok().flatten().ok_or_else(|| "the template engine panicked".to_owned())
    })
}

fn syntax() -> Result<SyntaxConfig, Error> {
    SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()
}

/// `{% generation %}` marks what a training run learns from. It becomes a block that always is rendered, so
/// that white space around it is handled as for any block.
fn without_generation_tags(template: &str) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((text, tag)) = rest.split_once("{%") {
        out.push_str(text);
        out.push_str("{%");
        rest = tag;
        for (word, block) in [("generation", " if true "), ("endgeneration", " endif ")] {
            if let Some((sign, after)) = lone_word(tag, word) {
                out.push_str(sign);
                out.push_str(block);
                rest = after;
            }
        }
    }
    out + rest
}

/// If a tag, from behind its `{%`, has just this word: the sign before it, and what follows it.
fn lone_word<'a>(tag: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    let (sign, rest) = tag.split_at(usize::from(tag.starts_with(['-', '+'])));
    let rest = rest.trim_start().strip_prefix(word)?.trim_start();
    rest.trim_start_matches(['-', '+']).starts_with("%}").then_some((sign, rest))
}

fn write_value(out: &mut minijinja::Output, state: &mut State, value: &Value) -> Result<(), Error> {
    if value.as_object().is_none() {
        return escape_formatter(out, state, value);
    }
    Ok(out.write_str(&budget::show(state, value)?)?)
}

fn string(state: &State, value: &Value) -> Result<Value, Error> {
    if value.as_object().is_none() {
        return filters::string(state, value);
    }
    budget::show(state, value).map(Value::from)
}

/// In Python `None` cannot be iterated; here it could.
fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

/// In Python strings and dicts have a length and items, which is all that Jinja asks.
fn is_sequence(value: &Value) -> bool {
    value.is_undefined() || matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::String)
}

fn raise_exception(state: &State, message: &Value) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::SyntaxError, budget::show(state, message)?))
}

fn strftime_now(state: &State, format: &Value) -> Result<String, Error> {
    let kwargs = Kwargs::from_iter([("format", format.clone())]);
    datetimeformat(state, minijinja_contrib::globals::now(), kwargs)
}

/// Takes bytes up to a limit.
struct Output {
    bytes: Vec<u8>,
    limit: usize,
}

impl Output {
    fn is_full(&self) -> bool {
        self.bytes.len() == self.limit
    }
}

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.limit - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
