"""The tarball of `./dev dist`: unpacked anywhere, it serves with nothing but the C library."""
import os
import subprocess
import tarfile

import pytest

from harness import PATIENCE_S, ROOT, SANITIZED, Server, environment, fetch

GLIBC = ("libc.so", "libm.so", "libdl.so", "librt.so", "libpthread.so", "libresolv.so",
         "ld-linux", "linux-vdso")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    subprocess.run([ROOT / "dev", "dist"], check=True, timeout=PATIENCE_S * 10)
    (tarball,) = (ROOT / "build" / "dist").glob("*.tar.gz")
    folder = tmp_path_factory.mktemp("dist")
    with tarfile.open(tarball) as t:
        t.extractall(folder)
    (top,) = folder.iterdir()
    return top


# The tarball is made of the ordinary build, so a run with sanitizers has nothing new to see.
if not SANITIZED:
    def test_libraries_come_along(unpacked):
        said = subprocess.run(["ldd", unpacked / "bin" / "ebb"], capture_output=True, text=True,
                              check=True).stdout
        for line in said.splitlines():
            name, _, where = line.strip().partition(" => ")
            if not name.startswith(GLIBC) and not any(x in name for x in GLIBC):
                assert str(unpacked / "lib") in os.path.realpath(where.split()[0]), line

    def test_the_systemd_unit_starts_what_is_there(unpacked, tmp_path):
        unit = (unpacked / "ebb.service").read_text()
        (start,) = [x[10:] for x in unit.splitlines() if x.startswith("ExecStart=")]
        binary, *args = start.split()
        assert binary == "/opt/ebb/bin/ebb" and (unpacked / "bin" / "ebb").exists()
        said = subprocess.run([unpacked / "bin" / "ebb", *args, "--help"], capture_output=True,
                              text=True, check=True, env=environment()).stdout
        assert "--data" in said

    def test_it_serves_from_any_folder(unpacked, tmp_path):
        command = [unpacked / "bin" / "ebb", "up", "-f", unpacked / "examples" / "hello",
                   "--listen", "127.0.0.1:0", "--json", "--workers", "1",
                   "--cache-dir", tmp_path / "cache"]
        log = tmp_path / "log"
        with open(log, "wb") as out:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=out, text=True,
                                       cwd=tmp_path, env=environment())
        server = Server(process, log).await_ready()
        assert fetch(server, "/").status == 200
        assert server.stop() == 0
        process.stdout.close()
