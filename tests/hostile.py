"""Names that try to be markup, formulas, paths or mathematics, and data that hold nothing else."""

import numpy as np
import pandas as pd

from sivae import datasets

RUN = "window.__ran=1"
"""What a payload would run; a page where `window.__ran` is set has run one."""
MARKUP = (
    f"<script>{RUN}</script>",
    f'"><img src=x onerror="{RUN}">',
    f"'><svg onload={RUN}>",
    f"</script><script>{RUN}</script>",
    f"</style></title><body onload={RUN}>",
    "<!--<script>",
    f"${{{RUN}}}",
    "{{7*7}}{% raw %}",
    f"javascript:{RUN}",
    "<img src=http://sivae.invalid/x.png>",
    "]]><b>&lt;&amp;",
    "a\u2028b",
    "\u202egnp.exe",
    r"$\frac{1}{0}$",
    "$x_{",
)
FORMULAS = ("=1+1", "+abc", "-", "@SUM(A1)", "'=1", "-2+3", "=cmd|' /C calc'!A0", "\t=1", "a\r=1+1")
PATHS = ("../../evil", "/etc/x", "CON", "..", "a/b\\c", "-rf")
NAMES = (*MARKUP, *FORMULAS, *PATHS)


def many(n, first=NAMES):
    """That many different names, the first ones as they are."""
    return [name if turn == 0 else f"{name} {turn}" for turn in range(n // len(first) + 1) for name in first][:n]


def cells(n_individuals=10, n_cells=25, n_genes=60):
    """Counts of individuals, for `sivae fit` and `sivae cohort`: every gene, cell, group, batch and individual hostile.

    h5ad holds no name of a column with a slash, so those of columns have none.
    """
    adata = datasets.planted_cohort(
        n_individuals, n_cells, n_genes, n_regulators=3, targets=10, n_rewired=1, n_expression=4, seed=1
    )
    adata.var_names, adata.obs_names = many(adata.n_vars), many(adata.n_obs, (*FORMULAS, *MARKUP, *PATHS))
    donors = list(adata.obs["donor"].unique())
    renamed = dict(zip(donors, many(len(donors), (*PATHS, *MARKUP)), strict=True))
    obs = pd.DataFrame(index=adata.obs_names)
    obs[COLUMNS["donor"]] = adata.obs["donor"].map(renamed).astype(str).to_numpy()
    obs[COLUMNS["severity"]] = adata.obs["severity"].to_numpy()
    kinds = adata.obs["cell_type"].astype("category").cat.codes.to_numpy()
    obs[COLUMNS["type"]] = np.array(MARKUP, dtype=object)[kinds]
    obs[COLUMNS["batch"]] = np.array([FORMULAS[0], MARKUP[0], MARKUP[3]], dtype=object)[np.arange(len(obs)) % 3]
    site = {donor: MARKUP[s % 2] for s, donor in enumerate(donors)}
    obs[COLUMNS["site"]] = adata.obs["donor"].map(site).astype(str).to_numpy()
    adata.obs = obs
    adata.uns.clear()
    return adata


COLUMNS = {
    "donor": f'"><img src=x onerror="{RUN}">',
    "severity": f"<img src=x onerror={RUN}>",
    "type": f"<svg onload={RUN}>",
    "batch": "=1+1",
    "site": f"<details open ontoggle={RUN}>",
}


def gene_sets(adata, path):
    """A GMT file of hostile sets over the genes, as far as its lines can hold their names."""
    genes = [name for name in adata.var_names if not set("\t\r\n") & set(name)]
    lines = []
    for place, name in enumerate(n for n in NAMES if not set("\t\r\n") & set(n)):
        lines.append("\t".join([name, "", *genes[place % 4 :: 3]]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
