"""The report says what the AnnData holds, asks nothing of the network, and no name can break it."""

import re

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from annotated import annotated
from page import Page, value
from published import groups, trained

from sivae import report
from sivae._errors import ArtefactError, OptionError, SetupError
from sivae.pl import _label
from sivae.report import _axes, _caveats, _facts, _tables

matplotlib.use("Agg")


@pytest.fixture
def adata():
    return annotated()


@pytest.fixture(scope="module")
def page_text(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    return report.build(annotated(), path).read_text(encoding="utf-8")


@pytest.fixture
def page(page_text):
    return Page(page_text)


def test_loadings_and_deviations_equal_those_of_the_anndata(adata, page):
    rows = [(int(a["data-axis"]), row) for a, table in page.tables if "data-axis" in a for row in table[1:]]
    assert {axis for axis, _ in rows} == {1, 2}  # the third is unused
    assert len(rows) == 2 * 2 * _axes.N_GENES
    for axis, (gene, loading, sd) in rows:
        g = adata.var_names.get_loc(gene)
        assert value(loading) == pytest.approx(adata.varm["X_sivae"][g, axis - 1], abs=5.1e-4)
        assert value(sd) == pytest.approx(np.sqrt(adata.varm["X_sivae_var"][g, axis - 1]), abs=5.1e-4)


def test_the_first_gene_of_each_end_is_the_extreme(adata, page):
    trained = adata.var["sivae_modelled"].to_numpy()
    tops = [table[1][0] for a, table in page.tables if a.get("data-axis") == "1"]
    loading = np.where(trained, adata.varm["X_sivae"][:, 0], 0)
    assert tops == [adata.var_names[loading.argmax()], adata.var_names[loading.argmin()]]


def test_explained_shares_equal_those_of_the_anndata(adata, page):
    table = next(table for a, table in page.tables if a.get("id") == "best")
    shown = [value(row[1]) for row in table[1:]]
    wanted = adata.var["sivae_r2"].dropna().sort_values(ascending=False).to_numpy()[: len(shown)]
    assert np.allclose(shown, wanted, atol=5.1e-4)
    assert value(page.by_id["r2-median"]) == pytest.approx(adata.var["sivae_r2"].median(), abs=5.1e-4)


def test_losses_equal_those_of_the_history(page):
    found = {key: value(page.by_id[key]) for key in ("loss-start", "loss-best", "best-step")}
    assert found == {"loss-start": 50.0, "loss-best": 40.25, "best-step": 20}


def test_sizes_options_and_versions_are_there(page):
    rows = {row[0]: row[1] for _, table in page.tables for row in table if len(row) == 2}
    assert (rows["Cells"], rows["Genes in the data"], rows["Genes modelled"]) == ("120", "60", "50")
    assert (rows["Training cells"], rows["Validation cells"], rows["Seed"]) == ("108", "12", "4")
    assert rows["Unused at the end"] == "axis 3"
    assert (rows["architecture.n_joint"], rows["learning_rate"], rows["torch"]) == ("8", "0.002", "2.0")


def test_group_means_are_those_of_the_cells(adata):
    high, low = _axes.group_ends(adata, 0, "cell_type")
    mean = adata.obs.assign(z=adata.obsm["X_sivae"][:, 0]).groupby("cell_type", observed=True)["z"].mean()
    assert (high[0][0], low[0][0]) == (mean.idxmax(), mean.idxmin())
    assert value(high[0][1]) == pytest.approx(mean.max(), abs=5.1e-3)


def test_shares_add_up_and_an_unused_axis_has_none(adata):
    shares = _axes.shares_of(adata)
    assert sum(shares) == pytest.approx(1)
    assert shares[2] == 0


def test_the_page_asks_nothing_of_the_network(page, page_text):
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "base", "form")
        for key in ("src", "href", "srcset", "action", "data"):
            assert re.match(r"data:image/png;base64,|#", attributes.get(key) or "#")
    assert "@import" not in page_text and "url(" not in page_text
    assert len(page_text) < 5_000_000
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")


HOSTILE = "</td><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}$x$"


