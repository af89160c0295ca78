"""Images: pixels for genes, pictures for cells. Do loadings look like what tells digits apart?

The published image experiment (Choi, Li, Quon 2023, doi 10.1186/s13059-023-02850-y) on scikit-learn's digits (1,797 of
8 x 8 pixels, drawn below) and 1,000 of MNIST (28 x 28, numbers alone): values between 0 and 1, taken as they are, 20
axes, and 2 axes for ones and sixes. A pixel that is constant over the training images is 0 on the standardised scale
and stays at the origin. The published recipe has its preset "images", weight 0.1, for few steps a phase (in the table)
instead of its 2,000; siVAE has 500 steps, a fifth of its default. All learn from the same four fifths of the images.

"r2" is the share of the held-out images' variance that the reconstruction explains, in gray levels and with every pixel
scaled to variance 1 (a pixel that is almost always black then counts as much as one in the middle). "axes" are those in
use, "knn" is the accuracy of labels from 15 neighbors. Awareness: the share of a class's squared scaled values that the
layer explains beyond the mean image, on validation images. Attributions against loadings: absolute rank correlation
over pixels, mean over axes, 100 images. The pictures are the ten longest of the 20 axes; for each class its mean, what
the latent layer is aware of and the first direction in which its images differ; and the two axes of ones and sixes.

siVAE closes axes in which it finds nothing but noise: of the 20 for the digits it keeps ten, and with these does not
reach what 20 principal components say of an image.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import anndata
import numpy as np
import pandas as pd

import sivae
from bench import _common, _data, _figures, _heldout, _measures, _methods

STEPS = {"digits": 500, "mnist": 150}
OWN_STEPS = 500
FEATURE_IMAGES = 1000
N_MNIST, N_PAIR = 1000, 600
FULL, PAIR = 20, 2
LEAST = 0.01
"""Length of the loadings of an axis in use."""
DRAWN = ("siVAE", "siVAE, gamma 0", "published", "PCA")
ATTRIBUTIONS = (
    ("encoder", "gradient"), ("encoder", "integrated_gradients"), ("decoder", "saliency"),
    ("decoder", "gradient_x_input"), ("decoder", "integrated_gradients"),
)  # fmt: skip
MEASURES = ("axes", "knn", "knn_test", "r2 gray", "r2 scaled", "seconds")
AWARE = ("latent", "full", "pca")


def main(settings: _common.Settings) -> None:
    rows = _common.Rows("images", ("data", "k", "method"), quick=settings.quick)
    for data in _sets(settings):
        k = 3 if settings.quick else PAIR if data.name.endswith("1 and 6") else FULL
        for name in ("siVAE", "PCA") if settings.quick else DRAWN:
            rows.find(
                lambda d=data, k=k, name=name: row(d, name, k),
                **{"data": data.name, "k": k, "method": name},
            )
    rows.write(steps=STEPS)


def _sets(settings: _common.Settings) -> list[_heldout.Data]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    n = 300 if settings.quick else None
    found = [_set("digits", digits.data[:n] / 16, digits.target[:n])]
    if not settings.quick:
        found.append(_pair("digits", digits.data / 16, digits.target))
        path = _data.FOLDER / "images" / "mnist_10k.npz"
        if path.exists():
            with np.load(path) as file:
                images, labels = file["images"].reshape(len(file["labels"]), -1) / 255, file["labels"]
            found += [_set("mnist", images[:N_MNIST], labels[:N_MNIST]), _pair("mnist", images, labels)]
        else:
            print(f"*** mnist LEFT OUT: no {path}; name its folder in SIVAE_DATA", file=sys.stderr)
    wanted = settings.data
    return [data for data in found if wanted is None or data.name.split(",")[0] in wanted]


def _pair(name: str, images_ng: np.ndarray, labels: np.ndarray) -> _heldout.Data:
    rows = np.flatnonzero((labels == 1) | (labels == 6))[:N_PAIR]
    return _set(f"{name}, 1 and 6", images_ng[rows], labels[rows])


def _set(name: str, images_ng: np.ndarray, labels: np.ndarray) -> _heldout.Data:
    """Images as cells, pixels as genes."""
    names = [f"image{i}" for i in range(len(images_ng))]
    x_ng = images_ng.astype(np.float32)
    adata = anndata.AnnData(x_ng, obs=pd.DataFrame({"digit": labels.astype(str)}, index=names))
    adata.var_names = [f"pixel{g}" for g in range(x_ng.shape[1])]
    return _heldout.of_values(name, adata, labels)


def row(data: _heldout.Data, name: str, k: int) -> dict[str, Any]:
    fit = FITS[name](data, k)
    found = {
        "knn": _measures.knn(fit.z_nk, data.labels),
        "knn_test": _measures.knn_held(fit.z_nk, data.labels, data.test),
        **_reconstructed(data, fit),
        "seconds": round(fit.seconds, 1),
        "images": data.counts.n_obs,
        "pixels": data.counts.n_vars,
        "constant": int(np.isinf(data.sd_g).sum()),
    }
    if fit.model is not None:
        training = data.training
        sivae.SiVAE.setup_anndata(training)
        fit.model.annotate(training)
        found["agreement"] = _agreement(training, fit.model)
        if name == "siVAE":
            found |= _classes(training, fit.model)
    assert fit.v_gk is not None
    found["axes"] = int((np.linalg.norm(fit.v_gk, axis=0) > LEAST).sum())
    if data.name.startswith("digits"):
        found["loadings"] = np.round(_ordered(fit.v_gk).T, 3).tolist()
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in found.items()}


def _ordered(v_gk: np.ndarray) -> np.ndarray:
    """Axes by falling length, each signed so that the sum of its cubed loadings is positive."""
    v_gk = v_gk[:, np.argsort(-np.linalg.norm(v_gk, axis=0), kind="stable")]
    return np.asarray(v_gk * np.where((v_gk**3).sum(axis=0) < 0, -1, 1))


def _sivae(data: _heldout.Data, k: int, **settings: Any) -> _methods.Fit:
    return _methods.fit_sivae(data, k, 0, options=_methods.short(OWN_STEPS), **settings)


def _published(data: _heldout.Data, k: int) -> _methods.Fit:
    steps, profile = STEPS[data.name.split(",")[0]], {"n_profile": FEATURE_IMAGES}
    return _methods.fit_published(data, k, 0, preset="images", steps=steps, gamma=0.1, profile=profile)


FITS: dict[str, Callable[[_heldout.Data, int], _methods.Fit]] = {
    "siVAE": _sivae,
    "siVAE, gamma 0": lambda data, k: _sivae(data, k, gamma=0.0),
    "published": _published,
    "PCA": lambda data, k: _methods.fit_pca(data, k, 0),
}


def _reconstructed(data: _heldout.Data, fit: _methods.Fit) -> dict[str, float]:
    """Shares of the held-out images' variance explained; PCA and siVAE both work on the scaled pixels."""
    assert fit.predicted_ng is not None
    used = np.isfinite(data.sd_g)
    x, p = data.scaled_ng[data.test][:, used], fit.predicted_ng[data.test][:, used]
    sd = data.sd_g[used]
    gray = 1 - (((x - p) * sd) ** 2).sum() / ((x * sd) ** 2).sum()
    return {"r2 gray": float(gray), "r2 scaled": float(1 - ((x - p) ** 2).sum() / (x**2).sum())}


