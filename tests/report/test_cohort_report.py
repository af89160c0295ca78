"""The report over individuals: self-contained, its numbers those of the tables, and plain words for what was found."""

import re

import matplotlib
import numpy as np
import pandas as pd
import pytest
from individuals import made_samples
from page import Page, value
from scipy import stats

from sivae import cohort, report
from sivae._errors import ArtefactError, SetupError
from sivae.report import _cohort, _cohort_figures, _cohort_words

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

HOSTILE = "</td><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}$x$"
TEST = {"n_permutations": 499}


def tables(samples, phenotype="severity", covariates=("sex",)):
    """Every table of a report, by the argument that takes it."""
    genes = list(samples.var_names)
    asked = {"covariates": list(covariates)}
    cohort.similarity(samples)
    cohort.individuals_map(samples)
    modules = {gene: f"module{1 + g % 2}" for g, gene in enumerate(genes)}
    classes = {gene: "MT" if g < 20 else "other" for g, gene in enumerate(genes)}
    sets = {"first set": genes[:6], "other set": genes[30:40]}
    return {
        "association": cohort.associate(samples, phenotype, **asked, **TEST),
        "edges": cohort.edges(samples, phenotype, **asked, **TEST),
        "modules": cohort.modules(samples, phenotype, modules, **asked, **TEST),
        "edge_classes": cohort.edge_classes(samples, classes, phenotype=phenotype, **asked, **TEST),
        "central_genes": cohort.central_genes(samples, n_top=6),
        "gene_sets": cohort.gene_sets(samples, phenotype, sets, **asked, n_permutations=99),
        "map_association": cohort.associate_map(samples, phenotype, **asked, **TEST),
    }


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Individuals with planted changes, one of them left out; every table; and the page."""
    samples = made_samples()
    samples.uns["sivae_cohort"]["failed"] = {"donor99": "7 cells, expected at least 20"}
    samples.obs.loc["donor03", "severity"] = np.nan
    with pytest.warns(match="donor03"):
        found = tables(samples)
    path = report.build_cohort(
        samples, tmp_path_factory.mktemp("report") / "r.html", **found, notes=["Mind the gap."],
        options={"data": "cells.h5ad", "seed": 0},
    )  # fmt: skip
    text = path.read_text(encoding="utf-8")
    return samples, found, text, Page(text)


@pytest.fixture
def undrawn(monkeypatch):
    monkeypatch.setattr(_cohort_figures, "draw", lambda *_: {})


def table_of(page, name):
    return next(rows for attrs, rows in page.tables if attrs.get("id") == name)


def plain(text):
    return re.sub(r"\s+", " ", re.sub(r"data:image[^\"]*", "", text))


def near(shown, wanted, digits=3):
    return value(shown) == pytest.approx(wanted, rel=0.51 * 10 ** (1 - digits), abs=1e-12)


# ------------------------------------------------------------------------------------------------------------- numbers


def test_genes_are_those_of_the_table(told):
    _, found, _, page = told
    table = _cohort_words.in_order(found["association"])
    table = table[table["verdict"] == "associated"]
    rows = table_of(page, "first-genes")[1:]
    assert [row[0] for row in rows] == list(table.index[:20])
    for row, (_, wanted) in zip(rows, table.iterrows(), strict=False):
        names = ("mean_connectivity", "effect", "low", "high")
        assert all(near(shown, wanted[name]) for shown, name in zip(row[2:6], names, strict=True))
        assert all(near(shown, wanted[name], 2) for shown, name in zip(row[6:9], ("rho", "p", "q"), strict=True))
        assert row[1] == ("less" if wanted["effect"] < 0 else "more")


def test_controls_and_verdicts_are_those_of_the_table(told):
    _, found, _, page = told
    table = found["association"]
    counted = {row[0]: int(row[1]) for row in table_of(page, "verdicts")[1:]}
    assert counted == table["verdict"].value_counts().to_dict()
    given = table_of(page, "given")
    assert given[0] == ["gene", "alone", "mean expression", "detection", "depth", "number of cells", "composition",
                        "equally many cells"]  # fmt: skip
    columns = ["p", *(f"p_given_{name}" for name in ("expression", "detection", "depth", "cells", "composition"))]
    for row in given[1:]:
        wanted = table.loc[row[0], [*columns, "p_matched"]]
        assert all(near(shown, number, 2) for shown, number in zip(row[1:], wanted, strict=True))


def test_edges_modules_classes_and_sets_are_those_of_the_tables(told):
    _, found, _, page = told
    ends = {"edges": ("gene_a", "gene_b"), "modules": ("module_a", "module_b"), "edge_classes": ("class_a", "class_b")}
    shown = {"edges": "edge-table", "modules": "module-table", "edge_classes": "class-table"}
    for name, columns in ends.items():
        rows = table_of(page, shown[name])[1:]
        assert rows
        for row, (_, wanted) in zip(rows, found[name].iterrows(), strict=False):
            assert row[0] == wanted[columns[0]] and row[1] in (wanted[columns[1]], "within")
            numbers = [wanted[key] for key in ("effect", "low", "high", "p", "q")]
            assert all(near(*pair, 2) for pair in zip(row[-5:], numbers, strict=True))
    sets = found["gene_sets"]
    for row in table_of(page, "set-table")[1:]:
        assert near(row[2], sets.loc[row[0], "nes"]) and near(row[4], sets.loc[row[0], "q"], 2)


def test_central_genes_and_map_are_those_of_the_tables(told):
    _, found, text, page = told
    central = found["central_genes"].head(15)
    rows = table_of(page, "central-table")[1:]
    assert [(row[0], int(row[1])) for row in rows] == list(zip(central.index, central["count"], strict=True))
    axes = found["map_association"].drop("similarity")
    for row, (_, wanted) in zip(table_of(page, "map-table")[1:], axes.iterrows(), strict=True):
        assert near(row[2], wanted["rho"], 2) and near(row[3], wanted["p"], 2)
    share = 100 * found["map_association"].loc["similarity", "r2"]
    assert f"severity explains {share:.0f} % of the squared distances" in plain(text)


def test_the_finding_in_words_counts_what_the_table_holds(told):
    samples, found, text, page = told
    table = found["association"]
    associated, follows = (int((table["verdict"] == name).sum()) for name in ("associated", "follows mean expression"))
    assert associated == 5 and follows >= 3
    said = page.by_id["found"]
    assert said.startswith("5 of 60 genes change their connectivity with severity (false discovery rate 5 %): all less")
    assert f"{follows} by mean expression" in said
    edges = found["edges"]
    assert f"{int(edges['associated'].sum())} of {len(edges)} edges go with severity" in plain(text)
    cells = int(samples.obs["sivae_n_cells"].drop("donor03").sum())
    assert f"15 individuals, {cells:,} cells, 60 genes" in plain(text) and "with sex held fixed" in plain(text)


def test_who_was_left_out_is_named_with_the_reason(told):
    rows = table_of(told[3], "left-out")[1:]
    assert rows == [["donor99", "7 cells, expected at least 20"], ["donor03", "no value of severity"]]
    assert len(table_of(told[3], "individual-table")) == 17


def test_notes_and_caveats_are_there(told):
    text = plain(told[2])
    assert "<li>Mind the gap.</li>" in text and "neither regulation nor a cause" in text
    assert "--cell-type" not in text  # types were given


# ------------------------------------------------------------------------------------------------------------ one file


def test_the_page_is_self_contained(told):
    _, _, text, page = told
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "base", "form")
        for key in ("src", "href", "srcset", "action", "data"):
            assert re.match(r"data:image/png;base64,|#", attributes.get(key) or "#")
    assert "@import" not in text and "url(" not in text and "@media print" in text
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    assert sum(tag == "img" for tag, _ in page.tags) == 10
    targets = {attributes.get("id") for _, attributes in page.tags}
    assert {attributes["href"][1:] for tag, attributes in page.tags if tag == "a"} <= targets


def test_hostile_names_are_text(tmp_path):
    samples = made_samples(8, 24, n_changed=2, n_expression=2)
    edges = samples.uns["sivae_cohort"]["edges"]
    edges["gene_a"], edges["gene_b"] = HOSTILE + edges["gene_a"], HOSTILE + edges["gene_b"]
    samples.var_names = HOSTILE + samples.var_names
    samples.obs_names = HOSTILE + samples.obs_names
    samples.obsm["sivae_composition"].index = samples.obs_names
    samples.obs = samples.obs.rename(columns={"severity": HOSTILE, "sex": HOSTILE + "c"})
    samples.uns["sivae_cohort"]["failed"] = {HOSTILE: HOSTILE}
    found = tables(samples, HOSTILE, [HOSTILE + "c"])
    found["gene_sets"].index = HOSTILE + found["gene_sets"].index
    path = report.build_cohort(samples, tmp_path / "r.html", **found, notes=[HOSTILE], options={HOSTILE: HOSTILE})
    page = Page(path.read_text(encoding="utf-8"))
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert all(attributes["src"].startswith("data:") for tag, attributes in page.tags if tag == "img")
    assert table_of(page, "left-out")[1] == [HOSTILE, HOSTILE]
    assert set(row[0] for row in table_of(page, "first-genes")[1:]) <= set(samples.var_names)
    assert "49" not in page.by_id["found"]


def test_no_figure_stays_open_and_the_place_is_checked(told, tmp_path, undrawn):
    samples, found, *_ = told
    before = plt.get_fignums()
    with pytest.raises(ArtefactError, match="could not be written"):
        report.build_cohort(samples, tmp_path / "no" / "r.html", association=found["association"])
    assert plt.get_fignums() == before and not list(tmp_path.iterdir())


def test_sections_are_left_out_where_nothing_was_asked(told, tmp_path, undrawn):
    samples, found, *_ = told
    path = report.build_cohort(samples, tmp_path / "r.html", association=found["association"])
    page = Page(path.read_text(encoding="utf-8"))
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert "first-genes" in ids and not ids & {"edges", "modules", "classes", "sets", "central", "map-table", "options"}


def test_a_table_without_attrs_is_refused(told, tmp_path):
    samples, found, *_ = told
    bare = found["association"].copy()
    bare.attrs = {}
    with pytest.raises(SetupError, match=r"no attrs\['phenotype'\].*call it again"):
        report.build_cohort(samples, tmp_path / "r.html", association=bare)
    with pytest.raises(SetupError, match="without the column"):
        report.build_cohort(samples, tmp_path / "r.html", association=found["edges"].drop(columns="effect"))
    with pytest.raises(SetupError, match="Found DataFrame, expected an AnnData"):
        report.build_cohort(pd.DataFrame(), tmp_path / "r.html", association=found["association"])


# --------------------------------------------------------------------------------------------------------------- words


def nothing(tmp_path, **options):
    samples = made_samples(12, 30, n_changed=0, n_expression=0, seed=4)
    asked = cohort.associate(samples, "age", **TEST, **options)
    assert not (asked["verdict"] == "associated").any()
    edges = cohort.edges(samples, "age", **TEST)
    path = report.build_cohort(samples, tmp_path / "r.html", association=asked, edges=edges)
    return asked, edges, path.read_text(encoding="utf-8")


def test_nothing_found_is_said_with_the_smallest_q_and_what_to_do(tmp_path, undrawn):
    asked, edges, text = nothing(tmp_path)
    page = Page(text)
    gene = _cohort_words.in_order(asked).index[0]
    assert page.by_id["found"] == (
        f"No gene of 30 was found to change its connectivity with age (false discovery rate 5 %; the smallest q is "
        f"{asked['q'].min():.2g} ({gene}))."
    )
    assert f"None of {len(edges)} edges goes with age" in plain(text)
    assert "None of these is significant." in text and "Add individuals rather than cells" in text
    assert "verdict" in table_of(page, "first-genes")[0]


@pytest.mark.parametrize(
    ("kind", "levels", "words"),
    [
        ("numeric", [], "as stage rises"),
        ("binary", ["control", "case"], "in case than in control"),
        ("binary", ["False", "True"], "where stage is True than where it is False"),
        ("ordered", ["mild", "worse", "worst"], "as stage goes from mild to worst"),
    ],
)
def test_directions_are_said_for_each_kind(kind, levels, words):
    table = pd.DataFrame(
        {
            "effect": [-1.0, 1.0, 2.0],
            "p": 0.01,
            "q": [0.01, 0.02, 0.3],
            "verdict": ["associated"] * 2 + ["not associated"],
        },
        index=list("abc"),
    )
    table.attrs = {"phenotype": "stage", "kind": kind, "levels": levels, "fdr": 0.1, "covariates": []}
    said = _cohort_words.found_words(table)
    start = "2 of 3 genes change their connectivity with stage (false discovery rate 10 %): "
    assert said == f"{start}1 less and 1 more connected {words}."
    table["verdict"] = ["associated", "follows depth", "not with equal numbers of cells"]
    assert _cohort_words.found_words(table).endswith(
        f": less connected {words}. 2 more genes change, but something else explains it: 1 by depth, 1 not with equal "
        "numbers of cells."
    )
    table["verdict"], table["q"] = "untested", np.nan
    assert "none could be tested" in _cohort_words.found_words(table)


def test_the_correlation_that_is_found_four_times_in_five_is():
    wanted = _cohort_words.detectable(20, 0, 0.05)
    rng = np.random.default_rng(0)
    x, e = rng.standard_normal((2, 4000, 20))
    y = wanted * x + np.sqrt(1 - wanted**2) * e
    assert np.mean(stats.pearsonr(x, y, axis=1).pvalue <= 0.05) == pytest.approx(0.8, abs=0.03)
    assert np.isnan(_cohort_words.detectable(4, 1, 0.05))


def test_few_individuals_and_no_cell_types_are_caveats(tmp_path, undrawn):
    samples = made_samples(8, 20, n_changed=1, n_expression=1)
    samples.uns["sivae_cohort"]["cell_type_key"] = ""
    asked = cohort.associate(samples, "phenotype", **TEST)
    text = plain(report.build_cohort(samples, tmp_path / "r.html", association=asked).read_text(encoding="utf-8"))
    assert "No cell types were given" in text and "8 individuals find strong changes alone" in text
    assert "in case, compared with control" in text


def test_a_report_does_not_depend_on_the_order_of_genes(told, undrawn):
    samples, found, *_ = told
    parts = _cohort.Parts(association=_cohort_words.in_order(found["association"]))
    turned = found["association"].iloc[::-1]
    turned.attrs = dict(found["association"].attrs)
    other = _cohort.Parts(association=_cohort_words.in_order(turned))
    assert _cohort.describe(samples, parts) == _cohort.describe(samples, other)


@pytest.mark.parametrize(
    ("number", "words"),
    [(0.0123456, "0.0123"), (-1.5, "−1.5"), (48412.3, "48,412"), (2e-7, "2e−07"), (float("nan"), "–"), (0.0, "0")],
)
def test_numbers_are_written_for_people(number, words):
    assert _cohort_words.sig(number) == words
