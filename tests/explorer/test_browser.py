"""The page in a real browser, without a network: what is seen, clicked, encircled and saved."""

import io

import numpy as np
import pandas as pd
import pytest
from annotated import annotated
from explorer_browser import Opened, count, number
from explorer_pages import Page, difference, expected, whole
from PIL import Image

from sivae import explorer

pytestmark = pytest.mark.slow  # so that the fast tests stay fast

HOSTILE = "<script>alert(1)</script>"
BLUE = (0, 114, 178)


@pytest.fixture(scope="module")
def adata():
    adata = whole()
    adata.var_names = [HOSTILE if name == "GENE4" else name for name in adata.var_names]
    adata.obs["group"] = adata.obs["cell_type"].cat.rename_categories(
        {"type 0": "=1+1", "type 1": "-5", "type 2": "@x"}
    )
    return adata


@pytest.fixture(scope="module")
def path(adata, tmp_path_factory):
    rows = [
        (f"axis{axis}", f"{end} of {axis}", effect) for axis in (1, 2) for end, effect in (("high", 0.9), ("low", 0.1))
    ]
    rows += [("module2", "set of module2", 3.0), ("module1", "set of module1", 3.0)]
    sets = pd.DataFrame(rows, columns=["group", "set", "effect"]).assign(
        q=0.01, n_overlap=2, n_set=5, genes="GENE7;GENE10"
    )
    folder = tmp_path_factory.mktemp("browser")
    return explorer.build(adata, folder / "explorer.html", label="cell_type", enrichment=sets)


@pytest.fixture
def open_page(browser, path):
    """Open the page; at the end nothing was asked of the network and nothing went wrong."""
    opened = []

    def open_(fragment="", **options):
        opened.append(Opened(browser, path, fragment, **options))
        return opened[-1]

    yield open_
    for one in opened:
        one.context.close()
        assert all(url.startswith(("file:", "blob:")) for url in one.requests)
        assert one.troubles == []


# ------------------------------------------------------------------------------------------------------------- the maps


@pytest.mark.parametrize("kind", ["webgl", "canvas"])
def test_points_are_drawn_in_the_colors_of_their_groups(open_page, kind):
    opened = open_page(
        "#canvas" if kind == "canvas" else "", before="delete Uint8Array.fromBase64" if kind == "canvas" else ""
    )
    assert opened.page.get_attribute("#cells .points", "data-kind") == kind
    cells = opened.picture("#cells .frame")
    assert count(cells, BLUE, 40) > 500
    assert "type 0 80" in opened.text("#cells .legend").replace("\n", " ")
    opened.page.select_option("#genes .color", "r2")
    assert opened.page.get_attribute("#genes .over", "data-colored") == "explained variance"


def test_very_many_points_are_drawn_without_webgl(browser, tmp_path):
    opened = Opened(browser, explorer.build(annotated(4500, 20, 2, unused=()), tmp_path / "e.html"), "#canvas")
    other = Opened(browser, tmp_path / "e.html")
    pictures = [one.picture("#cells .frame") for one in (opened, other)]
    assert all(count(picture, BLUE, 40) > 2000 for picture in pictures)
    assert np.abs(pictures[0] - pictures[1]).mean() < 6  # alike but for the edges of the dots
    for one in (opened, other):
        one.context.close()
        assert one.troubles == []


def test_the_maps_come_back_when_the_graphics_do(open_page):
    opened = open_page()
    before = opened.picture("#cells .frame")
    lose = """document.querySelector("#cells .points").getContext("webgl2").getExtension("WEBGL_lose_context")"""
    opened.page.evaluate(f"window.lost = {lose}; window.lost.loseContext()")
    opened.page.wait_for_timeout(200)
    opened.page.evaluate("window.lost.restoreContext()")
    opened.page.wait_for_timeout(400)
    assert np.abs(opened.picture("#cells .frame") - before).max() <= 8


def test_a_gene_colors_the_cells_and_lights_its_neighbors(open_page, adata):
    opened = open_page()
    before = opened.picture("#cells .frame"), opened.picture("#genes .frame")
    opened.search("GENE7")
    after = opened.picture("#cells .frame"), opened.picture("#genes .frame")
    assert all((one != other).any() for one, other in zip(before, after, strict=True))
    x, _, _ = expected(adata)
    shown = [number(text) for text in opened.page.locator("#cells .legend .end").all_inner_texts()]
    values = x[:, 7][x[:, 7] > 0]
    assert shown[0] == 0 and shown[1] == pytest.approx(np.quantile(values, 0.99), abs=0.1)
    assert opened.page.locator("#cells .color option:checked").inner_text() == "GENE7 expression"


