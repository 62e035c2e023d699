//! The kitchen in Rust with the Spin SDK 5 (WASI 0.2); routes in tests/guests/README.md.

use std::sync::atomic::{AtomicU32, Ordering};

use futures::{SinkExt, StreamExt};
use spin_sdk::http::{Fields, IncomingRequest, Method, OutgoingResponse, ResponseOutparam, Scheme};
use spin_sdk::{http_component, variables};

type Headers = Vec<(String, Vec<u8>)>;

/// Starts an answer and gives the sink of its body.
fn start(
    outparam: ResponseOutparam,
    status: u16,
    headers: Headers,
) -> impl futures::Sink<Vec<u8>, Error = impl std::fmt::Debug> {
    let response = OutgoingResponse::new(Fields::from_list(&headers).unwrap());
    response.set_status_code(status).unwrap();
    let body = response.take_body();
    outparam.set(response);
    body
}

async fn answer(outparam: ResponseOutparam, status: u16, mut headers: Headers, text: String) {
    headers.push(("content-type".into(), b"text/plain".to_vec()));
    headers.push(("content-length".into(), text.len().to_string().into_bytes()));
    let mut body = std::pin::pin!(start(outparam, status, headers));
    body.send(text.into_bytes()).await.unwrap();
}

fn method_name(method: Method) -> String {
    match method {
        Method::Get => "GET".into(),
        Method::Head => "HEAD".into(),
        Method::Post => "POST".into(),
        Method::Put => "PUT".into(),
        Method::Delete => "DELETE".into(),
        Method::Connect => "CONNECT".into(),
        Method::Options => "OPTIONS".into(),
        Method::Trace => "TRACE".into(),
        Method::Patch => "PATCH".into(),
        Method::Other(name) => name,
    }
}

fn describe(request: &IncomingRequest) -> String {
    let headers: Vec<_> = request
        .headers()
        .entries()
        .into_iter()
        .map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()))
        .collect();
    let scheme = match request.scheme() {
        Some(Scheme::Http) => "http",
        Some(Scheme::Https) => "https",
        _ => "",
    };
    let json = serde_json::json!({
        "method": method_name(request.method()),
        "path": request.path_with_query().unwrap_or_default(),
        "authority": request.authority().unwrap_or_default(),
        "scheme": scheme,
        "headers": headers,
    });
    format!("{json}\n")
}

#[http_component]
async fn kitchen(request: IncomingRequest, outparam: ResponseOutparam) {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
    let target = request.path_with_query().unwrap_or_default();
    let (path, argument) = target.split_once('?').unwrap_or((&target, ""));
    let route = path.rsplit('/').next().unwrap_or_default();
    let mut headers = Headers::new();

    let (status, text) = match route {
        "hello" => {
            let n = wasi::random::random::get_random_u64();
            (200, format!("Hello from R! Your number is {n:020}.\n"))
        }
        "echo" => {
            if let Some(value) = request.headers().get(&"content-type".to_string()).pop() {
                headers.push(("content-type".into(), value));
            }
            let mut from = std::pin::pin!(request.into_body_stream());
            let mut to = std::pin::pin!(start(outparam, 200, headers));
            while let Some(Ok(part)) = from.next().await {
                if to.send(part).await.is_err() {
                    break;
                }
            }
            return;
        }
        "drain" => {
            let mut from = std::pin::pin!(request.into_body_stream());
            let mut n = 0;
            while let Some(Ok(part)) = from.next().await {
                n += part.len();
            }
            (200, n.to_string())
        }
        "env" => match std::env::var(argument) {
            Ok(value) => (200, value),
            Err(_) => (404, "no such variable".into()),
        },
        "variable" => match variables::get(argument) {
            Ok(value) => (200, value),
            Err(variables::Error::InvalidName(_)) => (404, "invalid-name".into()),
            Err(variables::Error::Undefined(_)) => (404, "undefined".into()),
            Err(variables::Error::Provider(_)) => (404, "provider".into()),
            Err(variables::Error::Other(_)) => (404, "other".into()),
        },
        "file" => match std::fs::read(argument) {
            Ok(bytes) => {
                let mut to = std::pin::pin!(start(outparam, 200, headers));
                for part in bytes.chunks(4096) {
                    to.send(part.to_vec()).await.unwrap();
                }
                return;
            }
            Err(e) => (404, e.to_string()),
        },
        "log" => {
            println!("out: {argument}");
            eprintln!("err: {argument}");
            (200, "logged".into())
        }
        "stream" => {
            let mut to = std::pin::pin!(start(outparam, 200, headers));
            for i in 0..argument.parse().unwrap_or(0) {
                if to.send(format!("chunk {i}\n").into_bytes()).await.is_err() {
                    break;
                }
            }
            return;
        }
        "status" => {
            headers.push(("x-kitchen".into(), b"yes".to_vec()));
            headers.push(("set-cookie".into(), b"a=1".to_vec()));
            headers.push(("set-cookie".into(), b"b=2".to_vec()));
            (argument.parse().unwrap_or(500), format!("status {argument}"))
        }
        "request" => (200, describe(&request)),
        "count" => (200, calls.to_string()),
        "sleep" => {
            let ns = argument.parse().unwrap_or(0) * 1_000_000;
            wasi::clocks::monotonic_clock::subscribe_duration(ns).block();
            (200, "slept".into())
        }
        _ => (404, format!("no route '{route}'")),
    };
    answer(outparam, status, headers, text).await;
}
