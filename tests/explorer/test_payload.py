"""The page holds what the AnnData holds: values within half a step, names aligned, whatever the order."""

import numpy as np
import pandas as pd
import pytest
from annotated import annotated
from explorer_pages import Page, codes_of, expected, whole
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from sivae import explorer
from sivae._errors import ArtefactError, OptionError, SetupError
from sivae.explorer import _codes, _payload


@pytest.fixture(scope="module")
def adata():
    return whole()


def built(adata, folder, **options):
    return Page(explorer.build(adata, folder / "explorer.html", **options))


@pytest.fixture(scope="module")
def page(adata, tmp_path_factory):
    return built(adata, tmp_path_factory.mktemp("explorer"), label="cell_type")


# ---------------------------------------------------------------------------------------------------------- expression


def assert_within_half_a_step(page, adata):
    x, _, _ = expected(adata)
    found = page.expression()
    assert list(found.index) == list(adata.obs_names) and list(found.columns) == list(adata.var_names)
    step = page.numbers(page.account["expression"]["step"]).astype(float)
    assert (np.abs(found.to_numpy() - x) <= step / 2 + 2e-6).all()
    assert np.array_equal(found.to_numpy() == 0, x == 0)
    return step


def test_expression_is_within_half_a_step(page, adata):
    step = assert_within_half_a_step(page, adata)
    x, mean, sd = expected(adata)
    positive = np.where(x == 0, np.inf, x)
    assert np.allclose(step, (x.max(axis=0) - positive.min(axis=0)) / 254, rtol=1e-5)
    assert np.allclose(page.numbers(page.account["expression"]["mean"]), mean, rtol=1e-5)
    assert np.allclose(page.numbers(page.account["expression"]["sd"]), sd, rtol=1e-5)


def test_values_on_disk_make_the_same_page(page, adata, tmp_path):
    import anndata as ad

    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    other = built(backed, tmp_path, label="cell_type")
    backed.file.close()
    pd.testing.assert_frame_equal(other.expression(), page.expression())


def test_rare_dense_constant_and_silent_genes_come_back(tmp_path):
    adata = annotated(900, 12, 2, unused=(), later=2)
    counts = adata.X.toarray()
    counts[:, 0] = 0
    counts[:, 1] = 0
    counts[[3, 260, 899], 1] = [1, 5, 2]  # gaps of 256 and 638
    counts[:, 2] += 1
    adata.X = sparse.csr_matrix(counts)
    page = built(adata, tmp_path)
    assert_within_half_a_step(page, adata)
    assert (page.expression().iloc[:, 0] == 0).all()


@given(
    st.lists(st.lists(st.sampled_from([0, 0, 0, 0, 0, 0, 1, 7, 255]), min_size=30, max_size=30), min_size=1, max_size=8)
)
def test_any_codes_come_back(rows):
    import zlib

    code_gn = np.repeat(np.array(rows, np.uint8), 40, axis=1)[:, ::7]
    (first, packed), *rest = _codes.chunks(code_gn)
    assert first == 0 and not rest
    assert codes_of(zlib.decompress(packed, -15), code_gn.shape[1], len(rows)) == code_gn.tolist()


def test_genes_are_split_over_chunks_and_found_again(adata, tmp_path, monkeypatch):
    monkeypatch.setattr(_codes, "CHUNK", 1000)
    page = built(adata, tmp_path)
    assert len(page.account["expression"]["chunks"]) > 5
    assert_within_half_a_step(page, adata)


def test_values_as_they_are_keep_their_sign(tmp_path):
    adata = annotated(80, 10, 2, unused=(), later=0)
    adata.X = np.random.default_rng(1).normal(size=adata.shape)
    adata.uns["sivae"]["setup"] |= {"normalize": "none", "counts": False}
    adata.uns["sivae"]["options"]["likelihood"] = "normal"
    page = built(adata, tmp_path)
    step = page.numbers(page.account["expression"]["step"])
    assert (np.abs(page.expression().to_numpy() - adata.X) <= step / 2 + 1e-6).all()
    assert page.account["scale"] == "expression"


# --------------------------------------------------------------------------------------------- positions, labels, genes


def test_positions_labels_and_evidence_equal_those_of_the_anndata(page, adata):
    genes, cells = page.account["genes"], page.account["cells"]
    assert np.allclose(page.numbers(cells["position"]).reshape(-1, 3), adata.obsm["X_sivae"], rtol=1e-6)
    assert np.allclose(page.numbers(genes["loading"]).reshape(-1, 3), adata.varm["X_sivae"], rtol=1e-6)
    assert np.allclose(page.numbers(genes["sd"]).reshape(-1, 3) ** 2, adata.varm["X_sivae_var"], rtol=1e-5)
    for name, key in {"hub": "sivae_hub_score", "q": "sivae_connected_qvalue", "r2": "sivae_r2"}.items():
        assert np.allclose(page.numbers(genes[name]), adata.var[key], rtol=1e-6, equal_nan=True)
    for name, key in {"is_hub": "sivae_hub", "connected": "sivae_connected", "modelled": "sivae_modelled"}.items():
        assert np.array_equal(page.numbers(genes[name], "<u2"), adata.var[key])
    names = [*genes["module"]["names"], "unassigned"]
    assert [names[code] for code in page.numbers(genes["module"]["blob"], "<u2")] == list(adata.var["sivae_module"])
    first, *others = cells["columns"]
    assert first["name"] == "cell_type" and {column["name"] for column in others} == {"depth", "sivae_split", "donor"}
    codes = page.numbers(first["blob"], "<u2")
    assert [first["categories"][code] for code in codes] == list(adata.obs["cell_type"])
    depth = next(column for column in others if column["name"] == "depth")
    assert np.allclose(page.numbers(depth["blob"]), adata.obs["depth"], rtol=1e-6)
    assert [axis["unused"] for axis in page.account["axes"]] == [False, False, True]
    scores = {score["name"]: page.numbers(score["blob"]) for score in cells["scores"]}
    assert np.allclose(scores["module2"], adata.obsm["X_sivae_modules"]["module2"], rtol=1e-5, atol=1e-6)


