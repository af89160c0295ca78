"""What a fuzzer gives the readers: any error that is not a SiVAEError is a find."""

import random
import shutil
import warnings
from pathlib import Path

import anndata as ad
from archived import NAMES, unpack

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


class Artefacts:
    """One file of a saved model is replaced; the sums are those of the others, agree with it, or there are none."""

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

    def __call__(self, data):
        """Load a model of which the first bytes say which file the others are, and ask it; whether it could."""
        if len(data) < 3:
            return False
        number, which, sums = data[0] % len(self.models), data[1] % len(FILES), data[2] % 2
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.models[number] / "model", self.folder)
        (self.folder / FILES[which]).write_bytes(data[3:])
        if sums and which != FILES.index(SUMS) and (self.folder / SUMS).exists():
            (self.folder / SUMS).unlink()
            write_sums(self.folder)
        before = sorted(path.name for path in self.place.iterdir())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = SiVAE.load(self.folder)
                _ = repr(model), model._repr_html_(), model.history
                model.get_feature_representation(return_dist=True)
                model.get_latent_representation(self.cells)
                model.get_normalized_expression(self.cells)
        except SiVAEError:
            return False
        finally:
            assert sorted(path.name for path in self.place.iterdir()) == before
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
