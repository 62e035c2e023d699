"""Component sources (spin.md 1.3): by URL and digest, and from package registries."""
import hashlib
import json

import pytest

from backends import Authority
from harness import ebb, fetch, guest, serving, write_app

HEAD = """spin_manifest_version = 2
[application]
name = "s"
[[trigger.http]]
route = "/..."
component = "k"
[component.k]
environment = { WHO = "k" }
"""


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def by_url(tmp_path, url, sha):
    return write_app(tmp_path / "app", HEAD + f'source = {{ url = "{url}", digest = "{sha}" }}\n')


def test_by_url_once_then_from_the_cache(tmp_path, file_server, workers):
    data = guest("c-kitchen").read_bytes()
    file_server.files["/k.wasm"] = data
    app = by_url(tmp_path, file_server.url + "/k.wasm", digest(data))
    cache = tmp_path / "cache"
    with serving(app, tmp_path, "--cache-dir", str(cache), workers=workers) as server:
        assert fetch(server, "/env?WHO").text == "k"
    assert (cache / "sources" / digest(data)[7:]).read_bytes() == data
    assert file_server.seen == ["/k.wasm"]
    with serving(app, tmp_path, "--cache-dir", str(cache), workers=workers) as server:
        assert fetch(server, "/env?WHO").text == "k"
    assert file_server.seen == ["/k.wasm"], "the second start asked nobody"
    assert not (app / "k.wasm").exists()


def test_another_content_is_refused_and_not_kept(tmp_path, file_server):
    file_server.files["/k.wasm"] = b"something else"
    want = digest(guest("c-kitchen").read_bytes())
    app = by_url(tmp_path, file_server.url + "/k.wasm", want)
    _, err = ebb("up", "-f", app, "--cache-dir", tmp_path / "cache", status=1)
    assert want in err and digest(b"something else") in err and "component 'k'" in err
    assert list((tmp_path / "cache" / "sources").iterdir()) == []


def test_insecure(tmp_path, file_server):
    """-k: a certificate that nobody vouches for is refused without it."""
    data = guest("c-kitchen").read_bytes()
    context = Authority(tmp_path).context()
    file_server.http.socket = context.wrap_socket(file_server.http.socket, server_side=True)
    file_server.files["/k.wasm"] = data
    app = by_url(tmp_path, f"https://{file_server.host}/k.wasm", digest(data))
    cache = ("--cache-dir", str(tmp_path / "cache"))
    _, err = ebb("up", "-f", app, *cache, status=1)
    assert "certificate" in err
    with serving(app, tmp_path, *cache, "-k") as server:
        assert fetch(server, "/env?WHO").text == "k"


def test_a_redirect_is_followed(tmp_path, file_server):
    data = guest("c-kitchen").read_bytes()
    file_server.files["/real"] = data
    file_server.redirects["/k.wasm"] = file_server.url + "/real"
    app = by_url(tmp_path, file_server.url + "/k.wasm", digest(data))
    with serving(app, tmp_path, "--cache-dir", str(tmp_path / "cache")) as server:
        assert fetch(server, "/env?WHO").status == 200


@pytest.mark.parametrize("path,says", [("/absent", "404"), ("/loop", "redirects")])
def test_failures_say_what_happened(tmp_path, file_server, path, says):
    file_server.redirects["/loop"] = file_server.url + "/loop"
    app = by_url(tmp_path, file_server.url + path, "sha256:" + "0" * 64)
    _, err = ebb("up", "-f", app, "--cache-dir", tmp_path / "cache", status=1)
    assert says in err and path in err and "component 'k'" in err


def test_only_http_and_https_are_spoken(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"x")
    app = by_url(tmp_path, f"file://{secret}", digest(b"x"))
    _, err = ebb("up", "-f", app, "--cache-dir", tmp_path / "cache", status=1)
    assert "file" in err and "component 'k'" in err or "spin.toml:" in err


def test_nobody_there(tmp_path):
    app = by_url(tmp_path, "http://127.0.0.1:1/k.wasm", "sha256:" + "0" * 64)
    _, err = ebb("up", "-f", app, "--cache-dir", tmp_path / "cache", status=1)
    assert "127.0.0.1:1" in err and "component 'k'" in err


def test_a_source_by_url_needs_its_digest(tmp_path):
    app = write_app(tmp_path / "app", HEAD + 'source = { url = "http://127.0.0.1:1/k.wasm" }\n')
    _, err = ebb("up", "-f", app, status=1)
    assert "spin.toml:9:" in err and "digest" in err


