//! A small app in Rust with the Spin SDK: a file, an upload, a stream and a call to another server,
//! one function each.
//!
//! Every request is met by a new sandbox, so there is no state to keep apart and none to lose.

use futures::{Sink, SinkExt, StreamExt};
use spin_sdk::http::{
    send, Fields, IncomingRequest, IncomingResponse, Method, OutgoingResponse, Request,
    ResponseOutparam,
};
use spin_sdk::{http_component, variables};

/// Sends the head of an answer, and gives the sink of its body.
fn answer(
    outparam: ResponseOutparam,
    status: u16,
) -> impl Sink<Vec<u8>, Error = anyhow::Error> + Unpin {
    let fields = [("content-type".to_string(), b"text/plain; charset=utf-8".to_vec())];
    let response = OutgoingResponse::new(Fields::from_list(&fields).unwrap());
    response.set_status_code(status).unwrap();
    let body = response.take_body();
    outparam.set(response);
    body.sink_map_err(anyhow::Error::from)
}

/// GET /: a file that came with the app.
async fn welcome(outparam: ResponseOutparam) -> anyhow::Result<()> {
    let text = std::fs::read("/assets/welcome.txt")?;
    answer(outparam, 200).send(text).await?;
    Ok(())
}

/// POST /shout: the body in capitals, sent back while the rest of it still arrives.
async fn shout(request: IncomingRequest, outparam: ResponseOutparam) -> anyhow::Result<()> {
    let mut from = request.into_body_stream();
    let mut to = answer(outparam, 200);
    while let Some(part) = from.next().await {
        to.send(part?.to_ascii_uppercase()).await?;
    }
    Ok(())
}

/// GET /count?to=3: a line at a time; each is on its way before the next is made.
async fn count(query: &str, outparam: ResponseOutparam) -> anyhow::Result<()> {
    let to = query.strip_prefix("to=").and_then(|n| n.parse().ok()).unwrap_or(10);
    let mut body = answer(outparam, 200);
    for i in 1..=to {
        body.send(format!("{i}\n").into_bytes()).await?;
    }
    Ok(())
}

/// GET /relay: what the server named by the variable `upstream` answers.
async fn relay(outparam: ResponseOutparam) -> anyhow::Result<()> {
    let url = variables::get("upstream")?;
    let response: IncomingResponse = match send(Request::get(&url)).await {
        Ok(response) => response,
        Err(problem) => {
            eprintln!("{url}: {problem}");
            answer(outparam, 502).send(format!("{url}: {problem}\n").into_bytes()).await?;
            return Ok(());
        }
    };
    let mut from = response.take_body_stream();
    let mut to = answer(outparam, response.status());
    while let Some(part) = from.next().await {
        to.send(part?).await?;
    }
    Ok(())
}

#[http_component]
async fn app(request: IncomingRequest, outparam: ResponseOutparam) {
    let target = request.path_with_query().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let method = request.method();
    println!("{method} {path}"); // the log shows it with the request's id

    let done = match (method, path) {
        (Method::Get, "/") => welcome(outparam).await,
        (Method::Post, "/shout") => shout(request, outparam).await,
        (Method::Get, "/count") => count(query, outparam).await,
        (Method::Get, "/relay") => relay(outparam).await,
        (_, "/" | "/shout" | "/count" | "/relay") => answer(outparam, 405).close().await,
        _ => answer(outparam, 404).close().await,
    };
    if let Err(problem) = done {
        eprintln!("{problem:#}");
    }
}
