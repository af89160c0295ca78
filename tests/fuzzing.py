"""What a fuzzer gives the readers: any error that is not a SiVAEError is a find."""

import copy
import json
import random
import shutil
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
from archived import NAMES, unpack
from safetensors.numpy import load_file, save_file

from sivae import SiVAE
from sivae._errors import SiVAEError
from sivae._whole import SUMS, write_sums
from sivae.tl import read_gmt

FILES = ("config.json", "weights.safetensors", "tables.safetensors", "README.md", SUMS)
GMT = [
    b"one\tfirst\tA\tB\tC\ntwo\tsecond\tB,1.0\tD\n",
    b"\xef\xbb\xbfone\t\tA\r\n\r\none\t\tB\r\none\t\tA\r\n",
    b"name only\n", b"\t\t\n", b"one\t\tA\xff\n", b"",
]  # fmt: skip


ODD = [
    None,
    True,
    -1,
    0,
    1,
    2.5,
    10**30,
    1e999,
    float("nan"),
    "",
    "x",
    "0",
    [],
    [1],
    {},
    {"x": 1},
    ["a", "a"],
    -(10**9),
]
"""What an entry of a configuration may be replaced by."""
LARGE = 100_000


def entries(part, at=()):
    """Places of all that is in a configuration."""
    pairs = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for key, value in pairs:
        yield (*at, key)
        yield from entries(value, (*at, key))


def edited(config, data):
    """A configuration in which some entries are others, or gone: three bytes an edit."""
    for at in range(0, len(data) - 2, 3):
        places = list(entries(config))
        *parents, key = places[(data[at] * 256 + data[at + 1]) % len(places)]
        part, odd = config, data[at + 2] % (len(ODD) + 1)
        for parent in parents:
            part = part[parent]
        if odd == len(ODD):
            del part[key]
        else:
            part[key] = copy.deepcopy(ODD[odd])
        if not config:
            break
    return config


def retabled(tables, data):
    """Arrays of which some have other axes, types, values, or are gone: two bytes an edit."""
    for at in range(0, len(data) - 1, 2):
        if not tables or sum(table.size for table in tables.values()) > LARGE:  # arrays can be doubled again and again
            break
        name = sorted(tables)[data[at] % len(tables)]
        table = tables[name]
        kinds = [
            lambda t: t[:-1], lambda t: t.T.copy(), lambda t: t[..., None] if t.ndim < 5 else t,
            lambda t: t * np.float32("nan"),
            lambda t: t.astype(np.float64), lambda t: t.astype(np.int64), lambda t: t.astype(np.float16),
            lambda t: t.ravel(), lambda t: np.concatenate([t, t]), lambda t: t * np.float32(1e38), lambda t: t[:0],
            None,
        ]  # fmt: skip
        change = kinds[data[at + 1] % len(kinds)]
        if change is None or table.ndim == 0:
            del tables[name]
        else:
            with np.errstate(all="ignore"):
                tables[name] = np.ascontiguousarray(change(table))
    return tables


class Artefacts:
    """One file of a saved model is replaced; the sums are those of the others, agree with it, or there are none.

    Or entries of its configuration, or arrays, are changed, so that what is read can still be taken apart.
    """

    def __init__(self, place):
        self.place = Path(place)
        self.models = [unpack(name, self.place / name)[0] for name in NAMES]
        self.folder = self.place / "now"
        self.cells = ad.read_h5ad(self.models[-1] / "adata.h5ad")[:5].copy()

    def seeds(self):
        """Every file of every model, with what is done to it."""
        for number, run in enumerate(self.models):
            for which, name in enumerate(FILES):
                if (run / "model" / name).is_file():
                    for sums in range(2):
                        yield bytes([number, which, sums]) + (run / "model" / name).read_bytes()
            for which in range(len(FILES), len(FILES) + 3):
                yield bytes([number, which, 1])

    def __call__(self, data):
        """Load a model of which the first bytes say which file the others are, and ask it; whether it could."""
        if len(data) < 3:
            return False
        number, which, sums = data[0] % len(self.models), data[1] % (len(FILES) + 3), data[2] % 2
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.models[number] / "model", self.folder)
        if which == len(FILES):
            config = json.loads((self.folder / FILES[0]).read_text())
            (self.folder / FILES[0]).write_text(json.dumps(edited(config, data[3:])))
        elif which > len(FILES):
            path = self.folder / FILES[which - len(FILES)]
            save_file(retabled(load_file(path), data[3:]), path)
        else:
            (self.folder / FILES[which]).write_bytes(data[3:])
        if sums and which != FILES.index(SUMS) and (self.folder / SUMS).exists():
            (self.folder / SUMS).unlink()
            write_sums(self.folder)
        before = {*(path.name for path in self.place.iterdir()), "again"}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = SiVAE.load(self.folder)
                _ = repr(model), model._repr_html_(), model.history
                model.get_feature_representation(return_dist=True)
                model.get_latent_representation(self.cells)
                model.get_normalized_expression(self.cells)
                model.get_reconstruction_error(self.cells)
                model.save(self.place / "again", overwrite=True)
        except SiVAEError:
            return False
        finally:
            assert {path.name for path in self.place.iterdir()} <= before
        return True


class GeneSets:
    """A file of gene sets, plain or gzipped."""

    def __init__(self, place):
        self.place = Path(place)

    def seeds(self):
        """Files as they should be, and as they should not."""
        import gzip

        for text in GMT:
            yield b"\0" + text
            yield b"\1" + gzip.compress(text, mtime=0)

    def __call__(self, data):
        """Read what follows the first byte, which says whether it is gzipped; whether it could."""
        if not data:
            return False
        path = self.place / ("sets.gmt.gz" if data[0] % 2 else "sets.gmt")
        path.write_bytes(data[1:])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                sets = read_gmt(path)
        except SiVAEError:
            return False
        assert sets and all(name and all(genes) for name, genes in sets.items())
        return True


def drawn(n, seed):
    """Edits of configurations and arrays at random."""
    draw = random.Random(seed)
    for _ in range(n):
        which = draw.choice((len(FILES), len(FILES), len(FILES) + 1, len(FILES) + 2))
        size = draw.choice((1, 1, 2, 4)) * (3 if which == len(FILES) else 2)
        yield bytes([draw.randrange(len(NAMES)), which, 1, *draw.randbytes(size)])


def mutated(seeds, n, seed):
    """Seeds with bytes changed, cut, copied, or a number in their text changed; as many as asked for."""
    draw, seeds = random.Random(seed), list(seeds)
    for _ in range(n):
        data = bytearray(draw.choice(seeds))
        for _ in range(draw.choice((1, 1, 2, 8))):
            at, kind = draw.randrange(1, len(data) + 1), draw.randrange(5)
            if kind == 0 and at < len(data):
                data[at] = draw.randrange(256)
            elif kind == 1:
                del data[at : at + draw.choice((1, 4, 100, 10**6))]
            elif kind == 2:
                data[at:at] = data[at : at + draw.choice((1, 8, 200))]
            elif kind == 3:
                data[at:at] = draw.choice((b"-1", b"1e999", b"null", b"[]", b"{}", b"9" * 30, b'"x"', b"NaN", b"true"))
            elif at < len(data):
                data[at] ^= 1 << draw.randrange(8)
        yield bytes(data)
