"""Makes a C file with a table of pages (src/platform/pages.h): embed.py OUT PATH=FILE=TYPE...

A page's tag is the SHA-256 of its bytes, so that browsers keep what has not changed."""
import hashlib
import pathlib
import sys


def main(out, *pages):
    table, text = [], ['/* Made by tools/embed.py. */\n#include "platform/pages.h"\n']
    for number, page in enumerate(pages):
        path, file, kind = page.split("=", 2)
        content = pathlib.Path(file).read_bytes()
        tag = hashlib.sha256(content).hexdigest()[:16]
        rows = [", ".join(map(str, content[i:i + 24])) for i in range(0, len(content), 24)]
        text.append(f"static const unsigned char bytes_{number}[] = {{\n" + ",\n".join(rows)
                    + "};\n")
        table.append(f'    {{"{path}", "{kind}", "\\"{tag}\\"", bytes_{number}, {len(content)}}},')
    text += ["const page ui_pages[] = {", *table, "};",
             "const unsigned ui_pages_count = sizeof ui_pages / sizeof *ui_pages;", ""]
    pathlib.Path(out).write_text("\n".join(text))


main(*sys.argv[1:])
