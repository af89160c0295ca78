"""Genes that switch together when regulators meet a condition: does a map find a logic that no single gene shows?

The published logic-gate simulation (Choi, Li, Quon 2023, doi 10.1186/s13059-023-02850-y): 1,000 cells, five groups of
50 targets and 3 regulators. Regulators are independent normal values and active above a threshold. Where exactly one of
the three is active ("xor"; "and": all of them) the group's targets switch on: mean 1, variance 0.1, correlation 0.8;
elsewhere they are independent with mean 0 and variance 0.1. The threshold leaves a fifth of the cells on. A regulator
correlates about 0.2 with its targets under xor, 0.26 under and; targets 0.7 with each other.

Values are taken as they are. siVAE has 400 steps. The published recipe has 300 a phase, a seventh of its own, and runs
with 5 axes; its plain VAE has 300, also with a linear decoder (as LDVAE); these three under xor alone. The published
study used networks without activations; these have them. One seed, a fifth of the cells held out.

"states" is the mean over groups of the accuracy of on or off from 15 neighbors in five folds (0.8 without any map),
"r2" the held-out share of variance of the targets explained. From gene vectors: "genes", the adjusted Rand index of
five k-means clusters of the targets (vectors of length 1) with the groups; "modules", that of `sivae.tl.modules`
(unassigned targets as a group of their own); "near", the share of regulators whose nearest 50 genes by |cosine| hold
more of their own group's targets than of any other group's (0.2 by chance).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anndata
import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

import sivae
from bench import _common, _figures, _heldout, _measures, _methods

GATES = ("xor", "and")
SIZES = (2, 5, 10, 25)
N_CELLS, N_GROUPS, N_TARGETS, N_REGULATORS = 1000, 5, 50, 3
ON, RHO, MEAN, VARIANCE = 0.2, 0.8, 1.0, 0.1
OWN, PUBLISHED, PUBLISHED_SIZES = 400, 300, (5,)
MEASURES = ("states", "r2", "genes", "modules", "near", "seconds")
FITS: dict[str, Callable[[_heldout.Data, int], _methods.Fit]] = {
    "siVAE": lambda data, k: _methods.fit_sivae(data, k, 0, options=_methods.short(OWN)),
    "published": lambda data, k: _methods.fit_published(data, k, 0, steps=PUBLISHED),
    "VAE": lambda data, k: _methods.fit_published(data, k, 0, steps=PUBLISHED, model="vae"),
    "VAE, linear": lambda data, k: _methods.fit_published(
        data, k, 0, steps=PUBLISHED, model="vae", linear_decoder=True
    ),
    "PCA": lambda data, k: _methods.fit_pca(data, k, 0),
}


def main(settings: _common.Settings) -> None:
    rows = _common.Rows("logic", ("gate", "k", "method"), quick=settings.quick)
    quick = settings.quick
    for gate in GATES[:1] if quick else GATES:
        data = simulate(gate, n_cells=300 if quick else N_CELLS, seed=0)
        for k in (5,) if quick else SIZES if gate == "xor" else (5,):
            for name in ("siVAE", "PCA") if quick else FITS:
                if name in ("siVAE", "PCA") or (gate == "xor" and (name != "published" or k in PUBLISHED_SIZES)):
                    rows.find(lambda d=data, k=k, name=name: row(d, name, k), gate=gate, k=k, method=name)
    rows.write(steps={"siVAE": OWN, "published": PUBLISHED})


def simulate(gate: str, *, n_cells: int, seed: int) -> _heldout.Data:
    """Values, with `obsm["on"]` (cells x groups) and the group and kind of each gene in `var`."""
    rng = np.random.default_rng(seed)
    values, kinds, groups, on = [], [], [], []
    for group in range(N_GROUPS):
        drive_nr = rng.standard_normal((n_cells, N_REGULATORS))
        on_n = states(drive_nr, gate)
        shared_n, own_nt = rng.standard_normal(n_cells), rng.standard_normal((n_cells, N_TARGETS))
        together_nt = np.sqrt(RHO) * shared_n[:, None] + np.sqrt(1 - RHO) * own_nt
        target_nt = np.where(on_n[:, None], MEAN + np.sqrt(VARIANCE) * together_nt, np.sqrt(VARIANCE) * own_nt)
        values += [drive_nr, target_nt]
        kinds += ["regulator"] * N_REGULATORS + ["target"] * N_TARGETS
        groups += [group] * (N_REGULATORS + N_TARGETS)
        on.append(on_n)
    names = [f"{kind}{i}" for i, kind in enumerate(kinds)]
    adata = anndata.AnnData(
        np.hstack(values).astype(np.float32), var=pd.DataFrame({"kind": kinds, "group": groups}, names)
    )
    adata.obs_names = [f"cell{i}" for i in range(n_cells)]
    adata.obsm["on"] = np.stack(on, axis=1)
    labels = np.array(["".join("1" if state else "0" for state in cell) for cell in adata.obsm["on"]])
    return _heldout.of_values(gate, adata, labels)


def states(drive_nr: np.ndarray, gate: str) -> np.ndarray:
    """Whether the group is on in each cell; the threshold on the regulators that puts nearest to a fifth of them on."""
    chosen, best = None, np.inf
    # Under xor two thresholds do; the higher one makes active regulators rare, so that one at most is active.
    for threshold in np.sort(drive_nr.ravel())[::-1]:
        active_n = (drive_nr > threshold).sum(axis=1)
        on_n = active_n == (N_REGULATORS if gate == "and" else 1)
        if abs(on_n.mean() - ON) < best:
            chosen, best = on_n, abs(on_n.mean() - ON)
        if on_n.mean() > ON:
            break
    assert chosen is not None
    return np.asarray(chosen)


def row(data: _heldout.Data, name: str, k: int) -> dict[str, Any]:
    fit = FITS[name](data, k)
    kind, group = data.counts.var["kind"].to_numpy(), data.counts.var["group"].to_numpy()
    target = kind == "target"
    on = data.counts.obsm["on"]
    assert fit.predicted_ng is not None
    x, p = data.scaled_ng, fit.predicted_ng
    r2_g = 1 - ((x - p)[data.test] ** 2).sum(axis=0) / (x[data.test] ** 2).sum(axis=0)
    found: dict[str, Any] = {
        "states": float(np.mean([_measures.knn(fit.z_nk, on[:, g]) for g in range(N_GROUPS)])),
        "r2": float(r2_g[target].mean()),
    }
    if fit.v_gk is not None:
        found["genes"] = clustered(fit.v_gk[target], group[target])
        found["near"] = nearness(fit.v_gk, kind, group)
    if name == "siVAE":
        found["modules"] = float(_modules(data, fit, target, group))
    return {key: round(value, 4) for key, value in found.items()} | {"seconds": round(fit.seconds, 1)}


def clustered(v_tk: np.ndarray, group_t: np.ndarray) -> float:
    """Adjusted Rand index of clusters of directions with the groups."""
    unit = v_tk / np.maximum(np.linalg.norm(v_tk, axis=1, keepdims=True), 1e-12)
    return float(adjusted_rand_score(group_t, KMeans(N_GROUPS, n_init=10, random_state=0).fit_predict(unit)))


def nearness(v_gk: np.ndarray, kind: np.ndarray, group: np.ndarray) -> float:
    """Share of regulators with more of their own targets nearby than of any other group's."""
    unit = v_gk / np.maximum(np.linalg.norm(v_gk, axis=1, keepdims=True), 1e-12)
    near = _measures.highest(np.abs(unit @ unit.T), N_TARGETS)
    right = []
    for regulator in np.flatnonzero(kind == "regulator"):
        beside = near[regulator][kind[near[regulator]] == "target"]
        count = np.bincount(group[beside], minlength=N_GROUPS)
        right.append(count[group[regulator]] > np.delete(count, group[regulator]).max())
    return float(np.mean(right))


