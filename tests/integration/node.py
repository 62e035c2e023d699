"""A node of many tenants: starts `ebb serve`, logs in, deploys, asks the admin API."""
import contextlib
import http.client
import json
import os
import signal
import subprocess
from pathlib import Path

from harness import EBB, PATIENCE_S, Server, ebb, environment, fetch


class Node(Server):
    """A running `ebb serve` with a home for its clients."""

    def await_ready(self):
        self.read_ready()
        self.host, port = self.ready["address"].rsplit(":", 1)
        self.port = int(port)
        self.admin = self.ready["admin"]
        self.socket = self.data / "admin.sock"
        return self

    def api(self, method, path, body=None, token=None, headers=None, raw=False):
        """(status, answer) of the admin API; the operator's token unless another is given."""
        head = {"Authorization": f"Bearer {self.token if token is None else token}"}
        head |= headers or {}
        data = body if raw or body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection(self.admin, timeout=PATIENCE_S)
        try:
            connection.request(method, path, data, {k: v for k, v in head.items() if v})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        return answer.status, json.loads(text) if is_json and text else text

    def api_stream(self, path):
        """The answer of a GET that does not end by itself, to be read line by line."""
        connection = http.client.HTTPConnection(self.admin, timeout=PATIENCE_S)
        connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
        return connection.getresponse()

    def run(self, command, *args, token=None, tenant=None, status=0, cwd=None):
        """An `ebb` command about this node; returns its stdout."""
        env = {"EBB_NODE": f"http://{self.admin}", "EBB_TOKEN": token or self.token,
               "HOME": str(self.home)} | ({"EBB_TENANT": tenant} if tenant else {})
        out, err = ebb(command, *args, env=env, status=status, cwd=cwd)
        return out if status == 0 else out + err

    def get(self, app, target="/", tenant="default", **more):
        return fetch(self, target, host=f"{app}-{tenant}.localhost:{self.port}", **more)

    def tenant(self, name, role="owner"):
        """Makes a tenant; returns a token of it."""
        status, _ = self.api("POST", "/v1/tenants", {"name": name})
        assert status in (201, 409)
        return self.token_of(name, role)

    def token_of(self, tenant, role, **more):
        status, made = self.api("POST", f"/v1/tenants/{tenant}/tokens", {"role": role} | more)
        assert status == 201, made
        return made["token"]


@contextlib.contextmanager
def node(folder, *args, workers=1, settings=None, token=None, binary=EBB, env=None,
         may_die=False):
    """Runs `ebb serve` on folder/data while the block runs."""
    folder = Path(folder)
    data = folder / "data"
    (folder / "home").mkdir(parents=True, exist_ok=True)
    if settings is not None:
        data.mkdir(exist_ok=True)
        (data / "ebb.toml").write_text(settings)
    log_path = folder / "node.log"
    command = [str(binary), "serve", "--data", str(data), "--listen", "127.0.0.1:0", "--admin",
               "127.0.0.1:0", "--json", "--workers", str(workers), *args]
    with open(log_path, "ab") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True,
                                   env=environment() | (env or {}))
    n = Node(process, log_path)
    n.data, n.home = data, folder / "home"
    try:
        n.await_ready()
        n.token = n.ready.get("token", token)
        yield n
        status = n.stop()
        assert status == 0 or may_die, f"exit status {status}:\n{n.log()[-4000:]}"
        assert "Sanitizer" not in n.log(), n.log()[-8000:]
        assert "this is a bug in ebb" not in n.log(), n.log()[-4000:]
    finally:
        if process.poll() is None:
            for role in ("worker", "store", "keeper"):
                for pid in n.children(role):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            process.kill()
            process.wait()
        process.stdout.close()
