// Key-value and SQL with the Spin SDK's tools; routes in tests/guests/README.md.
import { Store } from "fermyon:spin/key-value@2.0.0";
import { Connection } from "fermyon:spin/sqlite@2.0.0";

function answer(status, body = null) {
    return new Response(body, { status, headers: { "content-type": "text/plain" } });
}

async function stored(request, key) {
    const store = Store.open("default");
    switch (request.method) {
        case "GET": {
            if (key === "") return answer(200, JSON.stringify(store.getKeys().sort()));
            const value = store.get(key);
            return value === undefined ? answer(404) : answer(200, value);
        }
        case "HEAD":
            return answer(store.exists(key) ? 200 : 404);
        case "POST":
            store.set(key, new Uint8Array(await request.arrayBuffer()));
            return answer(201);
        case "DELETE":
            store.delete(key);
            return answer(204);
    }
    return answer(405);
}

function lower(value) {
    if (value === null) return { tag: "null" };
    if (typeof value === "string") return { tag: "text", val: value };
    if (Array.isArray(value)) return { tag: "blob", val: new Uint8Array(value) };
    if (Number.isInteger(value)) return { tag: "integer", val: BigInt(value) };
    return { tag: "real", val: value };
}

function lift({ tag, val }) {
    if (tag === "null") return null;
    if (tag === "blob") return [...val];
    return tag === "integer" ? Number(val) : val;
}

async function selected(request) {
    const { sql, parameters } = await request.json();
    const found = Connection.open("default").execute(sql, parameters.map(lower));
    const rows = found.rows.map((row) => row.values.map(lift));
    return answer(200, JSON.stringify({ columns: found.columns, rows }));
}

async function serve(request) {
    const [, kind, ...rest] = new URL(request.url).pathname.split("/");
    try {
        if (kind === "hello") return answer(200, "Hello from Spin in JavaScript!\n");
        if (kind === "kv") return await stored(request, rest.join("/"));
        if (kind === "sql") return await selected(request);
    } catch (error) {
        if (error.payload === undefined) throw error;
        return answer(500, `${error.payload.tag} ${error.payload.val ?? ""}`);
    }
    return answer(404);
}

addEventListener("fetch", (event) => event.respondWith(serve(event.request)));