def test_the_card_says_what_the_anndata_holds(open_page, adata):
    from sivae import tl

    opened = open_page()
    opened.search("GENE7")
    gene = adata.var.loc["GENE7"]
    assert opened.text("#card h2") == "GENE7"
    terms = dict(zip(*(opened.page.locator(f"#card {tag}").all_inner_texts() for tag in ("dt", "dd")), strict=True))
    assert number(terms["Hub score"].split()[0]) == pytest.approx(gene["sivae_hub_score"], rel=5e-3)
    rank = int((adata.var["sivae_hub_score"] > gene["sivae_hub_score"]).sum()) + 1
    assert f"rank {rank} of 60" in terms["Hub score"]
    assert number(terms["Connected (q)"].split()[0]) == pytest.approx(gene["sivae_connected_qvalue"], rel=0.06)
    assert number(terms["Explained variance"].split()[0]) == pytest.approx(gene["sivae_r2"], rel=5e-3)
    assert terms["Module"].startswith("module2")
    sets = opened.page.locator("#card .sets li").all_inner_texts()
    assert sets[0].startswith("set of module2 q = 0.01, 2 of 5") and "high of 1 axis1, q = 0.01" in " ".join(sets[1:])
    rows = opened.page.locator("#card .loadings tr").all_inner_texts()
    assert len(rows) == 2  # the third axis is unused
    for axis, row in enumerate(rows):
        value, sd = row.replace("\t", " ").split("axis ")[1].split(" ", 1)[1].split("\u00b1")
        assert number(value) == pytest.approx(adata.varm["X_sivae"][7, axis], abs=6e-3)
        assert number(sd) == pytest.approx(np.sqrt(adata.varm["X_sivae_var"][7, axis]), abs=6e-3)
    assert (
        opened.page.locator("#card .near .gene").all_inner_texts()
        == tl.neighbors_of(adata, "GENE7")["neighbor"].tolist()
    )


def test_neighbors_by_keys_and_by_clicks(open_page, adata):
    from sivae import tl

    near = tl.neighbors_of(adata, "GENE7")["neighbor"].tolist()
    opened = open_page()
    opened.search("GENE7")
    opened.page.keyboard.press("ArrowDown")
    opened.page.keyboard.press("ArrowDown")
    assert opened.page.evaluate("document.activeElement.textContent") == near[1]
    opened.page.wait_for_selector(f"#cells .over[data-colored^='{near[1]} (']")
    assert opened.text("#card h2") == "GENE7"  # the card stays while one looks around
    opened.page.keyboard.press("Enter")
    opened.page.wait_for_selector(f"#card h2:text-is('{near[1]}')")
    opened.page.locator("#card .near .gene").first.click()
    assert opened.text("#card h2") == tl.neighbors_of(adata, near[1])["neighbor"].iloc[0]
    opened.page.keyboard.press("Escape")
    assert opened.text("#card h2") == "Gene"
    opened.page.wait_for_selector("#cells .over[data-colored='cell_type']")


def test_pointing_at_a_gene_shows_it_and_a_click_keeps_it(open_page, adata):
    opened = open_page()
    box = opened.page.locator("#genes .over").bounding_box()
    names = {}
    for step in range(40):  # somewhere on the diagonal there are genes
        share = 0.2 + 0.6 * step / 40
        opened.page.mouse.move(box["x"] + share * box["width"], box["y"] + share * box["height"])
        if opened.page.locator("#tip").is_visible():
            names[share] = opened.page.locator("#tip b").inner_text()
    share, name = next(iter(names.items()))
    opened.page.mouse.move(box["x"] + share * box["width"], box["y"] + share * box["height"])
    opened.page.wait_for_selector(f"#card h2:text-is('{name}')")
    opened.page.mouse.down()
    opened.page.mouse.up()
    opened.page.mouse.move(box["x"] + 2, box["y"] - 30)
    opened.page.wait_for_timeout(250)
    assert opened.text("#card h2") == name in list(adata.var_names)


