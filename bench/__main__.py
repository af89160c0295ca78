"""Run benchmarks: `python -m bench [NAME ...] [--quick] [--data NAME,NAME] [--seeds N]`; `table` rewrites the page."""

from __future__ import annotations

import argparse
from importlib import import_module

from bench import _report
from bench._common import Settings


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(_report.NAMES)}, or table; all if none")
    parser.add_argument("--quick", action="store_true", help="a small run that writes no result")
    parser.add_argument("--data", help="data sets, with commas between them (bench/_data.py)")
    parser.add_argument("--seeds", type=int, help="how many seeds, where a benchmark repeats")
    asked = parser.parse_args()
    unknown = set(asked.names) - {*_report.NAMES, "table"}
    if unknown:
        parser.error(f"found {', '.join(sorted(unknown))}; expected {', '.join(_report.NAMES)} or table")
    settings = Settings(asked.quick, tuple(asked.data.split(",")) if asked.data else None, asked.seeds)
    for name in asked.names or _report.NAMES:
        if name != "table":
            print(f"{name}:", flush=True)
            import_module(f"bench.{name}").main(settings)
        if not asked.quick:
            _report.rewrite()


main()
