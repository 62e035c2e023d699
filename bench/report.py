"""What a bench group leaves behind: a table, JSON and a picture in bench/results/."""
import html
import json
import pathlib

RESULTS = pathlib.Path(__file__).resolve().parent / "results"


def table(columns, rows):
    """Text table; columns are (title, width, function of a row giving text)."""
    lines = ["  ".join(title.rjust(width) if width > 0 else title.ljust(-width)
                       for title, width, _ in columns)]
    for row in rows:
        lines.append("  ".join(f(row).rjust(width) if width > 0 else f(row).ljust(-width)
                               for _, width, f in columns))
    return "\n".join(lines)


def figures(found):
    """Lines for figures that the project promises: (what, value, must, aim), bigger is better
    unless must > aim."""
    lines = []
    for what, value, must, aim in found:
        better = (lambda a, b: a <= b) if must > aim else (lambda a, b: a >= b)
        word = "aim met" if better(value, aim) else "must met" if better(value, must) else "MISSED"
        lines.append(f"  {what:<58} {value:>8.2f}   must {must:g}, aim {aim:g}: {word}")
    return "\n".join(lines)


def bars(title, unit, rows):
    """An SVG of horizontal bars: rows are (label, value, note)."""
    left, right, height = 190, 620, 26
    most = max(value for _, value, _ in rows) or 1
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + right} '
             f'{50 + height * len(rows)}" font-family="sans-serif" font-size="13">',
             '<style>text{fill:#222}rect{fill:#8a9aa9}.ebb{fill:#2e8b57}'
             '@media(prefers-color-scheme:dark){text{fill:#ddd}}</style>',
             f'<text x="8" y="22" font-size="15" font-weight="bold">{html.escape(title)}</text>']
    for i, (label, value, note) in enumerate(rows):
        y = 40 + i * height
        width = max(1.0, (right - 190) * value / most)
        kind = ' class="ebb"' if label.startswith("ebb") else ""
        text = f"{value:,.0f} {unit}{note}"
        parts.append(f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{html.escape(label)}'
                     f'</text><rect{kind} x="{left}" y="{y + 2}" width="{width:.1f}" '
                     f'height="{height - 8}"/><text x="{left + width + 6:.1f}" y="{y + 15}">'
                     f'{html.escape(text)}</text>')
    return "\n".join(parts + ["</svg>", ""])


def save(group, result, picture=None):
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{group}.json").write_text(json.dumps(result, indent=1) + "\n")
    if picture:
        (RESULTS / f"{group}.svg").write_text(picture)