def test_hostile_names_are_text(adata, tmp_path):
    adata.var_names = [HOSTILE + str(i) for i in range(adata.n_vars)]
    adata.obs[HOSTILE] = adata.obs["cell_type"].cat.rename_categories([HOSTILE + c for c in "abc"])
    adata.uns["sivae"]["run"] = {"source": HOSTILE, "chosen": HOSTILE}
    page = Page(report.build(adata, tmp_path / "r.html", label=HOSTILE).read_text(encoding="utf-8"))
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert all(attributes["src"].startswith("data:") for tag, attributes in page.tags if tag == "img")
    genes = [row[0] for a, table in page.tables if "data-axis" in a for row in table[1:]]
    assert set(genes) <= set(adata.var_names)


def test_no_figure_stays_open(adata, tmp_path):
    before = plt.get_fignums()
    report.build(adata, tmp_path / "r.html")
    assert plt.get_fignums() == before


def test_the_file_is_whole_or_absent(adata, tmp_path, monkeypatch):
    path = tmp_path / "r.html"
    path.write_text("before")

    def broken(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", broken)
    with pytest.raises(KeyboardInterrupt):
        report.build(adata, path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_errors_say_what_to_do(adata, tmp_path):
    with pytest.raises(OptionError, match="no column 'nope'"):
        report.build(adata, tmp_path / "r.html", label="nope")
    with pytest.raises(ArtefactError, match="could not be written"):
        report.build(adata, tmp_path / "no" / "r.html")
    del adata.uns["sivae"]["facts"]
    with pytest.raises(SetupError, match="no facts.*annotate"):
        report.build(adata, tmp_path / "r.html")
    assert not list(tmp_path.iterdir())


def test_one_axis_and_no_groups_make_a_report_too(tmp_path):
    adata = annotated(k=1, unused=())
    del adata.obs["cell_type"]
    assert report.build(adata, tmp_path / "r.html").stat().st_size > 10_000


def test_no_validation_cells_make_a_report_too(adata, tmp_path):
    del adata.uns["sivae"]["history"]["validation_loss"]
    adata.var["sivae_r2"] = np.nan
    text = report.build(adata, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "No cells were kept for validation" in text


# --------------------------------------------------------------------------------------------------- label and caveats


def test_a_likely_column_is_chosen(adata):
    adata.obs["a"] = adata.obs["cell_type"]
    assert _label.find_label(adata) == "cell_type"
    adata.obs = adata.obs.rename(columns={"cell_type": "z"})
    assert _label.find_label(adata) == "z"
    adata.uns["sivae"]["run"] = {"label": "a"}
    assert _label.find_label(adata) == "a"


def test_names_of_cells_and_batches_are_no_label(adata):
    adata.obs = adata.obs[["cell_type"]].rename(columns={"cell_type": "batch"})
    adata.obs["barcode"] = adata.obs_names.astype("category")
    adata.uns["sivae"]["setup"]["batch_key"] = "batch"
    assert _label.find_label(adata) is None


def change(path, new):
    def apply(adata):
        at = adata.uns["sivae"]
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = new

    return apply


def low_r2(adata):
    adata.var["sivae_r2"] = 0.01


def sparse_genes(adata):
    adata.X = adata.X.multiply(np.where(np.arange(adata.n_vars) < 4, 0.0, 1.0)[None, :]).tocsr()


VALIDATION = ("history", "validation_loss")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _: None, "Axis 3 is unused"),
        (lambda _: None, "12 cells were kept for validation"),
        (lambda _: None, "10 genes were placed on the map after training"),
        (lambda _: None, "association, not regulation"),
        (low_r2, "Half of the modelled genes have at most 0.010"),
        (sparse_genes, "4 modelled genes are seen in fewer than 1 %"),
        (change(VALIDATION, np.array([50.0, 42, 40, 45, 55])), "worse on validation cells than at its start"),
        (change(("history", "best"), np.array([1.0, 0, 0, 0, 0])), "did not beat its start"),
        (change(("facts", "stopped"), "all steps done"), None),
    ],
)
def test_caveats_say_what_was_found(adata, make, words):
    make(adata)
    text = " ".join(_caveats.find(adata))
    assert words in text if words else "still falling" not in text