def _modules(data: _heldout.Data, fit: _methods.Fit, target: np.ndarray, group: np.ndarray) -> float:
    training = data.training
    sivae.SiVAE.setup_anndata(training)
    fit.model.annotate(training)
    sivae.tl.gene_neighbors(training)
    sivae.tl.modules(training)
    return float(adjusted_rand_score(group[target], training.var["sivae_module"].astype(str).to_numpy()[target]))


def table(result: dict[str, Any]) -> str:
    parts = [_common.conditions(result) + "\n"]
    for gate in dict.fromkeys(r["gate"] for r in result["rows"]):
        parts.append(f"**{gate}**\n")
        own = [r for r in result["rows"] if r["gate"] == gate]
        lines = [[r["k"], r["method"], *(r.get(m) for m in MEASURES)] for r in own]
        parts.append(_common.table(("axes", "method", *MEASURES), lines))
    return "\n".join(parts)


def figures(result: dict[str, Any]) -> dict[str, Any]:
    """States of cells and held-out expression over the number of axes."""
    words = {"states": "states of cells", "r2": "held-out R2", "genes": "groups of genes"}
    long = [
        {"panel": f"{gate}, {words[m]}", "k": r["k"], "value": r.get(m), "method": r["method"]}
        for gate in GATES[:1] for m in words for r in result["rows"] if r["gate"] == gate
    ]  # fmt: skip
    figure = _figures.lines(long, panels="panel", x="k", value="value", hue="method", words=("axes", ""), log="x")
    for ax in figure.axes:
        ax.set_xticks(SIZES, [str(k) for k in SIZES])
        ax.minorticks_off()
    return {"logic": figure}
