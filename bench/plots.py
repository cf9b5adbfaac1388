#!/usr/bin/env python3
"""Draws the tables of docs/benchmarks.md that have previewd beside others, as docs/images/bench-NAME.svg.

    bench/plots.py          draws them all anew

A section that is written draws its own (sections.py). Each figure is a cell of bars, the longest of which is the largest value.
"""

import html
import pathlib
import sys

CELL, GAP, COLUMNS = 310, 24, 3
VALUE, BAR, LETTER = 52, 15, 6.3
INK, QUIET, OURS, PEER, DIRECT = "#1f2328", "#59636e", "#1f6feb", "#9aa4af", "#d0d7de"


class Figure:
    """One thing that was measured: a value for each program."""

    def __init__(self, title, more_is_better, values):
        self.title, self.more_is_better, self.values = title, more_is_better, values

    def height(self):
        return 24 + BAR * len(self.values)

    def draw(self, x, y):
        better = "↑" if self.more_is_better else "↓"
        yield f'<text x="{x}" y="{y + 12}" class="title">{html.escape(self.title)} {better}</text>'
        label = max(len(name) for name, _ in self.values) * LETTER + 6
        room = CELL - label - VALUE
        largest = max(value for _, value in self.values)
        for place, (name, value) in enumerate(self.values):
            top = y + 20 + place * BAR
            colour = OURS if name == "previewd" else DIRECT if name == "direct" else PEER
            width = max(1.0, value / largest * room if largest > 0 else 1.0)
            weight = ' class="ours"' if name == "previewd" else ""
            yield f'<text x="{x + label - 6:.1f}" y="{top + 10}" text-anchor="end"{weight}>{html.escape(name)}</text>'
            yield f'<rect x="{x + label:.1f}" y="{top + 1}" width="{width:.1f}" height="{BAR - 4}" fill="{colour}"/>'
            yield f'<text x="{x + label + width + 5:.1f}" y="{top + 10}"{weight}>{value:g}</text>'


def rows_of(section):
    rows = [line.strip().strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows if not set("".join(row)) <= set("-: ")]


def number(cell):
    try:
        return float(cell)
    except ValueError:
        return None


def is_rate(title):
    return title.endswith("/s")


def figures_of(section):
    """Those of the first table that has previewd beside others; none: there is no such table."""
    rows = rows_of(section)
    if len(rows) < 2:
        return []
    header = rows[0]
    if "previewd" in header:  # a row for each figure
        programs = [place for place, name in enumerate(header) if place > 0 and "/" not in name and name != "aim"]
        listed = [(row[0], [(header[place], number(row[place])) for place in programs if place < len(row)]) for row in rows[1:]]
    elif any(row[0] == "previewd" for row in rows[1:]):  # a column for each figure
        programs = [row for row in rows[1:] if not row[0].startswith("of ")]
        listed = [(header[place], [(row[0], number(row[place])) for row in programs]) for place in range(1, len(header))]
    else:
        return []
    # A title that continues the one before is read together with it.
    figures, before = [], ""
    for title, values in listed:
        known = [(name, value) for name, value in values if value is not None]
        continues = title.startswith(("CPU of each", "its CPU", "p99"))
        whole = f"{before.rpartition(',')[0].removesuffix(', p50')}: {title}" if continues else title
        before = before if continues else title
        if len(known) > 1:
            figures.append(Figure(whole, is_rate(title), known))
    return figures


def picture(figures):
    """The figures as one SVG, COLUMNS beside each other."""
    parts, y = [], GAP
    for first in range(0, len(figures), COLUMNS):
        row = figures[first:first + COLUMNS]
        for place, figure in enumerate(row):
            parts += figure.draw(GAP + place * (CELL + GAP), y)
        y += max(figure.height() for figure in row) + GAP
    parts.append(f'<text x="{GAP}" y="{y}">↑ more is better · ↓ less is better</text>')
    y += GAP // 2
    width = GAP + min(COLUMNS, len(figures)) * (CELL + GAP)
    style = (f"text{{font:11px system-ui,sans-serif;fill:{QUIET}}} .title{{font-weight:600;fill:{INK}}} "
             f".ours{{font-weight:600;fill:{OURS}}}")
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" viewBox="0 0 {width} {y}">\n'
            f"<style>{style}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n" + "\n".join(parts) + "\n</svg>\n")


def illustrate(page, name, text):
    """Draws the picture of a section of `page`, if it has one, and returns the text with it in its place."""
    figures = figures_of(text)
    link = f"![The table below, drawn](images/bench-{name}.svg)"
    if not figures:
        return text
    picture_file = page.parent / "images" / f"bench-{name}.svg"
    picture_file.write_text(picture(figures), encoding="utf-8")
    if link in text:
        return text
    heading, _, rest = text.strip().partition("\n\n")
    prose, _, table = rest.partition("\n\n|")
    return f"{heading}\n\n{prose}\n\n{link}\n\n|{table}\n"


def main():
    import sections

    page = pathlib.Path(__file__).resolve().parents[1] / "docs/benchmarks.md"
    for name in sections.names(page):
        sections.write_section(page, name, sections.read_section(page, name))


if __name__ == "__main__":
    sys.exit(main())
