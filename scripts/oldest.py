"""Print the oldest versions that pyproject.toml allows, as constraints for pip; torch stays at that of constraints.txt.

Run as: python scripts/oldest.py > constraints-oldest.txt
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BOUND = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?\s*>=\s*([0-9][0-9A-Za-z.]*)$")
HELD = "torch"
"""One build of it is tested; others are large, and differ by platform."""


def bounds(project: dict) -> dict[str, str]:
    """The oldest version of every package that the package, its extras or its tests ask for."""
    extras = project["project"]["optional-dependencies"]
    listed = [*project["project"]["dependencies"], *project["dependency-groups"]["test"]]
    listed += [one for name, extra in extras.items() if name != "compare" for one in extra]
    found: dict[str, str] = {}
    for one in listed:
        if one.startswith(f"{project['project']['name']}["):
            continue
        match = BOUND.match(one)
        if match is None:
            sys.exit(f"Found the requirement {one!r} in pyproject.toml, expected NAME>=VERSION. Write it so.")
        name, version = match.groups()
        found[name] = max(found.get(name, "0"), version, key=lambda text: [int(part) for part in text.split(".")])
    return found


def held(constraints: str) -> str:
    """The version of torch that is tested."""
    return next(line.split("==")[1] for line in constraints.splitlines() if line.startswith(f"{HELD}=="))


def main() -> None:
    """Print them."""
    oldest = bounds(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8")))
    oldest[HELD] = held((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    sys.stdout.write("".join(f"{name}=={version}\n" for name, version in sorted(oldest.items())))


if __name__ == "__main__":
    main()