def _agreement(training: anndata.AnnData, model: sivae.SiVAE) -> dict[str, float]:
    found = {}
    for side, method in ATTRIBUTIONS:
        table = sivae.tl.attributions(training, model, side=side, method=method, n_cells=100)
        found[f"{side} {method}"] = table
        if side == "decoder":
            found[f"{side} {method}, uncentered"] = sivae.tl.attributions(
                training, model, side=side, method=method, n_cells=100, center=False
            )
    mean = sivae.tl.attribution_agreement(training, found)["mean"]
    return {name: round(float(value), 4) for name, value in mean.items()}


def _classes(training: anndata.AnnData, model: sivae.SiVAE) -> dict[str, Any]:
    """Awareness of each class by layer, and as images for digits with the first recoded direction of each."""
    table = sivae.tl.feature_awareness(training, model, groupby="digit", cells="validation", pca=True)
    sums = table.assign(total=table["awareness"] / table["share"]).groupby(["layer", "group"])[["awareness", "total"]]
    share = sums.sum().pipe(lambda frame: frame["awareness"] / frame["total"]).unstack("layer")
    found: dict[str, Any] = {
        "awareness": {str(g): {n: round(float(r[n]), 4) for n in AWARE} for g, r in share.iterrows()}
    }
    if training.n_vars > 64:
        return found
    pixels = list(training.var_names)
    found["aware"] = {
        layer: {str(g): _pixels(own, "awareness", pixels) for g, own in part.groupby("group")}
        for layer, part in table[table["layer"].isin(["latent", "pca"])].groupby("layer")
    }
    recoded = sivae.tl.recoded_loadings(training, "digit", n_components=1)
    found["recoded"] = {str(g): _pixels(own, "loading", pixels) for g, own in recoded.groupby("group")}
    means = training.to_df().groupby(training.obs["digit"]).mean()
    found["means"] = {str(g): np.round(r.to_numpy(), 3).tolist() for g, r in means.iterrows()}
    return found