def near_names(page):
    near = page.account["genes"]["neighbors"]
    names = page.names("genes")
    listed = page.numbers(near["near"], "<i4").reshape(-1, near["n"])
    return {names[g]: [names[h] for h in row if h >= 0] for g, row in enumerate(listed)}


def test_neighbors_are_those_of_the_tool_nearest_first(page, adata):
    from sivae import tl

    found = near_names(page)
    for gene in ("GENE0", "GENE17", "GENE41"):
        assert found[gene] == tl.neighbors_of(adata, gene)["neighbor"].tolist()


def test_the_order_of_cells_and_genes_changes_nothing_else(page, adata, rng, tmp_path):
    turned = adata[rng.permutation(adata.n_obs), rng.permutation(adata.n_vars)].copy()
    other = built(turned, tmp_path, label="cell_type")
    before, after = page.expression(), other.expression()
    pd.testing.assert_frame_equal(after.loc[before.index, before.columns], before)
    assert near_names(other) == near_names(page)
    assert list(after.index) == list(turned.obs_names)


def test_missing_and_many_labels(tmp_path):
    adata = annotated()
    adata.obs["some"] = pd.Categorical.from_codes(np.arange(120) % 3 - 1, ["a", "b"])
    adata.obs["cluster"] = np.array([10, 9, 2])[np.arange(120) % 3]
    adata.obs["flag"] = np.arange(120) % 2 == 0
    adata.obs["number"] = pd.array([None, *range(119)], dtype="Int64")
    adata.obs["barcode"] = [f"b{i}" for i in range(120)]
    adata.obs["when"] = pd.to_datetime(["2024-01-01", "2024-02-01", None] * 40)
    adata.obs["many"] = [f"m{i}" for i in range(120)]
    account = built(adata, tmp_path, label="many").account["cells"]
    columns = {column["name"]: column for column in account["columns"]}
    assert next(iter(columns)) == "many" and len(columns["many"]["categories"]) == 120
    assert columns["flag"]["categories"] == ["False", "True"] and columns["number"]["kind"] == "number"
    assert account["left_out"] == []
    page = built(adata, tmp_path)
    clusters = built(adata.copy(), tmp_path, label="cluster").account["cells"]["columns"][0]
    assert clusters["categories"] == ["2", "9", "10"]
    some = next(column for column in page.account["cells"]["columns"] if column["name"] == "some")
    assert page.numbers(some["blob"], "<u2")[:3].tolist() == [65535, 0, 1]


def test_names_of_cells_are_left_out_and_said(tmp_path):
    adata = annotated(300, 20, 2, unused=(), later=0)
    adata.obs["barcode"] = [f"b{i}" for i in range(300)]
    account = built(adata, tmp_path).account["cells"]
    assert account["left_out"] == ["barcode"]


def test_what_was_not_worked_out_is_not_there(tmp_path):
    account = built(annotated(), tmp_path).account
    genes = account["genes"]
    assert genes["neighbors"] is None and genes["module"] is None and genes["hub"] is None and genes["q"] is None
    assert account["enrichment"] is None and account["cells"]["scores"] == []


def test_without_expression_there_are_positions(tmp_path):
    adata = annotated()
    adata.X = None
    account = built(adata, tmp_path).account
    assert "expression" not in account and "linear prediction" in account["scale"]


def test_gene_sets_are_kept_up_to_their_level(adata, tmp_path):
    table = pd.DataFrame(
        {
            "group": ["module1", "module1", "axis2"], "set": ["A", "B", "C"],
            "n_overlap": [2, 3, 9], "n_set": [5, 6, 9],
            "effect": [np.inf, 2.0, 0.7], "p": [1e-9, 0.2, 1e-3], "q": [1e-8, 0.3, 0.01],
            "genes": ["GENE3;GENE0;elsewhere", "GENE6", "GENE1"],
        }
    )  # fmt: skip
    found = built(adata, tmp_path, enrichment={"x": table}).account["enrichment"]
    assert found == {
        "module1": [{"set": "A", "q": 1e-8, "effect": None, "n_overlap": 2, "n_set": 5, "genes": [3, 0]}],
        "axis2": [{"set": "C", "q": 0.01, "effect": 0.7, "n_overlap": 9, "n_set": 9, "genes": [1]}],
    }
    assert found == built(adata, tmp_path, enrichment=table).account["enrichment"]


