"""Fuzz the reader of saved models, or of gene sets, for some seconds: make fuzz.

    python scripts/fuzz.py artefact 300
    python scripts/fuzz.py gmt 300

It needs atheris (pip install atheris), which is no dependency. It starts from the archive of tests/, follows the
branches that inputs reach in siVAE's code, and ends with the first error that is not a SiVAEError, whose input it
writes to crash-*. The same targets get random changes in the ordinary tests (tests/test_fuzz.py).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

with atheris.instrument_imports(
    include=["sivae._whole", "sivae.model", "sivae.data", "sivae.tl", "json", "safetensors"]
):
    import fuzzing


def main() -> None:
    """Fuzz one target."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", choices=("artefact", "gmt"))
    parser.add_argument("seconds", type=int)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work, corpus = Path(name) / "work", Path(name) / "corpus"
        work.mkdir()
        corpus.mkdir()
        target = (fuzzing.Artefacts if arguments.target == "artefact" else fuzzing.GeneSets)(work)
        for number, seed in enumerate(target.seeds()):
            (corpus / f"{number:03}").write_bytes(seed)
        words = [
            f"-max_total_time={arguments.seconds}",
            "-timeout=60",
            "-rss_limit_mb=6000",
            "-max_len=60000",
            "-seed=1",
        ]
        atheris.Setup([sys.argv[0], *words, "-print_final_stats=1", str(corpus)], lambda data: _once(target, data))
        atheris.Fuzz()


def _once(target: fuzzing.Artefacts | fuzzing.GeneSets, data: bytes) -> None:
    target(data)


if __name__ == "__main__":
    main()
