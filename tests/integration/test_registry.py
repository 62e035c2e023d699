"""Apps from registries (spin.md 4.4): the shapes that `spin registry push` makes, pulled with
`ebb up -f REFERENCE` and `--from-registry`."""
import base64
import gzip
import hashlib
import io
import json
import tarfile

import pytest

from harness import ebb, fetch, guest, serving

LOCKED = "application/vnd.fermyon.spin.application.v1+config"
WASM = "application/vnd.wasm.content.layer.v1+wasm"
DATA = "application/vnd.wasm.content.layer.v1+data"
ARCHIVE = "application/vnd.wasm.content.bundle.v1.tar+gzip"
SMALL, LARGE = b"a small file", bytes(range(256)) * 40


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Artifact:
    """What is pushed, blob by blob."""

    def __init__(self, server, repository="owner/app"):
        self.server, self.repository, self.layers = server, repository, []
        self.reference = f"{server.host}/{repository}"

    def blob(self, data):
        self.server.files[f"/v2/{self.repository}/blobs/{digest(data)}"] = data
        return digest(data)

    def layer(self, data, media):
        self.layers.append(self.descriptor(data, media))
        return digest(data)

    def descriptor(self, data, media):
        return {"mediaType": media, "digest": self.blob(data), "size": len(data)}

    def push(self, locked, tag="v1", old=False):
        """old: the locked app is the image's configuration, as years ago."""
        text, layers = json.dumps(locked).encode(), self.layers
        config = self.descriptor(text, LOCKED)
        if not old:
            layers = [*layers, config]
            image = json.dumps({"architecture": "wasm", "os": "Wasip1", "config": {"Labels": {
                "com.fermyon.spin.lockedAppDigest": digest(text)}}}).encode()
            config = self.descriptor(image, "application/vnd.oci.image.config.v1+json")
        manifest = json.dumps({"schemaVersion": 2, "config": config, "layers": layers,
                               "mediaType": "application/vnd.oci.image.manifest.v1+json"}).encode()
        for name in (tag, digest(manifest)):
            self.server.files[f"/v2/{self.repository}/manifests/{name}"] = manifest
        return digest(manifest)


def locked(wasm, files=(), **component):
    return {
        "spin_lock_version": 0,
        "metadata": {"name": "pushed", "version": "9.8.7"},
        "variables": {"tide": {"default": "high"}},
        "triggers": [{"id": "trigger--k", "trigger_type": "http",
                      "trigger_config": {"component": "k", "route": "/...", "executor": None}}],
        "components": [{
            "id": "k", "metadata": {"description": "from afar", "allowed_outbound_hosts": []},
            "source": {"content_type": "application/wasm", "digest": wasm},
            "env": {"WHO": "k"}, "files": list(files), "config": {"word": "{{ tide }}"},
        } | component],
    }


def kitchen():
    return guest("c-kitchen").read_bytes()


def test_it_is_deployed_from_a_registry(file_server, tmp_path):
    from node import node
    a = Artifact(file_server)
    wasm = a.layer(kitchen(), WASM)
    large = a.layer(LARGE, DATA)
    a.push(locked(wasm, [{"path": "/large.bin", "digest": large}]))
    with node(tmp_path) as n:
        n.run("deploy", "-f", f"{a.reference}:v1", "-k", "--cache-dir", tmp_path / "cache")
        assert n.get("pushed", "/variable?word").text == "high"
        assert n.get("pushed", "/file?large.bin").body == LARGE


def cached(tmp_path):
    return ("--cache-dir", str(tmp_path / "cache"))


def files_of(a, archived=False):
    """A file in the app, and a file in a layer of its own or an archive."""
    if archived:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for name, data in (("d/small.txt", SMALL), ("d/" + "long/" * 40 + "l", LARGE)):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        a.layer(gzip.compress(packed.getvalue()), ARCHIVE)
    else:
        a.layer(LARGE, DATA)
    return [{"digest": digest(SMALL), "inline": base64.b64encode(SMALL).decode(),
             "path": "d/small.txt"}, {"digest": digest(LARGE), "path": "d/deep/large.bin"}]


def check(server, image=None):
    assert fetch(server, "/env?WHO").text == "k"
    assert fetch(server, "/variable?word").text == "high"
    assert fetch(server, "/file?/d/small.txt").body == SMALL
    assert fetch(server, "/file?/d/deep/large.bin").body == LARGE
    info = json.loads(fetch(server, "/.well-known/spin/info").text)
    assert (info["name"], info["version"]) == ("pushed", "9.8.7")
    assert image in (None, info["oci_image_digest"])