def along_depth(adata, *, axis, r):
    """Let an axis have exactly this correlation with the log of the cells' counts."""
    x = np.log(np.asarray(adata.X.sum(axis=1)).ravel())
    x = (x - x.mean()) / x.std()
    noise = np.random.default_rng(1).normal(size=len(x))
    noise -= noise.mean() + (noise @ x) / (x @ x) * x
    adata.obsm["X_sivae"][:, axis] = 3 + 2 * (r * x + np.sqrt(1 - r**2) * noise / noise.std())


@pytest.mark.parametrize(
    ("axis", "r", "words"),
    [(0, 0.75, "Axis 1 goes with the number of counts of a cell (correlation of its logarithm 0.75)"),
     (1, -0.9, "Axis 2 goes with the number of counts of a cell (correlation of its logarithm -0.90)"),
     (0, 0.6, None), (2, 0.9, None)],
)  # fmt: skip
def test_an_axis_of_depth_is_named_unless_it_is_unused(adata, axis, r, words):
    along_depth(adata, axis=axis, r=r)
    text = " ".join(_caveats.find(adata))
    assert words in text if words else "number of counts of a cell" not in text


@pytest.mark.parametrize("how", ["no counts", "no values", "few cells", "cells without counts"])
def test_depth_is_looked_at_only_where_there_is_one(adata, how):
    along_depth(adata, axis=0, r=0.9)
    if how == "no counts":
        adata.uns["sivae"]["setup"]["normalize"] = "none"
    elif how == "no values":
        del adata.X
    elif how == "few cells":
        adata = adata[:9].copy()
    else:
        adata.X = adata.X.multiply(np.arange(adata.n_obs)[:, None] < 9).tocsr()
    assert "number of counts of a cell" not in " ".join(_caveats.find(adata))


def test_what_an_interval_covers_is_that_of_the_recipe(adata):
    """Variances over samples of cells, or those that training fits."""
    for cells, words in ((adata, "in another sample of as many cells"), (staged([7.0, 6.0]), "own uncertainty")):
        found = [text for text in _caveats.find(cells) if text.startswith("The interval of a loading")]
        assert len(found) == 1
        assert words in found[0]


def test_a_loss_that_still_falls_is_said(adata):
    adata.uns["sivae"]["facts"] |= {"stopped": "all steps done", "best_step": 40}
    assert "still falling" in " ".join(_caveats.find(adata))


# --------------------------------------------------------------------------------------------------------------- tables


def test_tables_hold_what_the_anndata_holds(adata):
    cells, genes, axes = _tables.cells(adata, "cell_type"), _tables.genes(adata), _tables.axes(adata)
    assert np.array_equal(cells[["axis1", "axis2", "axis3"]].to_numpy(), adata.obsm["X_sivae"])
    assert list(cells.columns[:3]) == ["cell", "split", "label:cell_type"]
    assert np.array_equal(genes[["axis1", "axis2", "axis3"]].to_numpy(), adata.varm["X_sivae"])
    assert np.array_equal(genes["axis2_sd"], np.sqrt(adata.varm["X_sivae_var"][:, 1]))
    assert np.array_equal(genes["r2"], adata.var["sivae_r2"], equal_nan=True)
    row = axes[(axes["axis"] == 2) & (axes["end"] == "low") & (axes["rank"] == 1)].iloc[0]
    trained = adata.varm["X_sivae"][adata.var["sivae_modelled"], 1]
    assert row["loading"] == trained.min()


def test_a_model_of_the_published_recipe_is_described_as_such(tmp_path):
    cells = groups(60)
    trained(cells, options={"iterations": 3}).annotate(cells)
    text = report.build(cells, tmp_path / "report.html").read_text(encoding="utf-8")
    for words in ("then the gene tower on that kernel (3 steps), then", "as trained", "This is the published recipe"):
        assert words in text
    for words in ("spectral solution", "close to principal", "stand above the noise", "a signal at the start"):
        assert words not in text


