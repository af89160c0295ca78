"""Say under which licenses the packages are that sivae-tools and its extras bring; stop at one that is not wanted.

Run as: python scripts/licenses.py [--markdown]. Reads what is installed in this environment, nothing else.
"""

import re
import sys
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = {"all", "compare"}
"""Extras that bring what others bring, or that benchmarks alone need."""
FREE = re.compile(r"MIT|BSD|Apache|ISC|PSF|Python Software|MPL|Mozilla|Unlicense|HPND|Zlib|CC0|BSL|LLVM", re.IGNORECASE)
COPYLEFT = re.compile(r"GPL|General Public|SSPL|EUPL|CeCILL|CC-BY-(SA|NC)|propriet|commercial", re.IGNORECASE)
REASONS: dict[str, str] = {}
"""Packages that are there in spite of their license, and why that is right. Only LGPL can be."""


def license_of(package: Distribution) -> str:
    """What a package says of its license: the expression, else classifiers, else the first line of a text."""
    classifiers = [text.split(" :: ")[-1] for text in package.metadata.get_all("Classifier") or []
                   if text.startswith("License ::") and not text.endswith("OSI Approved")]  # fmt: skip
    text = (package.metadata.get("License") or "").strip().splitlines()
    said = package.metadata.get("License-Expression") or "; ".join(classifiers) or (text[0][:60] if text else "unknown")
    return re.sub(r" License( \(\w+\))?$", "", said)


def verdict(name: str, words: str) -> str:
    """Why a package should not be there; empty if it may. Of several licenses to choose from one is enough."""
    if name in REASONS and re.search("LGPL|Lesser", words):
        return ""
    choices = re.split(r"\s+OR\s+", words)
    if all(COPYLEFT.search(choice) for choice in choices):
        return "a copyleft license, or none that is free"
    return "" if FREE.search(words) else "a license that scripts/licenses.py does not know"


def walk(requirements: list[str]) -> tuple[dict[str, str], set[str]]:
    """Licenses of packages with all that they need; and those asked for here that are not installed."""
    found: dict[str, str] = {}
    todo, seen = [Requirement(text) for text in requirements], set()
    asked = {wanted.name for wanted in todo}
    while todo:
        wanted = todo.pop()
        name, extras = canonicalize_name(wanted.name), wanted.extras or {""}
        if (name, frozenset(extras)) in seen:
            continue
        seen.add((name, frozenset(extras)))
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue  # for another platform
        found[name] = license_of(package)
        needs = [Requirement(text) for text in package.requires or []]
        todo += [n for n in needs if n.marker is None or any(n.marker.evaluate({"extra": e}) for e in extras)]
    return found, {name for name in asked if canonicalize_name(name) not in found}


def groups() -> dict[str, list[str]]:
    """What the package and each of its extras ask for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: asked for name, asked in project["optional-dependencies"].items() if name not in LEFT_OUT}
    return {"core": project["dependencies"]} | dict(sorted(extras.items()))


def markdown(found: dict[str, dict[str, str]]) -> str:
    """A table, each package once: by who brings it and its license."""
    rows: dict[tuple[str, str], list[str]] = {}
    for name in sorted(set().union(*found.values())):
        brought = [group for group, packages in found.items() if name in packages]
        words = next(packages[name] for packages in found.values() if name in packages)
        rows.setdefault(("core" if "core" in brought else ", ".join(brought), words), []).append(name)
    lines = [f"| {', '.join(names)} | {brought} | {words} |" for (brought, words), names in sorted(rows.items())]
    return "\n".join(["| packages | brought by | license |", "| --- | --- | --- |", *lines]) + "\n"


def main() -> int:
    """Print the table, or one line; and what is not wanted."""
    walked = {group: walk(requirements) for group, requirements in groups().items()}
    found = {group: packages for group, (packages, _) in walked.items()}
    lines = [f"{name} of {group} is not installed; expected it, to see its license" for group, (_, missing)
             in walked.items() for name in sorted(missing)]  # fmt: skip
    lines += [f"{name}, brought by {group}, under {words!r}: {why}" for group, packages in found.items()
              for name, words in sorted(packages.items()) if (why := verdict(name, words))]  # fmt: skip
    if "--markdown" in sys.argv[1:]:
        sys.stdout.write(markdown(found))
    elif not lines:
        sys.stdout.write(f"Licenses: {len(set().union(*found.values()))} packages, none under the GPL\n")
    sys.stderr.write("".join(f"Found {line}.\n" for line in lines))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
