"""`ebb build` (spin.md 4.1): commands, order, profiles, targets, --up."""
import json
import os
import signal
import subprocess

import pytest

from harness import EBB, ebb, environment, fetch, guest, serving, write_app

HEAD = 'spin_manifest_version = 2\n[application]\nname = "b"\n'


def component(name, extra="", source=None):
    source = source or guest("c-kitchen")
    return (f'[[trigger.http]]\nroute = "/{name}/..."\ncomponent = "{name}"\n'
            f'[component.{name}]\nsource = "{source}"\n{extra}')


def test_each_command_runs_through_the_shell_in_its_workdir(tmp_path):
    app = write_app(tmp_path / "app", HEAD
                    + component("one", '[component.one.build]\ncommand = "echo $((1 + 2)) > out"\n'
                                       'workdir = "sub"\n')
                    + component("two", '[component.two.build]\ncommand = ["echo a >> log", '
                                       '"echo b >> log"]\n'),
                    {"sub/keep": b""})
    out, _ = ebb("build", "-f", app)
    assert "Building component one with `echo $((1 + 2)) > out`" in out
    assert f'Working directory: "{app}/sub"' in out
    assert "Building component two (2 commands)" in out
    assert "Running build step 2/2 for component two with 'echo b >> log'" in out
    assert out.endswith("Finished building all Spin components\n")
    assert (app / "sub" / "out").read_text() == "3\n"
    assert (app / "log").read_text() == "a\nb\n"


def test_from_takes_a_manifest_and_the_default_is_this_folder(tmp_path):
    app = write_app(tmp_path / "app",
                    HEAD + component("one", '[component.one.build]\ncommand = "echo x >> log"\n'))
    ebb("build", "--file", app / "spin.toml")
    ebb("build", cwd=app)
    assert (app / "log").read_text() == "x\nx\n"


def test_component_id_chooses_and_unknown_ones_are_named(tmp_path):
    text = HEAD + "".join(component(x, f'[component.{x}.build]\ncommand = "echo {x} >> log"\n')
                          for x in ("one", "two", "three"))
    app = write_app(tmp_path / "app", text)
    ebb("build", "-f", app, "-c", "three", "--component-id", "one")
    assert (app / "log").read_text() == "one\nthree\n"
    _, err = ebb("build", "-f", app, "-c", "four", status=1)
    assert "Unknown component(s) four" in err


def test_a_dependency_is_built_before_its_user(tmp_path):
    text = HEAD + component("user", '[component.user.build]\ncommand = "echo user >> log"\n'
                                    '[component.user.dependencies]\n'
                                    '"a:b/c" = { component = "used" }\n')
    text += ('[component.used]\nsource = "used.wasm"\n'
             '[component.used.build]\ncommand = "echo used >> log"\n')
    app = write_app(tmp_path / "app", text)
    _, err = ebb("build", "-f", app)
    assert (app / "log").read_text() == "used\nuser\n"
    assert "spin-dependencies.wit" in err
    assert "spin-dependencies.wit" not in ebb("build", "-f", app, "--skip-generate-wits")[1]


def test_a_failing_command_ends_the_build(tmp_path):
    text = HEAD + component("one", '[component.one.build]\ncommand = "exit 7"\n')
    text += component("two", '[component.two.build]\ncommand = "echo two > log"\n')
    app = write_app(tmp_path / "app", text)
    _, err = ebb("build", "-f", app, status=1)
    assert "Build command for component one failed with status 7" in err
    assert not (app / "log").exists()


def test_nothing_to_build_is_said(tmp_path):
    app = write_app(tmp_path / "app", HEAD + component("one"))
    out, _ = ebb("build", "-f", app)
    assert "None of the components have a build command." in out


PROFILES = HEAD + component("one", '[component.one.build]\ncommand = "echo release >> log"\n'
                                   'environment = { A = "1" }\n').replace(
    '[component.one.build]\ncommand = "echo release >> log"\nenvironment = { A = "1" }\n',
    'environment = { A = "plain" }\n'
    '[component.one.build]\ncommand = "echo release >> log"\n'
    '[component.one.profile.debug]\nenvironment = { A = "debug" }\n'
    'build = { command = "echo debug >> log" }\n')


def test_a_profile_has_its_command_and_is_remembered(tmp_path):
    app = write_app(tmp_path / "app", PROFILES)
    ebb("build", "-f", app)
    assert not (app / ".spin" / "last-build.txt").exists(), "only once profiles are used"
    ebb("build", "-f", app, "--profile", "debug")
    assert (app / "log").read_text() == "release\ndebug\n"
    assert (app / ".spin" / "last-build.txt").read_text() == "debug"
    with serving(app, tmp_path, "--profile", "debug") as server:
        assert fetch(server, "/one/env?A").text == "debug"
        assert "different profile" not in server.log()
    with serving(app, tmp_path) as server:
        assert fetch(server, "/one/env?A").text == "plain"
        assert "You built a different profile more recently" in server.log()
    ebb("build", "-f", app)
    assert (app / ".spin" / "last-build.txt").read_text() == "<anonymous>"
    _, err = ebb("build", "-f", app, "--profile", "none", status=1)
    assert "no component defines the profile 'none'" in err


