"""An explorer's page read back without its own programs: its account, its arrays, its expression."""

import base64
import json
import struct
import zlib
from html.parser import HTMLParser

import numpy as np
import pandas as pd
from annotated import annotated

from sivae import tl


class Elements(HTMLParser):
    """Tags with their attributes, and the text of script and style elements."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self.styles = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.open = [dict(attrs), ""]
            (self.scripts if tag == "script" else self.styles).append(self.open)

    def handle_endtag(self, tag):
        self.open = None

    def handle_data(self, data):
        if getattr(self, "open", None):
            self.open[1] += data


class Page:
    """What is in a page, decoded."""

    def __init__(self, path):
        self.text = path.read_text(encoding="utf-8")
        self.elements = Elements(self.text)
        by_id = {attributes["id"]: text for attributes, text in self.elements.scripts if "id" in attributes}
        self.account = json.loads(by_id["account"])
        self.blobs = {name: base64.b64decode(text) for name, text in by_id.items() if name != "account"}

    def raw(self, name):
        return zlib.decompress(self.blobs[name], -15)

    def numbers(self, name, kind="<f4"):
        return np.frombuffer(self.raw(name), kind)

    def names(self, what):
        return json.loads(self.raw(self.account[what]["names"]))

    def codes(self):
        """Codes of every gene and cell, (genes, cells), entry by entry as the format says."""
        n, rows = self.account["cells"]["n"], []
        for chunk in self.account["expression"]["chunks"]:
            assert chunk["from"] == len(rows)
            rows += codes_of(self.raw(chunk["blob"]), n, self._genes_of(chunk))
        return np.array(rows)

    def _genes_of(self, chunk):
        starts = [c["from"] for c in self.account["expression"]["chunks"]] + [self.account["genes"]["n"]]
        return starts[starts.index(chunk["from"]) + 1] - chunk["from"]

    def expression(self):
        """Values as a frame, cells x genes."""
        described, codes = self.account["expression"], self.codes().astype(float)
        low, step = (self.numbers(described[name]).astype(float)[:, None] for name in ("low", "step"))
        values = np.where(codes == 0, 0.0, low + (codes - 1) * step)
        return pd.DataFrame(values.T, index=self.names("cells"), columns=self.names("genes"))


def codes_of(raw, n, n_genes):
    head = struct.unpack_from(f"<{2 * n_genes}I", raw)
    gap_at = 8 * n_genes
    code_at = gap_at + sum(length for length in head[::2] if length != 0xFFFFFFFF)
    rows = []
    for length, entries in zip(head[::2], head[1::2], strict=True):
        row = [0] * n
        codes = raw[code_at : code_at + entries]
        if length == 0xFFFFFFFF:
            row = list(codes)
        else:
            cell, skipped, left = -1, 0, iter(codes)
            for byte in raw[gap_at : gap_at + length]:
                skipped += byte
                if byte < 255:
                    cell += skipped + 1
                    row[cell], skipped = next(left), 0
            gap_at += length
        code_at += entries
        rows.append(row)
    assert code_at == len(raw)
    return rows


def whole(n=240, g=60, *, seed=0):
    """Annotated, with hubs, neighbors, modules and their scores; every third gene is of a module."""
    adata = annotated(n, g, 3, seed=seed)
    rng = np.random.default_rng(seed)
    adata.var["sivae_noise_variance"] = 0.5
    adata.var["sivae_connected_pvalue"] = np.where(np.arange(g) % 2, 1e-6, 0.6)
    adata.obs["donor"] = pd.Categorical(rng.choice(["d1", "d2"], n))
    tl.hubs(adata)
    tl.gene_neighbors(adata, 8)
    names = np.array(["module1", "module2", "unassigned"])
    adata.var["sivae_module"] = pd.Categorical(names[np.arange(g) % 3])
    adata.var["sivae_module_stability"] = 0.9
    tl.module_scores(adata)
    return adata


def expected(adata):
    """log1p(target y / library) of every cell and gene, and its mean and sd over training cells, in plain NumPy."""
    counts = adata.X.toarray().astype(float)
    library = counts[:, adata.var["sivae_modelled"].to_numpy()].sum(axis=1)
    train = (adata.obs["sivae_split"] == "train").to_numpy()
    x = np.log1p(counts * np.sqrt(np.median(library[train]) * 1e4) / library[:, None])
    return x, x[train].mean(axis=0), x[train].std(axis=0)


def difference(adata, chosen):
    """Mean standardised expression of the chosen cells minus that of the others."""
    x, mean, sd = expected(adata)
    z = np.clip(np.divide(x - mean, sd, out=np.zeros_like(x), where=sd > 1e-6), -10, 10)
    return z[chosen].mean(axis=0) - z[~chosen].mean(axis=0)