def test_a_damaged_download_is_noticed(tmp_path, file_server):
    data = guest("c-kitchen").read_bytes()
    file_server.files["/k.wasm"] = data
    app = by_url(tmp_path, file_server.url + "/k.wasm", digest(data))
    cache = tmp_path / "cache"
    with serving(app, tmp_path, "--cache-dir", str(cache)):
        pass
    kept = cache / "sources" / digest(data)[7:]
    kept.chmod(0o600)
    kept.write_bytes(guest("hello").read_bytes())
    _, err = ebb("up", "-f", app, "--cache-dir", cache, status=1)
    assert "damaged" in err and str(kept) in err


# --- packages

def publish(server, repository, version, data, media="application/wasm", promise=None):
    """An OCI artifact with one layer, as the package tools push it."""
    layer = promise or digest(data)
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": {"mediaType": "application/vnd.wasm.config.v0+json", "size": 2,
                           "digest": digest(b"{}")},
                "layers": [{"mediaType": media, "digest": layer, "size": len(data)}]}
    server.files[f"/v2/{repository}/manifests/{version}"] = json.dumps(manifest).encode()
    server.files[f"/v2/{repository}/blobs/{layer}"] = data


def packaged(tmp_path, registry, extra=""):
    return write_app(tmp_path / "app", HEAD + f'source = {{ registry = "{registry}", package = '
                     f'"kitchen:c", version = "1.2.3"{extra} }}\n')


def test_a_package_by_well_known(tmp_path, file_server, workers):
    data = guest("c-kitchen").read_bytes()
    file_server.files["/.well-known/wasm-pkg/registry.json"] = json.dumps(
        {"preferredProtocol": "oci",
         "oci": {"registry": file_server.host, "namespacePrefix": "some/where/"}}).encode()
    publish(file_server, "some/where/kitchen/c", "1.2.3", data)
    cache = tmp_path / "cache"
    app = packaged(tmp_path, file_server.host)
    for _ in range(2):
        with serving(app, tmp_path, "--cache-dir", str(cache), workers=workers) as server:
            assert fetch(server, "/env?WHO").text == "k"
    assert len(file_server.seen) == 3, "a version that is in the cache is asked for no more"


def test_a_registry_without_well_known_is_its_own(tmp_path, file_server):
    publish(file_server, "kitchen/c", "1.2.3", guest("c-kitchen").read_bytes(),
            media="application/vnd.wasm.content.layer.v1+wasm")
    with serving(packaged(tmp_path, file_server.host), tmp_path, "--cache-dir",
                 str(tmp_path / "cache")) as server:
        assert fetch(server, "/env?WHO").text == "k"


def test_a_registry_that_gives_tokens_to_anybody(tmp_path, file_server):
    publish(file_server, "kitchen/c", "1.2.3", guest("c-kitchen").read_bytes())
    file_server.files["/token"] = b'{"token": "sesame"}'
    file_server.token = "sesame"
    with serving(packaged(tmp_path, file_server.host), tmp_path, "--cache-dir",
                 str(tmp_path / "cache")) as server:
        assert fetch(server, "/env?WHO").text == "k"
    assert any(s.startswith("/token?service=here&scope=pull") for s in file_server.seen)


def test_what_can_be_wrong_with_a_package(tmp_path, file_server):
    def fails():
        return ebb("up", "-f", packaged(tmp_path, file_server.host), "--cache-dir",
                   tmp_path / "cache", status=1)[1]
    assert "/v2/kitchen/c/manifests/1.2.3" in fails()
    publish(file_server, "kitchen/c", "1.2.3", b"x", media="text/plain")
    assert "no layer of WebAssembly" in fails()
    publish(file_server, "kitchen/c", "1.2.3", b"x", promise="sha256:" + "1" * 64)
    assert digest(b"x") in fails()
    file_server.files["/v2/kitchen/c/manifests/1.2.3"] = b"{"
    assert "not JSON" in fails()
    file_server.files["/.well-known/wasm-pkg/registry.json"] = b'{"preferredProtocol": "warg"}'
    assert "warg" in fails()


def test_a_package_without_a_registry(tmp_path):
    app = write_app(tmp_path / "app",
                    HEAD + 'source = { package = "kitchen:c", version = "1.2.3" }\n')
    _, err = ebb("up", "-f", app, status=1)
    assert "registry" in err and "kitchen:c" in err
