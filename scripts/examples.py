"""Write examples/*.py from docs/tutorials/*.md, so that what one reads and what one runs cannot differ.

`python scripts/examples.py` writes them; with `--check` it says which are not up to date and ends with 1. Prose becomes
comments, tables are printed, pictures are saved beside the script's working folder, `!command` is run as a command.
"""

from __future__ import annotations

import ast
import re
import shlex
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS, EXAMPLES = ROOT / "docs" / "tutorials", ROOT / "examples"
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def script(page: str, name: str) -> str:
    """The script of a tutorial: its title and headings as comments, its cells as code."""
    title = re.search(r"^# (.+)$", page, re.MULTILINE)
    if title is None:
        raise ValueError(f"Found no title in {name}.md, expected a line that begins with '# '.")
    parts: list[str] = []
    shown = 0
    end = title.end()
    for found in CELL.finditer(page):
        parts += [f"# {heading}" for heading in re.findall(r"^##+ (.+)$", page[end : found.start()], re.MULTILINE)]
        code, shown = _cell(_without_tags(found[1]), name, shown)
        parts.append(code)
        end = found.end()
    body = "\n\n".join(parts) + "\n"
    return _head(title[1], name, body) + body


def _head(title: str, name: str, body: str) -> str:
    lines = [f'"""{title}.', "", f"The code of docs/tutorials/{name}.md; written by scripts/examples.py.", '"""', ""]
    wanted = [f"import {module}" for module in ("shlex", "subprocess") if f"{module}." in body]
    if "plt." in body:
        wanted += ["", "import matplotlib.pyplot as plt"] if "import matplotlib.pyplot as plt" not in body else []
    return "\n".join([*lines, *wanted, *([""] if wanted else []), ""])


def _without_tags(cell: str) -> str:
    return "\n".join(line for line in cell.strip("\n").splitlines() if not line.startswith(":tags:")).strip("\n")


def _cell(cell: str, name: str, shown: int) -> tuple[str, int]:
    """A cell as a script has it, and the number of pictures so far."""
    code = "\n".join(_command(line) if line.startswith("!") else line for line in cell.splitlines())
    last = ast.parse(code).body[-1]
    quiet = code.rstrip().endswith(";")
    code = code.rstrip().rstrip(";")
    if "subprocess." not in code and isinstance(last, ast.Expr) and not quiet and not _speaks(last):
        code = _printed(code, last)
    if quiet:
        shown += 1
        code += f'\nplt.savefig("{name}-{shown}.png")\nplt.close("all")'
    return code, shown


def _speaks(last: ast.Expr) -> bool:
    """Whether an expression is there for what it does, not for its value."""
    return isinstance(last.value, ast.Call) and ast.unparse(last.value.func) in _DOES


_DOES = {
    "adata.write_h5ad", "model.annotate", "model.rotate", "model.save", "print", "refused", "sivae.SiVAE.setup_anndata",
    "sivae.tl.gene_neighbors", "sivae.tl.hubs", "sivae.tl.modules",
}  # fmt: skip


def _printed(code: str, last: ast.Expr) -> str:
    lines = code.splitlines()
    before, value = lines[: last.lineno - 1], "\n".join(lines[last.lineno - 1 :])
    shown = f"(\n{textwrap.indent(value, '    ')}\n)" if "\n" in value else f"({value})"
    return "\n".join([*before, f"print{shown}"])


def _command(line: str) -> str:
    return f'subprocess.run(shlex.split("""{line[1:].strip()}"""), check=True)' if shlex.split(line[1:]) else ""


def main() -> int:
    """Write the scripts, or say which differ."""
    check = "--check" in sys.argv[1:]
    stale = []
    for page in sorted(TUTORIALS.glob("*.md")):
        if page.stem == "index":
            continue
        text, place = script(page.read_text(encoding="utf-8"), page.stem), EXAMPLES / f"{page.stem}.py"
        if not place.is_file() or place.read_text(encoding="utf-8") != text:
            stale.append(place.name)
            if not check:
                EXAMPLES.mkdir(exist_ok=True)
                place.write_text(text, encoding="utf-8")
    if check and stale:
        sys.stderr.write(f"Not up to date: {', '.join(stale)}. Run: python scripts/examples.py\n")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
