"""Makes a C file with a table of pages (src/platform/pages.h): embed.py OUT PATH=FILE=TYPE...

A page's tag is the SHA-256 of its bytes, so that browsers keep what has not changed. A style sheet
that a page links to stands in the page instead, allowed by its hash, and is no page of its own: the
first paint does not wait for it."""
import base64
import hashlib
import pathlib
import re
import sys

LINK = re.compile(rb'<link rel="stylesheet" href="([^"]+)">')


def with_styles(content, files, inlined):
    """The page with its style sheets in it, and their hashes as a policy has them."""
    hashes = []

    def style(link):
        text = files[link[1].decode()]
        hashes.append(f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'")
        inlined.add(link[1].decode())
        return b"<style>" + text + b"</style>"
    return LINK.sub(style, content), " ".join(hashes)


def main(out, *pages):
    table, text = [], ['/* Made by tools/embed.py. */\n#include "platform/pages.h"\n']
    of = [page.split("=", 2) for page in pages]
    files = {path: pathlib.Path(file).read_bytes() for path, file, _ in of}
    inlined, done = set(), []
    for path, file, kind in of:
        is_page = kind.startswith("text/html")
        content, hashes = with_styles(files[path], files, inlined) if is_page else (files[path], "")
        done.append((path, kind, content, hashes))
    for number, (path, kind, content, hashes) in enumerate(d for d in done if d[0] not in inlined):
        tag = hashlib.sha256(content).hexdigest()[:16]
        rows = [", ".join(map(str, content[i:i + 24])) for i in range(0, len(content), 24)]
        text.append(f"static const unsigned char bytes_{number}[] = {{\n" + ",\n".join(rows)
                    + "};\n")
        table.append(f'    {{"{path}", "{kind}", "\\"{tag}\\"", "{hashes}", bytes_{number},'
                     f' {len(content)}}},')
    text += ["const page ui_pages[] = {", *table, "};",
             "const unsigned ui_pages_count = sizeof ui_pages / sizeof *ui_pages;", ""]
    pathlib.Path(out).write_text("\n".join(text))


main(*sys.argv[1:])
