"""Fixtures of the integration tests: the kitchens served once per number of workers."""
import pytest

from harness import guest, serving, write_app

LANGUAGES = ("c", "rust", "js", "python", "go")

COMPONENT = """
[[trigger.http]]
route = "/{id}/..."
component = "{id}"

[component.{id}]
source = "{source}"
description = "the kitchen in {id}"
environment = {{ GREETING = "hello {id}", EMPTY = "" }}
files = ["data/*.txt", {{ source = "assets", destination = "/public" }}]
[component.{id}.variables]
word = "{{{{ word }}}}"
sentence = "the word is {{{{ word }}}}, {id}"
"""

KITCHENS = """
spin_manifest_version = 2

[application]
name = "kitchens"
version = "1.2.3"
description = "one manifest, many languages"

[variables]
word = { default = "tide" }

[[trigger.http]]
route = "/c"
component = "c"

[[trigger.http]]
route = "/named/:first/mid/:second/..."
component = "rust"

[[trigger.http]]
route = "/exact/request"
component = "js"

[[trigger.http]]
route = "/also/:here"
component = "c"

[[trigger.http]]
route = "/static"
static_response = { status_code = 418, headers = { "x-kind" = "static" }, body = "short and stout" }
""" + "".join(COMPONENT.format(id=x, source=guest(f"{x}-kitchen")) for x in LANGUAGES)

FILES = {"data/hello.txt": "hello from a file\n", "data/skipped.md": "not matched",
         "assets/deep/er.bin": bytes(range(256))}


def pytest_generate_tests(metafunc):
    """Everything that serves is run with one worker and with two."""
    if "workers" in metafunc.fixturenames:
        metafunc.parametrize("workers", (1, 2), ids=("workers1", "workers2"), scope="session")


@pytest.fixture(scope="session")
def kitchens(workers, tmp_path_factory):
    """One manifest with the kitchens of all languages and nine routes."""
    folder = tmp_path_factory.mktemp("kitchens")
    app = write_app(folder / "app", KITCHENS, FILES)
    with serving(app, folder, workers=workers) as server:
        yield server


@pytest.fixture(params=LANGUAGES)
def language(request):
    return request.param
