"""Sections of docs/benchmarks.md, each written by one of the programs here."""

import pathlib
import platform
import re

import plots


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def names(page):
    return re.findall(r"^<!-- end of (.+) -->$", page.read_text(encoding="utf-8"), re.MULTILINE)


def read_section(page, name):
    text = page.read_text(encoding="utf-8")
    return text.partition(f"<!-- {name} -->")[2].partition(f"<!-- end of {name} -->")[0].strip()


def write_section(page, name, text):
    """Puts `text`, with a picture where it has previewd beside others, where the section `name` is, or at the end; everything else
    stays."""
    text = plots.illustrate(page, name.replace("/", "-"), text)
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    section = f"{begin}\n{text.strip()}\n{end}\n"
    old = page.read_text(encoding="utf-8") if page.exists() else "# Benchmarks\n"
    before, found, rest = old.partition(begin)
    if found:
        after = rest.partition(end)[2].lstrip("\n")
        new = before + section + ("\n" + after if after else "")
    else:
        new = old.rstrip("\n") + "\n\n" + section
    page.write_text(new, encoding="utf-8")