def test_up_can_build_first(tmp_path):
    app = write_app(tmp_path / "app", PROFILES)
    with serving(app, tmp_path, "--build", "--profile", "debug") as server:
        assert fetch(server, "/one/env?A").text == "debug"
        assert "Building component one" in server.log()
    with serving(app, tmp_path, env={"SPIN_ALWAYS_BUILD": "true"}) as server:
        assert fetch(server, "/one/env?A").text == "plain"
    with serving(app, tmp_path, env={"SPIN_ALWAYS_BUILD": "0"}) as server:
        assert "Building component" not in server.log()
    assert (app / "log").read_text() == "debug\nrelease\n"


def test_build_up_serves_afterwards(tmp_path):
    app = write_app(tmp_path / "app", PROFILES)
    p = subprocess.Popen([EBB, "build", "-f", app, "--profile", "debug", "--up", "--listen",
                          "127.0.0.1:0", "--json", "--workers", "1"], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, env=environment())
    try:
        said = [p.stdout.readline() for _ in range(3)]
        ready = json.loads(said[2])
        assert "Finished" in said[1] and ready["routes"][0]["id"] == "one"
    finally:
        p.send_signal(signal.SIGTERM)
        p.communicate(timeout=60)
    assert p.returncode == 0
    _, err = ebb("build", "-f", app, "--listen", "127.0.0.1:0", status=2)
    assert "unknown option '--listen'" in err


# --- targets

def targeted(tmp_path, targets, source="c-kitchen", extra=""):
    return write_app(tmp_path / "app", HEAD + f"targets = {targets}\n"
                     + component("one", extra, guest(source)))


@pytest.mark.parametrize("target", ["spin-up:3.2", "spin-up:3.4", "spin-up:4.0"])
def test_a_component_that_a_target_can_run(tmp_path, target):
    ebb("build", "-f", targeted(tmp_path, f'["{target}"]'))


DEFINITION = """
[triggers]
http = { worlds = [%s], capabilities = [%s] }
"""


def test_what_a_target_lacks_is_named(tmp_path):
    app = targeted(tmp_path, '[{ path = "here.toml" }]')
    (app / "here.toml").write_text(DEFINITION % ('"fermyon:spin/http-trigger-rc20231018@2.0.0"',
                                                 ""))
    _, err = ebb("build", "-f", app, status=1)
    assert "component 'one' cannot run in target 'here.toml'" in err and "wasi:" in err
    assert "All components built successfully, but" in err
    ebb("build", "-f", app, "--skip-target-checks")
    (app / "here.toml").write_text(DEFINITION % ('"fermyon:spin/http-trigger@2.0.0"', ""))
    ebb("build", "-f", app)


def test_a_handler_of_another_version_does_not_fit(tmp_path):
    app = targeted(tmp_path, '[{ path = "here.toml" }]')
    (app / "here.toml").write_text(DEFINITION % ('"spin:up/http-trigger@4.0.0"', ""))
    _, err = ebb("build", "-f", app, status=1)
    assert "wasi:http/handler@0.3.0-rc-2026-03-15" in err


def test_service_chaining_is_a_capability(tmp_path):
    app = targeted(tmp_path, '[{ path = "here.toml" }]',
                   extra='allowed_outbound_hosts = ["http://other.spin.internal"]\n')
    (app / "here.toml").write_text(DEFINITION % ('"spin:up/http-trigger@3.4.0"', ""))
    _, err = ebb("build", "-f", app, status=1)
    assert "local_service_chaining" in err
    (app / "here.toml").write_text(DEFINITION % ('"spin:up/http-trigger@3.4.0"',
                                                 '"local_service_chaining"'))
    ebb("build", "-f", app)


def test_unknown_targets_and_worlds_are_named(tmp_path):
    _, err = ebb("build", "-f", targeted(tmp_path, '["spin-up:99"]'), status=1)
    assert "spin-up:99" in err and "--skip-target-checks" in err
    app = targeted(tmp_path, '[{ path = "here.toml" }]')
    (app / "here.toml").write_text(DEFINITION % ('{ registry = "x.test", world = "a:b/c@1.0.0" }',
                                                 ""))
    _, err = ebb("build", "-f", app, status=1)
    assert "a:b/c@1.0.0" in err


def test_a_component_overrides_the_apps_targets(tmp_path):
    app = targeted(tmp_path, '["spin-up:99"]', extra='targets = ["spin-up:3.4"]\n')
    ebb("build", "-f", app)


def test_a_target_behind_a_url(tmp_path, file_server):
    app = targeted(tmp_path, f'[{{ url = "{file_server.url}/env.toml" }}]')
    file_server.files["/env.toml"] = (DEFINITION % ('"spin:up/http-trigger@3.4.0"', "")).encode()
    ebb("build", "-f", app)
    file_server.files["/env.toml"] = (DEFINITION % ('"spin:up/http-trigger@4.0.0"', "")).encode()
    ebb("build", "-f", app, status=1)
    del file_server.files["/env.toml"]
    _, err = ebb("build", "-f", app, status=1)
    assert "404" in err