def _pixels(own: pd.DataFrame, column: str, pixels: list[str]) -> list[float]:
    return np.round(own.set_index("gene")[column].reindex(pixels).fillna(0.0).to_numpy(), 3).tolist()  # type: ignore[no-any-return]


def table(result: dict[str, Any]) -> str:
    parts = [_common.conditions(result) + "\n"]
    for data in sorted({r["data"] for r in result["rows"]}):
        own = sorted((r for r in result["rows"] if r["data"] == data), key=lambda r: DRAWN.index(r["method"]))
        first = own[0]
        parts.append(
            f"**{data}, {first['k']} axes** ({first['images']} images of {first['pixels']} pixels, {first['constant']} "
            f"constant; published: {result['steps'][data.split(',')[0]]} steps a phase)\n"
        )
        parts.append(_common.table(("method", *MEASURES), [[r["method"], *(r.get(m) for m in MEASURES)] for r in own]))
        aware = first["awareness"]
        lines = [[layer, *(aware[digit][layer] for digit in aware)] for layer in AWARE]
        parts.append("Awareness by class (siVAE, and as many principal components):\n")
        parts.append(_common.table(("layer", *aware), lines))
        agreed = [r for r in own if "agreement" in r]
        parts.append("Attributions against loadings:\n")
        head = ("attribution", *(r["method"] for r in agreed))
        parts.append(_common.table(head, [[n, *(r["agreement"][n] for r in agreed)] for n in agreed[0]["agreement"]]))
    return "\n".join(parts)


def figures(result: dict[str, Any]) -> dict[str, Any]:
    """Digits alone: the axes as images beside principal components, and what each class is aware of."""
    rows = {(r["data"], r["method"]): r for r in result["rows"]}
    pair = [(name, rows["digits, 1 and 6", name]["loadings"]) for name in DRAWN]
    axes = [(name, rows["digits", name]["loadings"][:10]) for name in DRAWN]
    own = rows["digits", "siVAE"]
    digits = list(own["means"])
    classes = [
        ("mean", [own["means"][d] for d in digits]),
        ("awareness,\nsiVAE", [own["aware"]["latent"][d] for d in digits]),
        ("awareness,\nPCA", [own["aware"]["pca"][d] for d in digits]),
        ("recoded\naxis 1", [own["recoded"][d] for d in digits]),
    ]
    return {
        "images_axes": _figures.pictures(axes, columns=[f"axis {i + 1}" for i in range(10)], side=8),
        "images_classes": _figures.pictures(classes, columns=digits, side=8),
        "images_1_6": _figures.pictures(pair, columns=["axis 1", "axis 2"], side=8),
    }