def page_of(cells, tmp_path, **model):
    trained(cells, **model).annotate(cells)
    text = report.build(cells, tmp_path / "report.html").read_text(encoding="utf-8")
    return re.sub(r"\s+", " ", re.sub(r"data:image[^\"]*", "", text)), Page(text)


def test_phases_and_their_losses_are_those_of_the_history(tmp_path):
    cells = groups(60)
    text, page = page_of(cells, tmp_path, options={"iterations": 6})
    history = cells.uns["sivae"]["history"]
    for stage, words in ((1, "phase 1 (cell tower)"), (3, "phase 3 (both towers)")):
        loss = history["validation_loss"][history["stage"] == stage]
        assert f"from {_facts.number(loss[0])} to {_facts.number(loss[-1])} in {words}" in text
    assert "on that kernel (6 steps), then both towers together (6 steps). The last weights were kept" in text
    rows = {row[0]: row[1] for _, table in page.tables for row in table if len(row) == 2}
    assert rows["Recipe"] == "choi2023 (the published model)" and rows["published.iterations"] == "6"
    assert rows["published.learning_rate"] == "0.003"
    unread = ("architecture", "learning_rate", "average_decay")
    assert not [name for name in rows if name.startswith(unread)]


@pytest.mark.parametrize(
    ("options", "said", "unsaid"),
    [
        ({"model": "vae"}, ["plain variational autoencoder of cells", "regression of the prediction"], ["both towers"]),
        (
            {"model": "vae", "variational": False},
            ["deterministic autoencoder", "modelled with squared error", "root mean squared error"],
            ["a likelihood that is", "interpretability term"],
        ),
        (
            {"early_stopping": True},
            ["squared error under the linear predictor", "lowest validation loss of the phase were kept"],
            ["last weights were kept", "softmax"],
        ),
    ],
)
def test_methods_are_those_of_the_variant(tmp_path, options, said, unsaid):
    text, _ = page_of(groups(60), tmp_path, options={"iterations": 3, **options})
    for words in said:
        assert words in text
    for words in unsaid:
        assert words not in text


def test_a_recipe_without_an_interpretability_term_is_said_not_to_tie_genes_to_axes(tmp_path):
    text, _ = page_of(groups(60), tmp_path, gamma=0.0, options={"iterations": 3})
    assert "does not tie it to the axis of the cells" in text and "nothing ties the genes" in text


def staged(losses, *, stopped="all steps done"):
    """Annotated cells of the recipe whose last phase had these validation losses, one a check, ten steps apart."""
    cells = groups(60)
    trained(cells, options={"iterations": 3}).annotate(cells)
    n = 4 + len(losses)
    cells.uns["sivae"]["history"] = {
        "stage": np.array([1, 1, 2, 2, *[3] * len(losses)], float),
        "step": np.array([0, 10, 10, 20, *(20 + 10 * np.arange(len(losses)))], float),
        "validation_loss": np.array([9.0, 8.0, np.nan, np.nan, *losses]),
        "best": np.ones(n), "seconds": np.arange(n, dtype=float),
    }  # fmt: skip
    cells.uns["sivae"]["facts"]["stopped"] = stopped
    return cells


@pytest.mark.parametrize(
    ("losses", "stopped", "words"),
    [
        ([7.0, 6.0, 5.0], "all steps done", "still falling"),
        ([7.0, 5.0, 6.0], "all steps done", "lowest at step 30 (5.000) and is 6.000 at the end"),
        ([7.0, 5.0, 5.01], "all steps done", None),
        ([7.0, 6.0, 5.0], "interrupted", None),
        ([], "interrupted", "interrupted in phase 2 (gene tower)"),
    ],
)
def test_how_the_last_phase_ended_is_said(losses, stopped, words):
    found = " ".join(_caveats.find(staged(losses, stopped=stopped)))
    for each in ("still falling", "and is", "interrupted in phase"):
        assert (each in found) == (words is not None and each in words)
    assert words is None or words in found