def test_axes_turn_and_colors_change(open_page):
    opened = open_page()
    before = opened.picture("#cells .frame")
    opened.page.select_option("#cells .axis-y", label="axis 3 (unused)")
    assert (opened.picture("#cells .frame") != before).any()
    for value, words in {
        "obs:2": "sivae_split",
        "axis:1": "axis 2",
        "score:0": "score of module1",
        "obs:1": "depth",
    }.items():
        opened.page.select_option("#cells .color", value)
        opened.page.wait_for_selector(f"#cells .over[data-colored='{words}']")
    opened.page.click("#genes .legend button.key >> nth=1")  # module2
    opened.page.wait_for_selector("#cells .over[data-colored='score of module2']")


def test_a_gene_named_as_a_program_is_text(open_page):
    opened = open_page()
    opened.search(HOSTILE)
    assert opened.text("#card h2") == HOSTILE
    assert HOSTILE in opened.page.locator("#cells .legend-title").inner_text()


# ------------------------------------------------------------------------------------------------------- selected cells


def test_a_group_ranks_genes_as_in_numpy(open_page, adata):
    opened = open_page()
    opened.select("type 1")
    chosen = (adata.obs["cell_type"] == "type 1").to_numpy()
    assert opened.text("#n-selected") == str(chosen.sum())
    head, *rows = opened.table("#save-genes")
    found = {row[0].removeprefix("'"): float(row[head.index("difference")]) for row in rows}
    wanted = difference(adata, chosen)
    x, _, sd = expected(adata)
    levels = (x.max(axis=0) - np.where(x > 0, x, np.inf).min(axis=0)) / 254 / sd
    got = np.array([found[name] for name in adata.var_names])
    assert (np.abs(got - wanted) <= levels + 1e-4).all()
    assert np.corrcoef(got, wanted)[0, 1] > 0.9999
    values = [float(row[1]) for row in rows]
    assert values == sorted(values, reverse=True)
    listed = opened.page.locator("#ranked .gene").all_inner_texts()
    assert listed[:5] == [row[0] for row in rows[:5]]
    opened.page.click("#lower")
    assert opened.page.locator("#ranked .gene").first.inner_text() == rows[-1][0]
    assert opened.page.get_attribute("#genes .over", "data-colored") == "selected cells minus others"
    z = adata.obsm["X_sivae"]
    gap = np.abs(z[chosen].mean(axis=0) - z[~chosen].mean(axis=0))[:2]
    first = opened.page.locator("#axes li").first
    axis = int(gap.argmax())
    assert first.locator(".link").inner_text() == f"axis {axis + 1}"
    end = "high" if z[chosen, axis].mean() > z[~chosen, axis].mean() else "low"
    assert f"{end} of {axis + 1} (q" in first.inner_text()
    assert number(first.locator("p").first.inner_text().split()[2]) == pytest.approx(z[chosen, axis].mean(), abs=6e-3)


def test_the_lasso_takes_the_cells_inside(open_page, adata):
    opened = open_page()
    opened.lasso([(0.1, 0.0), (0.5, 0.0), (0.5, 0.97), (0.1, 0.97)])
    opened.page.wait_for_selector("#ranked")
    head, *rows = opened.table("#save-cells")
    assert opened.text("#n-selected") == str(len(rows))
    assert 20 < len(rows) < adata.n_obs - 20
    order = adata.obs_names[np.argsort(adata.obsm["X_sivae"][:, 0])]
    assert {row[0] for row in rows} == set(order[: len(rows)])
    z = adata.obsm["X_sivae"][adata.obs_names.get_indexer([row[0] for row in rows]), 0]
    assert np.allclose([float(row[head.index("axis1")]) for row in rows], z, rtol=1e-5)
    opened.page.keyboard.press("Escape")
    assert opened.page.locator("#n-selected").count() == 0
    assert opened.page.get_attribute("#genes .over", "data-colored") == "module"


def test_shift_adds_cells_and_alt_takes_them_away(open_page, adata):
    opened = open_page()
    left, right = ([(a, 0.0), (b, 0.0), (b, 0.97), (a, 0.97)] for a, b in ((0.1, 0.4), (0.4, 1.0)))
    counts = []
    for corners, key in ((left, None), (right, "Shift"), (left, "Alt")):
        if key:
            opened.page.keyboard.down(key)
        opened.lasso(corners)
        if key:
            opened.page.keyboard.up(key)
        counts.append(int(opened.text("#n-selected")))
    assert counts[1] == adata.n_obs and 0 < counts[0] == adata.n_obs - counts[2]
    assert opened.page.locator("#ranked").count() == 1


