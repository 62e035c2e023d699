"""Certificates for tests, made by openssl: an authority, and what it signs."""
import subprocess


def run(*args, stdin=None):
    subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True, input=stdin)


class Authority:
    """A folder with ca.pem; issue() makes NAME.crt and NAME.key in it, or elsewhere."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.key, self.roots = folder / "ca.key", folder / "ca.pem"
        run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", self.key, "-out", self.roots, "-days", "30", "-subj", "/CN=test authority")

    def issue(self, name, *names, folder=None, days=30, kind=("ec", "ec_paramgen_curve:P-256")):
        """Paths of a new certificate (with its chain) and key for these names."""
        folder = folder or self.folder
        certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
        request, leaf = self.folder / f"{name}.csr", self.folder / f"{name}.leaf"
        run("req", "-newkey", kind[0], "-pkeyopt", kind[1], "-nodes", "-keyout", key, "-out",
            request, "-subj", f"/CN={names[0]}")
        extensions = "subjectAltName=" + ",".join(
            ("IP:" if n[0].isdigit() else "DNS:") + n for n in names)
        config = self.folder / f"{name}.ext"
        config.write_text(extensions)
        run("x509", "-req", "-in", request, "-CA", self.roots, "-CAkey", self.key,
            "-CAcreateserial", "-days", days, "-extfile", config, "-out", leaf)
        certificate.write_bytes(leaf.read_bytes() + self.roots.read_bytes())
        return certificate, key