# ------------------------------------------------------------------------------------------------------- size, thinning


def test_thinning_takes_cells_by_name_and_genes_by_size(adata, rng, tmp_path):
    page = built(adata, tmp_path, max_cells=50, max_genes=20)
    assert (page.account["cells"]["n"], page.account["cells"]["total"]) == (50, 240)
    assert (page.account["genes"]["n"], page.account["genes"]["total"]) == (20, 60)
    turned = adata[rng.permutation(adata.n_obs), rng.permutation(adata.n_vars)].copy()
    other = built(turned, tmp_path, max_cells=50, max_genes=20)
    assert set(other.names("cells")) == set(page.names("cells"))
    assert set(other.names("genes")) == set(page.names("genes"))
    kept = adata.var_names.isin(page.names("genes"))
    assert adata.var["sivae_modelled"][kept].all()  # before those placed afterwards
    covariance = adata.uns["sivae"]["joint_covariance"]
    size = np.sqrt(np.einsum("gk,kl,gl->g", adata.varm["X_sivae"], covariance, adata.varm["X_sivae"]))
    modelled = adata.var["sivae_modelled"].to_numpy()
    assert size[kept].min() > size[modelled & ~kept].max()
    near = near_names(page)
    assert set(near) == set(page.names("genes")) and all(set(row) <= set(near) for row in near.values())


def test_values_of_the_thinned_page_are_those_of_its_cells(adata, tmp_path):
    page = built(adata, tmp_path, max_cells=50)
    found = page.expression()
    part = adata[found.index]
    assert_within_half_a_step(page, part)


def sparse_cells(n, g, density, seed=0):
    adata = annotated(n, g, 2, unused=(), later=0, seed=seed)
    rng = np.random.default_rng(seed)
    rate = rng.gamma(0.5, 2 * density, size=g)
    adata.X = sparse.csr_matrix(rng.poisson(rate * rng.lognormal(0, 0.4, (n, 1))).astype(np.float32))
    adata.X = adata.X + sparse.csr_matrix((np.ones(n), (np.arange(n), np.zeros(n, int))), shape=(n, g))
    return adata


def test_bytes_per_value_are_few_enough_for_50_000_by_5_000(tmp_path):
    adata = sparse_cells(4000, 600, 0.07)
    path = explorer.build(adata, tmp_path / "e.html")
    page = Page(path)
    expression = sum(len(page.blobs[chunk["blob"]]) for chunk in page.account["expression"]["chunks"])
    per_value = expression * 4 / 3 / adata.X.nnz
    assert per_value * 0.07 * 50_000 * 5_000 < 50e6
    assert path.stat().st_size < 600_000 + 4 / 3 * expression + 60 * 4000


def test_a_file_that_would_be_too_large_has_fewer_cells_and_fits(tmp_path, monkeypatch):
    adata = sparse_cells(3000, 400, 0.3)
    whole_size = explorer.build(adata, tmp_path / "e.html").stat().st_size
    bound = _payload.PAGE_BYTES + (whole_size - _payload.PAGE_BYTES) // 2
    monkeypatch.setattr(_payload, "MAX_BYTES", bound)
    path = explorer.build(adata, tmp_path / "e.html")
    page = Page(path)
    assert path.stat().st_size <= bound
    assert 500 < page.account["cells"]["n"] < page.account["cells"]["total"] == 3000
    assert len(page.names("cells")) == page.account["cells"]["n"] == len(page.expression())


def test_the_page_without_data_is_as_small_as_was_reckoned(page):
    data = len(page.text[page.text.index('id="account"') : page.text.rindex("application/octet-stream")])
    assert len(page.text) - data < _payload.PAGE_BYTES


# --------------------------------------------------------------------------------------------------------------- errors


def test_errors_say_what_to_do(adata, tmp_path):
    path = tmp_path / "e.html"
    with pytest.raises(OptionError, match="no column 'nope'"):
        explorer.build(adata, path, label="nope")
    with pytest.raises(OptionError, match="max_cells is 1; expected at least 2"):
        explorer.build(adata, path, max_cells=1)
    with pytest.raises(OptionError, match="lacks the columns set, effect, q"):
        explorer.build(adata, path, enrichment=pd.DataFrame({"group": []}))
    with pytest.raises(OptionError, match="enrichment holds str"):
        explorer.build(adata, path, enrichment="sets.gmt")
    with pytest.raises(ArtefactError, match="no folder"):
        explorer.build(adata, tmp_path / "no" / "e.html")
    bare = annotated()
    del bare.varm["X_sivae"]
    with pytest.raises(SetupError, match="annotate"):
        explorer.build(bare, path)
    assert not list(tmp_path.iterdir())


def test_the_file_is_whole_or_absent(adata, tmp_path, monkeypatch):
    path = tmp_path / "e.html"
    path.write_text("before")

    def broken(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", broken)
    with pytest.raises(KeyboardInterrupt):
        explorer.build(adata, path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
