//! Refuses a template whose nesting would take the compiler more stack than there is.
//!
//! The compiler bounds how deep blocks and brackets nest, but not how long a chain of operators, attributes,
//! filters or `elif` is, and works its way through each by recursion. All but the last lie within one tag.

use crate::limits::{MAX_ELIFS, MAX_TAG_BYTES};

/// Checks every tag of a template.
pub(super) fn check(template: &str) -> Result<(), String> {
    let elifs = template.matches("elif").count();
    if elifs > MAX_ELIFS {
        return Err(format!("{elifs} times \"elif\", more than {MAX_ELIFS}"));
    }
    let mut rest = template;
    while let Some(start) = rest.find("{{").into_iter().chain(rest.find("{%")).min() {
        let (code, after) = tag(&rest[start + 2..]);
        if code > MAX_TAG_BYTES {
            let line = 1 + template[..template.len() - rest.len() + start].matches('\n').count();
            return Err(format!("line {line}: a tag of {code} bytes, more than {MAX_TAG_BYTES}"));
        }
        rest = after;
    }
    Ok(())
}

/// The bytes of a tag that are not in quotes, and what follows the tag.
fn tag(text: &str) -> (usize, &str) {
    let (mut code, mut brackets, mut quote) = (0, 0_usize, None);
    let mut bytes = text.bytes().enumerate();
    while let Some((index, byte)) = bytes.next() {
        match (quote, byte) {
            (Some(_), b'\\') => drop(bytes.next()),
            (Some(open), _) => quote = quote.filter(|_| open != byte),
            (None, b'\'' | b'"') => quote = Some(byte),
            (None, b'}' | b'%') if brackets == 0 && closes(text, index) => return (code, &text[index + 2..]),
            (None, b'(' | b'[' | b'{') => brackets += 1,
            (None, b')' | b']' | b'}') => brackets = brackets.saturating_sub(1),
            _ => {}
        }
        code += usize::from(quote.is_none());
    }
    (code, "")
}

fn closes(text: &str, index: usize) -> bool {
    let end = &text.as_bytes()[index..];
    end.starts_with(b"}}") || end.starts_with(b"%}")
}
