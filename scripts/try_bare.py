"""Use an installed sivae-tools that has no extras: called by scripts/try_wheel.sh, outside of the repository."""

import sys
import tempfile
from pathlib import Path

import numpy as np

import sivae
from sivae._errors import MissingExtraError

assert "site-packages" in sivae.__file__, f"found {sivae.__file__}, expected what was installed"
adata = sivae.datasets.planted(200, 60, n_factors=2, genes_per_factor=15)
sivae.SiVAE.setup_anndata(adata)
model = sivae.SiVAE(adata, n_latent=2)
model.train(max_epochs=2, progress=False)
model.annotate(adata)
sivae.tl.hubs(adata)
sivae.tl.gene_neighbors(adata, 5)
with tempfile.TemporaryDirectory() as folder:
    model.save(Path(folder) / "model")
    again = sivae.SiVAE.load(Path(folder) / "model", adata)
    assert np.array_equal(again.get_latent_representation(), model.get_latent_representation())
    sivae.explorer.build(adata, Path(folder) / "explorer.html")

NEEDS = {
    "plot": lambda: sivae.pl.genes(adata),
    "report": lambda: sivae.report.build(adata, "report.html"),
    "demo": sivae.datasets.pbmc700,
    "modules": lambda: sivae.tl.modules(adata),
}
for extra, call in NEEDS.items():
    try:
        call()
    except MissingExtraError as error:
        assert f"sivae-tools[{extra}]" in str(error), f"found {error}, expected the extra {extra}"
    else:
        raise AssertionError(f"what needs the extra {extra} worked without it")
assert "matplotlib" not in sys.modules
sys.stdout.write("Fitted, saved and loaded without extras; what is missing is named.\n")
