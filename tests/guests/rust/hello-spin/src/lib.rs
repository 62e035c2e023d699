//! The bench's hello with the Spin SDK: a text of fixed length with a number drawn per request.

use spin_sdk::http::{IntoResponse, Request, Response};
use spin_sdk::http_component;
use wasi::random::random::get_random_u64;

#[http_component]
fn hello(_request: Request) -> impl IntoResponse {
    let text = format!("Hello from R! Your number is {:020}.\n", get_random_u64());
    Response::builder()
        .status(200)
        .header("content-type", "text/plain")
        .header("content-length", text.len().to_string())
        .body(text)
        .build()
}