def test_cells_of_a_table_are_no_formulas(open_page, adata):
    opened = open_page()
    opened.select("type 0")
    head, *rows = opened.table("#save-cells")
    assert {row[head.index("group")] for row in rows} == {"'=1+1"}
    assert any(row[head.index("axis1")].startswith("-") for row in rows)  # numbers stay numbers
    opened.select("type 1")
    assert {row[head.index("group")] for row in opened.table("#save-cells")[1:]} == {"-5"}
    opened.select("type 2")
    assert {row[head.index("group")] for row in opened.table("#save-cells")[1:]} == {"'@x"}
    opened.search("GENE7")
    rows = opened.table("#card .title button.small")
    assert rows[1][0] == "GENE7" and len(rows) == 10


def test_the_view_is_saved_as_picture_and_as_drawing(open_page, adata):
    import xml.etree.ElementTree as ElementTree

    opened = open_page()
    opened.search(HOSTILE)
    picture = np.asarray(Image.open(io.BytesIO(opened.saved("#png"))).convert("RGB")).astype(int)
    assert picture.shape[1] > 1500 and len(np.unique(picture @ [65536, 256, 1])) > 100
    root = ElementTree.fromstring(opened.saved("#svg"))
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f".//{space}circle")) >= adata.n_obs + adata.n_vars
    texts = [element.text for element in root.findall(f".//{space}text")]
    assert f"{HOSTILE} (log-normalized expression)" in texts and {"Cells", "Genes", "axis 1", "axis 2"} <= set(texts)
    assert not root.findall(f".//{space}script")


# ---------------------------------------------------------------------------------------------------------- the setting


def test_dark_follows_the_system_and_the_switch(open_page):
    opened = open_page(color_scheme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = opened.page.evaluate(paper)
    assert opened.page.get_attribute("html", "data-theme") == "dark"
    opened.page.click("#theme")
    assert opened.page.get_attribute("html", "data-theme") == "light"
    light = opened.page.evaluate(paper)
    brightness = [sum(int(part) for part in color[4:-1].split(",")) for color in (dark, light)]
    assert brightness[0] < 120 < 600 < brightness[1]


def test_a_narrow_page_stacks_the_maps_and_overflows_nowhere(open_page):
    opened = open_page()
    wide = [opened.page.locator(name).bounding_box() for name in ("#cells", "#genes")]
    assert wide[0]["y"] == wide[1]["y"]
    opened.search("GENE7")
    opened.select("type 1")
    for width in (390, 700, 1000, 1400):
        opened.page.set_viewport_size({"width": width, "height": 800})
        opened.page.wait_for_timeout(60)
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
        if width <= 800:
            cells, genes = (opened.page.locator(name).bounding_box() for name in ("#cells", "#genes"))
            assert genes["y"] >= cells["y"] + cells["height"]


def test_every_control_has_a_name_and_can_be_reached(open_page):
    opened = open_page()
    opened.search("GENE7")
    opened.select("type 1")
    nameless = opened.page.evaluate(
        """() => [...document.querySelectorAll("button, select, input, canvas.over")].filter((e) =>
            !(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length)).map((e) => e.outerHTML)"""
    )
    assert nameless == []
    assert "240 cells on axis 1 and axis 2" in opened.page.get_attribute("#cells .over", "aria-label")
    assert "80 cells selected. Highest there: " in opened.page.text_content("#said")
    opened.page.click("#help")
    assert opened.page.locator("#about").is_visible()
    opened.page.keyboard.press("Escape")
    assert not opened.page.locator("#about").is_visible()
    assert opened.text("#card h2") == "GENE7"


def test_thinning_and_what_is_missing_are_said(browser, tmp_path):
    bare = annotated()
    bare.X = None
    path = explorer.build(bare, tmp_path / "e.html", max_cells=60, max_genes=30)
    opened = Opened(browser, path)
    notes = opened.text("#notes")
    assert "60 of 120 cells" in notes and "30 of 60 genes" in notes and "no expression" in notes
    opened.search(Page(path).names("genes")[0])
    words = opened.text("#card")
    for missing in ("hubs was not run", "modules was not run", "gene_neighbors was not run"):
        assert missing in words
    opened.context.close()
    assert opened.troubles == []
