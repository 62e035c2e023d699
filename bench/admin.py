"""The admin API of a node, as benches use it: ask, list, and what to deploy."""
import http.client
import json

PATIENCE_S = 1800  # compiling is waited for


def ask(address, token, method, path, body=None):
    """The answer to a request that has to succeed; `address` is HOST:PORT."""
    connection = http.client.HTTPConnection(address, timeout=PATIENCE_S)
    try:
        connection.request(method, path, body, {"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    if answer.status not in (200, 201):
        raise RuntimeError(f"{method} {path}: {answer.status} {text[:400]!r}")
    return json.loads(text)


def names(address, token):
    """Of all apps of the tenant `default`."""
    found, after = set(), ""
    while page := ask(address, token, "GET", f"/v1/tenants/default/apps?after={after}")["apps"]:
        found |= {x["name"] for x in page}
        after = page[-1]["name"]
    return found


def locked(name, digest):
    """An app of one component, as `spin` locks it."""
    return {"spin_lock_version": 0, "metadata": {"name": name, "triggers": {}},
            "triggers": [{"id": "a", "trigger_type": "http",
                          "trigger_config": {"route": "/...", "component": "c"}}],
            "components": [{"id": "c", "metadata": {"ebb": {"is_used": True}},
                            "source": {"content_type": "application/wasm", "digest": digest}}]}