@pytest.mark.parametrize("old", [False, True], ids=["today", "of-old"])
@pytest.mark.parametrize("archived", [False, True], ids=["layers", "archive"])
def test_an_app(old, archived, workers, tmp_path, file_server):
    a = Artifact(file_server)
    image = a.push(locked(a.layer(kitchen(), WASM), files_of(a, archived)), old=old)
    with serving(a.reference + ":v1", tmp_path, *cached(tmp_path), workers=workers) as server:
        check(server, image)
    asked = len(file_server.seen)
    with serving(f"{a.reference}@{image}", tmp_path, *cached(tmp_path), workers=workers) as server:
        check(server, image)
    assert file_server.seen[asked:] == [f"/v2/owner/app/manifests/{image}"], "blobs are kept"


def test_from_registry_and_the_latest(tmp_path, file_server):
    a = Artifact(file_server)
    a.push(locked(a.layer(kitchen(), WASM), files_of(a)), tag="latest")
    with serving(None, tmp_path, "--from-registry", a.reference, *cached(tmp_path)) as server:
        check(server)


def test_dependencies_that_were_not_composed(tmp_path, file_server):
    from test_dependencies import neighbour
    name, path = neighbour(tmp_path)
    a = Artifact(file_server)
    dependency = {name: {"source": {"content_type": "application/wasm",
                                    "digest": a.layer(path.read_bytes(), WASM)}, "export": None,
                         "inherit": {"Some": []}}}
    wasm = a.layer(guest("c-kitchen-plain").read_bytes(), WASM)
    a.push(locked(wasm, dependencies=dependency))
    with serving(a.reference + ":v1", tmp_path, *cached(tmp_path)) as server:
        assert fetch(server, "/env?ONLY").text == "here"
        assert fetch(server, "/env?WHO").text != "k"


def test_a_component_alone(tmp_path, file_server):
    a = Artifact(file_server)
    a.layer(kitchen(), "application/wasm")
    config = a.blob(b"{}")
    file_server.files["/v2/owner/app/manifests/v1"] = json.dumps(
        {"config": {"mediaType": "application/vnd.wasm.config.v0+json", "digest": config,
                    "size": 2}, "layers": a.layers}).encode()
    with serving(a.reference + ":v1", tmp_path, *cached(tmp_path)) as server:
        assert fetch(server, "/env?WHO").status == 404


def refused(tmp_path, reference, *more):
    _, err = ebb("up", "-f", reference, *cached(tmp_path), *more, status=1)
    return err


def test_what_is_wrong_is_said(tmp_path, file_server):
    a = Artifact(file_server)
    assert "manifests/none: the server answered 404" in refused(tmp_path, a.reference + ":none")
    wasm = a.layer(kitchen(), WASM)
    for path in ("../../up", "/", "a//b", "a/./b"):
        a.push(locked(wasm, [{"inline": "", "path": path}]), tag="path")
        assert "leads elsewhere" in refused(tmp_path, a.reference + ":path")
    a.push(locked(wasm, [{"digest": digest(b"nowhere"), "path": "f"}]), tag="lost")
    err = refused(tmp_path, a.reference + ":lost")
    assert "component 'k'" in err and "file '/f'" in err and "in no layer" in err
    a.push(locked(digest(b"nothing")), tag="absent")
    assert "404" in refused(tmp_path, a.reference + ":absent")
    image = a.push(locked(wasm), tag="other")
    file_server.files[f"/v2/owner/app/manifests/{image}"] += b" "
    assert "a manifest with the digest" in refused(tmp_path, f"{a.reference}@{image}")
    lie = a.layer(b"promised", DATA)
    file_server.files[f"/v2/owner/app/blobs/{lie}"] = b"something else"
    a.push(locked(wasm, [{"digest": lie, "path": "f"}]), tag="lie")
    assert digest(b"something else") in refused(tmp_path, a.reference + ":lie")
    a.layer(b"no gzip", ARCHIVE)
    a.push(locked(wasm, [{"digest": digest(b"x"), "path": "f"}]), tag="broken")
    err = refused(tmp_path, a.reference + ":broken")
    assert "archive sha256:" in err and "no gzip" in err


def test_a_name_that_is_no_reference(tmp_path):
    err = refused(tmp_path, "no/such/folder")
    assert "no/such/folder: No such file" in err
    _, err = ebb("up", "--from-registry", "No/Good", status=1)
    assert "ghcr.io/owner/app:v1" in err
    _, err = ebb("build", "-f", "ghcr.io/owner/app:v1", status=1)
    assert "only 'ebb up'" in err
    _, err = ebb("up", "--from-registry", "ghcr.io/owner/app:v1", "--build", status=1)
    assert "--build" in err
