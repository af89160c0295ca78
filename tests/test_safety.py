"""Names that are markup, formulas or paths go through the whole command line: pages show them, and nothing runs."""

import csv
import io
import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import hostile
import matplotlib
import numpy as np
import pandas as pd
import pytest
from explorer_browser import Opened
from typer.testing import CliRunner

from sivae import _spreadsheet, cli, datasets, tl
from sivae._run._files import TABLES

matplotlib.use("Agg")

SOURCE = Path(__file__).parents[1] / "src" / "sivae"
SMALL = ["--n-latent", "3", "--max-epochs", "3", "--n-genes", "50", "--accelerator", "cpu"]
EMBEDDED = {"script", "iframe", "object", "embed", "svg", "video", "audio", "form", "base", "link", "input"}


def sivae(*words):
    done = CliRunner().invoke(cli.app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a run of `sivae fit` and one of `sivae cohort` on hostile names, the data and what was printed."""
    folder, names = tmp_path_factory.mktemp("hostile"), hostile.COLUMNS
    adata = hostile.cells()
    data, sets = folder / f"<img src=x onerror={hostile.RUN}>.h5ad", folder / "=1+1<b>.gmt"
    adata.write_h5ad(data)
    hostile.gene_sets(adata, sets)
    run, individuals = folder / "run <b>", folder / "individuals"
    said = sivae("fit", data, "-o", run, "--batch-key", names["batch"], "--label", names["type"], "--project-rest",
                 "--gene-sets", sets, *SMALL)  # fmt: skip
    said += sivae("cohort", data, "-o", individuals, "--sample", names["donor"], "--phenotype", names["severity"],
                  "--cell-type", names["type"], "--covariate", names["site"], "--n-permutations", "199",
                  "--gene-sets", sets, *SMALL)  # fmt: skip
    return adata, run, individuals, sets, said


@pytest.mark.slow
def test_names_of_files_in_a_run_are_ours(made):
    _, run, individuals, *_ = made
    for folder in (run, individuals):
        listed = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
        assert len(listed) > 15 and all(re.fullmatch(r"[a-z0-9_./]+|(.*/)?README.md", name) for name in listed)
        assert not any(path.is_symlink() for path in folder.rglob("*"))
    beside = {path.name for path in run.parent.iterdir()}
    assert beside == {run.name, individuals.name, "=1+1<b>.gmt", f"<img src=x onerror={hostile.RUN}>.h5ad"}


# ------------------------------------------------------------------------------------------------------- pages, markup


class Markup(HTMLParser):
    """Tags and attributes of a page, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.comments = [], "", 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def handle_comment(self, data):
        self.comments += 1


def foreign(markup):
    """Tags that can run or fetch something, and pictures that are not in the page."""
    found = [tag for tag, _ in markup.tags if tag in EMBEDDED]
    found += [(tag, name) for tag, attrs in markup.tags for name in attrs if name.startswith("on")]
    addresses = [(tag, attrs.get(name)) for tag, attrs in markup.tags for name in ("src", "href") if name in attrs]
    return found + [(tag, to) for tag, to in addresses if not to.startswith(("data:image/png", "#", "https://doi"))]


def collapsed(text):
    return " ".join(text.split())


@pytest.mark.slow
def test_reports_hold_hostile_names_as_text(made):
    adata, run, individuals, *_ = made
    for page in (run / "report.html", individuals / "report.html"):
        text = page.read_text(encoding="utf-8")
        markup = Markup(text)
        assert foreign(markup) == [] and markup.comments == 0
        shown = collapsed(markup.text)
        assert sum(collapsed(name) in shown for name in map(str, adata.var_names)) >= 10
        assert hostile.RUN in shown and "{{7*7}}" in shown and "49{% raw" not in shown
        assert re.search("Content-Security-Policy\" content=\"default-src 'none'", text)


@pytest.mark.slow
def test_what_is_not_shown_as_a_picture_is_the_same_page_whatever_the_names_are(made):
    """Escaped names add text and no tag: the tags are those that the templates hold."""
    known = {"html", "head", "meta", "title", "style", "body", "main", "p", "h1", "h2", "h3", "nav", "a", "span", "b",
             "figure", "img", "figcaption", "table", "tr", "th", "td", "section", "div", "ul", "ol", "li", "details",
             "summary", "footer", "code", "em", "i", "br"}  # fmt: skip
    for page in (made[1] / "report.html", made[2] / "report.html"):
        markup = Markup(page.read_text(encoding="utf-8"))
        assert {tag for tag, _ in markup.tags} <= known
        assert sum(tag == "b" for tag, _ in markup.tags) == page.read_text(encoding="utf-8").count("<b>")
        allowed = {"alt", "charset", "class", "content", "data-axis", "data-gene", "href", "http-equiv", "id", "lang",
                   "name", "open", "src", "style"}  # fmt: skip
        assert {name for _, attrs in markup.tags for name in attrs} <= allowed


@pytest.mark.slow
def test_the_explorer_holds_names_where_nothing_reads_them_as_markup(made):
    text = (made[1] / "explorer.html").read_text(encoding="utf-8")
    markup = Markup(text)
    scripts = [attrs for tag, attrs in markup.tags if tag == "script"]
    kinds = [attrs.get("type") for attrs in scripts]
    assert kinds.count(None) == 2 and set(kinds) == {None, "application/json", "application/octet-stream"}
    assert not any(name.startswith("on") for _, attrs in markup.tags for name in attrs)
    account = re.search(r'id="account">(.*?)</script>', text, re.DOTALL)[1]
    assert not set("<>&\u2028\u2029") & set(account)
    titles = [column["name"] for column in json.loads(account)["cells"]["columns"]]
    assert hostile.COLUMNS["type"] in titles


@pytest.mark.slow
@pytest.mark.parametrize("command", ["report", "explore"])
def test_pages_made_again_are_as_safe(made, command, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(made[1], run)
    page = run / ("report.html" if command == "report" else "explorer.html")
    before = page.read_text(encoding="utf-8")
    page.unlink()
    sivae(command, run)
    again = Markup(page.read_text(encoding="utf-8"))
    assert [tag for tag, _ in again.tags] == [tag for tag, _ in Markup(before).tags]
    assert Counter(again.text) == Counter(Markup(before).text)  # options come in another order


@pytest.mark.slow
def test_no_markdown_of_a_run_is_read_as_markup(made):
    """For every Markdown file that a run holds; read by a reader that lets markup through."""
    reader = pytest.importorskip("markdown_it", reason="markdown-it-py comes with the group docs")
    for page in [*made[1].rglob("*.md"), *made[2].rglob("*.md")]:
        html = reader.MarkdownIt("commonmark", {"html": True}).enable("table").render(page.read_text(encoding="utf-8"))
        assert foreign(Markup(html)) == [], page


# ------------------------------------------------------------------------------------------------------ pages, browser


class Seen:
    """A page as a browser shows it, without the policy that would hold back what a name could start."""

    def __init__(self, browser, path):
        self.context = browser.new_context(bypass_csp=True)
        self.page = self.context.new_page()
        self.requests, self.dialogs = [], []
        self.context.route(lambda url: not url.startswith("file:"), lambda route: route.abort())
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        self.page.goto(path.as_uri(), wait_until="load")
        self.page.wait_for_timeout(200)

    def check(self):
        assert self.dialogs == [] and self.page.evaluate("window.__ran") is None
        outside = [url for url in self.requests if not url.startswith(("file:", "data:", "blob:"))]
        assert outside == [] and sum(url.startswith("file:") for url in self.requests) == 1
        self.context.close()


@pytest.mark.slow
def test_the_browser_would_run_what_is_not_escaped(browser, tmp_path):
    """The two tests below can fail: the same payloads, bare, are seen to run and to ask the network."""
    for name in hostile.MARKUP[:5]:
        page = tmp_path / "bare.html"
        page.write_text(f"<!DOCTYPE html><title>x</title><p>{name}</p><p title='b{name}", "utf-8")
        seen = Seen(browser, page)
        with pytest.raises(AssertionError):
            seen.check()
        seen.context.close()


@pytest.mark.slow
@pytest.mark.parametrize("which", [1, 2], ids=["fit", "cohort"])
def test_a_report_runs_nothing_and_asks_for_nothing(browser, made, which):
    seen = Seen(browser, made[which] / "report.html")
    shown = seen.page.inner_text("body")
    assert seen.page.title().count(hostile.RUN) == 1 and hostile.RUN in shown
    assert seen.page.evaluate("document.scripts.length") == 0
    seen.check()


@pytest.mark.slow
def test_the_explorer_runs_nothing_wherever_names_are_shown(browser, made):
    opened = Opened(browser, made[1] / "explorer.html", bypass_csp=True)
    page, adata = opened.page, made[0]
    groups = page.locator("#pick-group option").all_inner_texts()
    for number in range(len(groups)):
        page.select_option("#pick-group", index=number)
        page.click("#pick")
        page.wait_for_selector("#ranked")
    for name in adata.var_names[: len(hostile.MARKUP)]:
        page.fill("#search", str(name))
        page.keyboard.press("Enter")
        page.wait_for_timeout(30)
        assert collapsed(page.inner_text("#card h2")) == collapsed(str(name))
    for map_ in ("#cells", "#genes"):
        for option in page.locator(f"{map_} .color option").all():
            page.select_option(f"{map_} .color", value=option.get_attribute("value"))
        box = page.locator(f"{map_} .over").bounding_box()
        for x in np.linspace(0.1, 0.9, 9):
            page.mouse.move(box["x"] + x * box["width"], box["y"] + 0.5 * box["height"])
    svg = opened.saved("#svg").decode("utf-8")
    assert page.evaluate("window.__ran") is None and opened.troubles == []
    assert all(url.startswith(("file:", "blob:")) for url in opened.requests)
    opened.context.close()
    assert not {tag for tag, _ in Markup(svg).tags} & {"script", "img", "foreignobject", "a", "image"}


# ------------------------------------------------------------------------------------------------------- spreadsheets

FIRST = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
"""What no text cell may begin with, after blanks and quotes."""
TEXTS = [
    *hostile.NAMES, "", "'", "''-x", "' =1", "'abc", "'-5", "-5", "+1e5", "-.5", "-inf", "-1-2", " =1", "\xa0=1", "NA",
    "nan", "\ufeff=1",
    "\uff1d1", "a\nb", 'a"b', "a,=b", "a;=b", "x\r\n=1", "\n", "None", "1e", "--1", "\x1f=1", "\x85=1",
]  # fmt: skip


def runs(text):
    """Whether a spreadsheet would take a text for a formula: read by hand, apart from the code under test."""
    bare = text.lstrip(" \xa0\ufeff\x1f\x85\u2028\x00")
    if bare[:1] not in FIRST or not bare:
        return False
    try:
        return not np.isfinite(float(bare)) or bare != bare.strip() or not bare.isascii()
    except ValueError:
        return True


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_safe_and_comes_back(text):
    found = _spreadsheet.safe(text)
    assert not runs(found) and _spreadsheet.plain(found) == text
    assert found in (text, f"'{text}")
    assert (found == text) or runs(text.lstrip("'"))


def test_what_is_no_formula_stays():
    for text in ["CD3E", "HLA-DRA", "5", "-5", "+1.5e-3", "-.5", "", "'abc", "a=b", "1-2", "'-5", "MT-CO1"]:
        assert _spreadsheet.safe(text) == text
    for text in ["-", "+abc", "=1", "@x", "\tx", "\rx", "'=1", "-5 x", "-inf", "-1.2.3"]:
        assert _spreadsheet.safe(text) == f"'{text}"


def test_a_table_keeps_its_numbers_and_its_texts_come_back(tmp_path):
    n = len(TEXTS)
    table = pd.DataFrame(
        {
            "=name": TEXTS, "kind": pd.Categorical(TEXTS), "number": -np.arange(n) / 7, "whole": -np.arange(n),
            "yes": np.arange(n) % 2 == 0, "mixed": [-1.5, None, *TEXTS[2:]],
        }
    )  # fmt: skip
    table.loc[3, "number"] = np.nan
    path = tmp_path / "table.csv"
    _spreadsheet.write_csv(table, path)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) == n + 1 and {len(row) for row in rows} == {6}
    assert rows[0][0] == "'=name" and [float(row[2]) for row in rows[1:4]] == [0.0, -1 / 7, -2 / 7]
    assert [int(row[3]) for row in rows[1:]] == list(table["whole"])
    assert not any(runs(cell) for row in rows for cell in row)
    read = _spreadsheet.read_csv(path, numbers=("number",))
    assert list(read.columns) == list(table.columns)
    assert list(read["=name"]) == TEXTS and list(read["kind"]) == TEXTS
    assert np.array_equal(read["number"], table["number"], equal_nan=True)


def test_an_index_is_made_safe_with_its_name():
    table = pd.DataFrame({"x": [-1.0, 2.0]}, index=pd.Index(["=a", "b"], name="@who"))
    assert _spreadsheet.csv_text(table, index=True).splitlines() == ["'@who,x", "'=a,-1.0", "b,2.0"]
    assert _spreadsheet.csv_text(table).splitlines() == ["x", "-1.0", "2.0"]


def test_the_table_that_is_written_is_left_as_it_was():
    table = pd.DataFrame({"=x": pd.Categorical(["=a", "b"])}, index=["-1x", "c"])
    before = table.copy(deep=True)
    _spreadsheet.csv_text(table, index=True)
    pd.testing.assert_frame_equal(table, before)


def test_no_table_becomes_csv_elsewhere():
    """`_spreadsheet` is the one place; nor is csv written or read by the standard library's module."""
    other = re.compile(r"\.to_(csv|excel|clipboard)\b|\bpd\.read_(csv|table|fwf)\b|^\s*(import|from) csv\b", re.M)
    found = [path for path in SOURCE.rglob("*.py") if other.search(path.read_text(encoding="utf-8"))]
    assert found == [SOURCE / "_spreadsheet.py"]


def tables_of(run):
    for path in sorted((run / TABLES).glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            yield path, list(csv.reader(file))


@pytest.mark.slow
def test_no_cell_of_a_run_is_a_formula_and_numbers_stay(made):
    adata, run, individuals, *_ = made
    guarded = 0
    for path, rows in [*tables_of(run), *tables_of(individuals)]:
        assert len({len(row) for row in rows}) == 1, path
        assert not any(runs(cell) for row in rows for cell in row), path
        guarded += sum(cell.startswith("'") and runs(cell[1:]) for row in rows for cell in row)
    assert guarded > 100
    with (run / TABLES / "genes.csv").open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    assert [_spreadsheet.plain(row[0]) for row in rows] == list(adata.var_names)
    loadings = np.array([[float(row[head.index(f"axis{k}")]) for k in (1, 2, 3)] for row in rows])
    assert (loadings < 0).any()
    saved = package_cells(run)
    assert np.allclose(loadings, saved.varm["X_sivae"]) and list(saved.var_names) == list(adata.var_names)


def package_cells(run):
    import anndata

    return anndata.read_h5ad(run / "adata.h5ad")


@pytest.mark.slow
def test_tables_that_are_read_again_give_names_back(made):
    from sivae._run._use import _enrichment

    adata, run, _, sets, _ = made
    read = _enrichment(run)["enrichment_axes"]
    known = set(tl.read_gmt(sets))
    assert set(read["set"]) <= known and {name for name in known if runs(name)} & set(read["set"])
    members = {gene for genes in read["genes"] for gene in genes.split(";") if genes}
    assert members & {name for name in adata.var_names if runs(name)}


@pytest.mark.slow
def test_commands_print_safe_csv_plain_json_and_a_terminal_that_stays_as_it_is(made):
    adata, run, _, sets, said = made
    genes = [str(name) for name in adata.var_names[:25]]
    calls = [("neighbors", run, *(g for g in genes if not g.startswith("-"))), ("hubs", run, "--all"),
             ("modules", run), ("loadings", run, "--all"), ("enrich", run, sets, "--q", "1")]  # fmt: skip
    for call in calls:
        rows = list(csv.reader(io.StringIO(sivae(*call, "--csv"), newline="")))
        assert len(rows) > 1 and len({len(row) for row in rows}) == 1
        assert not any(runs(cell) for row in rows for cell in row)
        assert len(json.loads(sivae(*call, "--json"))) == len(rows) - 1
        said += sivae(*call)
    assert {row["gene"] for row in json.loads(sivae("hubs", run, "--all", "--json"))} <= set(adata.var_names)
    said += sivae("info", run)
    assert "\\u202e" in said and not {sign for sign in said if not sign.isprintable()} - {"\n"}


def test_an_error_cannot_write_to_the_terminal(tmp_path):
    done = CliRunner().invoke(cli.app, ["info", str(tmp_path / "\x1b[31mred\x07\u202e")])
    assert done.exit_code == 1 and "\\x1b[31mred\\x07\\u202e" in done.output
    assert not {"\x1b", "\x07", "\u202e"} & set(done.output)


def test_the_explorer_and_the_tables_follow_one_rule(browser):
    """The function of the page, run by the browser, against the one in Python."""
    source = (SOURCE / "explorer" / "page" / "export.js").read_text(encoding="utf-8")
    function = re.search(r"^function csvCell.*?^}", source, re.DOTALL | re.MULTILINE)[0]
    page = browser.new_page()
    found = page.evaluate(f"(texts) => {{ {function}\n return texts.map(csvCell); }}", TEXTS)
    numbers = page.evaluate(f"() => {{ {function}\n return [-1.5, -0.001, 7, NaN, -Infinity].map(csvCell); }}")
    page.close()
    cells = [next(csv.reader(io.StringIO(cell, newline="")), [""])[0] for cell in found]
    assert cells == [_spreadsheet.safe(text) for text in TEXTS]
    assert numbers == ["-1.5", "-0.001", "7", "", ""]


def test_a_graph_of_genes_as_csv_is_safe(tmp_path):
    adata = datasets.planted(100, 60, n_factors=2, genes_per_factor=20)
    adata.var_names = hostile.many(60, hostile.FORMULAS)
    tl.gene_neighbors(adata, 5, use_rep="planted_v")
    tl.write_graph(adata, tmp_path / "genes.csv", use_rep="planted_v")
    read = _spreadsheet.read_csv(tmp_path / "genes.csv", numbers=())
    with (tmp_path / "genes.csv").open(encoding="utf-8", newline="") as file:
        assert not any(runs(cell) for row in csv.reader(file) for cell in row[:2])
    edges = tl.gene_graph(adata, use_rep="planted_v")
    assert list(read["gene_a"]) == list(edges["gene_a"]) and set(read["gene_a"]) <= set(adata.var_names)
