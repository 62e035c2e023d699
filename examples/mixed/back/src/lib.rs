//! The back of a mixed app, in Rust: what has to be quick. Its front is in JavaScript.

use futures::{SinkExt, StreamExt};
use spin_sdk::http::{Fields, IncomingRequest, Method, OutgoingResponse, ResponseOutparam};
use spin_sdk::http_component;

#[http_component]
async fn back(request: IncomingRequest, outparam: ResponseOutparam) {
    if let Err(problem) = serve(request, outparam).await {
        eprintln!("{problem:#}");
    }
}

async fn serve(request: IncomingRequest, outparam: ResponseOutparam) -> anyhow::Result<()> {
    let target = request.path_with_query().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let method = request.method();
    println!("{method} {path}"); // the log shows it with the request's id

    let status = match (&method, path) {
        (Method::Post, "/api/shout") | (Method::Get, "/api/count") => 200,
        (_, "/api/shout" | "/api/count") => 405,
        _ => 404,
    };
    let fields = [("content-type".to_string(), b"text/plain; charset=utf-8".to_vec())];
    let response = OutgoingResponse::new(Fields::from_list(&fields)?);
    response.set_status_code(status).expect("a status code");
    let mut to = response.take_body();
    outparam.set(response);

    match (status, path) {
        // The body in capitals, sent back while the rest of it still arrives.
        (200, "/api/shout") => {
            let mut from = request.into_body_stream();
            while let Some(part) = from.next().await {
                to.send(part?.to_ascii_uppercase()).await?;
            }
        }
        // A line at a time; each is on its way before the next is made.
        (200, _) => {
            let last = query.strip_prefix("to=").and_then(|n| n.parse().ok()).unwrap_or(10);
            for i in 1..=last {
                to.send(format!("{i}\n").into_bytes()).await?;
            }
        }
        _ => {}
    }
    Ok(())
}
