//! Key-value and SQL with the Spin SDK 5; routes in tests/guests/README.md.

use serde_json::{json, Value as Json};
use spin_sdk::http::{IntoResponse, Method, Request, Response};
use spin_sdk::http_component;
use spin_sdk::key_value::{self, Store};
use spin_sdk::sqlite::{self, Connection, Value};

fn answer(status: u16, body: impl Into<Vec<u8>>) -> Response {
    Response::builder()
        .status(status)
        .header("content-type", "text/plain")
        .body(body.into())
        .build()
}

fn stored(request: &Request, key: &str) -> Result<Response, key_value::Error> {
    let store = Store::open_default()?;
    Ok(match request.method() {
        Method::Get if key.is_empty() => {
            let mut keys = store.get_keys()?;
            keys.sort();
            answer(200, json!(keys).to_string())
        }
        Method::Get => match store.get(key)? {
            Some(value) => answer(200, value),
            None => answer(404, ""),
        },
        Method::Head => answer(if store.exists(key)? { 200 } else { 404 }, ""),
        Method::Post => {
            store.set(key, request.body())?;
            answer(201, "")
        }
        Method::Delete => {
            store.delete(key)?;
            answer(204, "")
        }
        _ => answer(405, ""),
    })
}

fn lower(value: &Json) -> Value {
    match value {
        Json::Number(n) if n.is_i64() => Value::Integer(n.as_i64().unwrap()),
        Json::Number(n) => Value::Real(n.as_f64().unwrap()),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(bytes) => {
            Value::Blob(bytes.iter().map(|b| b.as_u64().unwrap() as u8).collect())
        }
        _ => Value::Null,
    }
}

fn lift(value: &Value) -> Json {
    match value {
        Value::Integer(n) => json!(n),
        Value::Real(x) => json!(x),
        Value::Text(text) => json!(text),
        Value::Blob(bytes) => json!(bytes),
        Value::Null => Json::Null,
    }
}

fn selected(request: &Request) -> Result<Response, sqlite::Error> {
    let asked: Json = serde_json::from_slice(request.body()).unwrap();
    let parameters = asked["parameters"].as_array().unwrap();
    let parameters: Vec<Value> = parameters.iter().map(lower).collect();
    let db = Connection::open_default()?;
    let found = db.execute(asked["sql"].as_str().unwrap(), &parameters)?;
    let rows: Vec<Vec<Json>> =
        found.rows.iter().map(|row| row.values.iter().map(lift).collect()).collect();
    Ok(answer(200, json!({ "columns": found.columns, "rows": rows }).to_string()))
}

/// The case of an error and its text, as `Io("...")` is printed.
fn failed(error: impl std::fmt::Debug) -> Response {
    answer(500, format!("{error:?}"))
}

#[http_component]
fn state(request: Request) -> anyhow::Result<impl IntoResponse> {
    let path = request.path().trim_matches('/').to_string();
    let (kind, key) = path.split_once('/').unwrap_or((&path, ""));
    Ok(match kind {
        "hello" => answer(200, "Hello from Spin in Rust!\n"),
        "kv" => stored(&request, key).unwrap_or_else(failed),
        "sql" => selected(&request).unwrap_or_else(failed),
        _ => answer(404, ""),
    })
}
