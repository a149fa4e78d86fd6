//! The API key of the protected routes.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};

use super::House;

/// Lets a request pass if no key is set or it carries the key; else 401 with an empty body.
pub(super) async fn require_key(State(house): State<Arc<House>>, request: Request, next: Next) -> Response {
    match &house.config.api_key {
        Some(key) if !carries(request.headers(), key) => StatusCode::UNAUTHORIZED.into_response(),
        _ => next.run(request).await,
    }
}

/// Whether `Authorization` is `Bearer {key}`. The scheme's case does not matter; that of the key does.
fn carries(headers: &HeaderMap, key: &str) -> bool {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return false };
    let Some((scheme, given)) = value.as_bytes().split_at_checked("Bearer ".len()) else { return false };
    scheme.eq_ignore_ascii_case(b"Bearer ") && same(given, key.as_bytes())
}

/// Compares in a time that depends on the lengths only, so that the key cannot be guessed byte by byte.
fn same(given: &[u8], key: &[u8]) -> bool {
    let difference =
        given.iter().zip(key).fold(0, |difference, (a, b)| std::hint::black_box(difference | (a ^ b)));
    given.len() == key.len() && difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_key_passes() {
        let passes = |value: &'static str| {
            carries(&HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]), "Secret")
        };
        assert!(passes("Bearer Secret") && passes("bearer Secret") && passes("BEARER Secret"));
        for wrong in [
            "Bearer secret",
            "Bearer Secre",
            "Bearer Secrets",
            "Bearer ",
            "Bearer",
            "Secret",
            "Basic Secret",
            "",
        ] {
            assert!(!passes(wrong), "{wrong:?}");
        }
        assert!(!carries(&HeaderMap::new(), "Secret"));
    }
}
