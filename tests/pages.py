"""What README, CONTRIBUTING and the pages under docs/ hold: fenced blocks, inline code, headings, links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,}|:{3,})(?P<info>.*)$")


@dataclass(frozen=True)
class Block:
    """A fenced block: what the fence says, the line on which its text begins, and the text."""

    language: str
    line: int
    text: str


def pages() -> list[Path]:
    """README, CONTRIBUTING and every page of the site; a new page is among them by being there."""
    site = [path for path in (ROOT / "docs").rglob("*.md") if not {"_build", "generated"} & set(path.parts)]
    return [path for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(site)) if path.exists()]


def name(path: Path) -> str:
    """A page's name in the list of tests."""
    return str(path.relative_to(ROOT))


def split(text: str) -> tuple[list[Block], str]:
    """Take a page's fenced blocks and the rest, of which lines keep their numbers."""
    blocks, rest, fence, held, start, info = [], [], "", [], 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        found = FENCE.match(line)
        if fence:
            closes = found and found["fence"].startswith(fence) and not found["info"].strip()
            if closes:
                blocks.append(Block(info, start, "\n".join(held) + "\n"))
                fence, held = "", []
            else:
                held.append(line)
            rest.append("")
        elif found and not found["fence"].startswith(":"):
            fence, info, start = found["fence"], found["info"].strip(), number + 1
            rest.append("")
        else:
            rest.append(line)
    assert not fence, f"a block that begins on line {start - 1} has no end"
    return blocks, "\n".join(rest)


def blocks(path: Path) -> list[Block]:
    return split(path.read_text(encoding="utf-8"))[0]


def prose(path: Path) -> str:
    """A page without its fenced blocks."""
    return split(path.read_text(encoding="utf-8"))[1]


def inline(path: Path) -> list[str]:
    """Every piece of inline code."""
    return [code.strip() for code in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(path))]


def commands(block: Block) -> list[str]:
    """List the commands of a bash block, one a line, without comments; lines that end with a backslash go on."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
