"""Run one benchmark, or all of them: `python -m bench [NAME]`."""

from __future__ import annotations

import sys
from importlib import import_module

from bench import _report

NAMES = ("steps", "loss", "ldvae", "attribution", "null_hubs", "planted_hubs")


def main() -> None:
    wanted = [word for word in sys.argv[1:] if word != "--quick"] or list(NAMES)
    unknown = set(wanted) - {*NAMES, "table"}
    if unknown:
        sys.exit(f"Found {', '.join(sorted(unknown))}; expected {', '.join(NAMES)} or table (the tables alone).")
    for name in wanted:
        if name != "table":
            print(f"{name}:", flush=True)
            import_module(f"bench.{name}").main(quick="--quick" in sys.argv)
        _report.rewrite()


main()
