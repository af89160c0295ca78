"""No name can break the page, and it asks nothing of anyone."""

import base64
import hashlib
import re
from importlib import resources

import pytest
from explorer_pages import Page, whole

from sivae import explorer
from sivae.explorer import _page
from sivae.explorer._blobs import as_json, known

HOSTILE = "</script><script>alert(1)</script><!--\u2028]]>\"'&<img src=x onerror=alert(2)>@@DATA@@"
FOLDER = resources.files("sivae.explorer")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    adata = whole(80, 30)
    adata.var_names = [HOSTILE, *adata.var_names[1:]]
    adata.obs_names = [HOSTILE, *adata.obs_names[1:]]
    adata.obs[HOSTILE] = adata.obs["cell_type"].cat.rename_categories([HOSTILE + c for c in "abc"])
    adata.var["sivae_module"] = adata.var["sivae_module"].cat.rename_categories({"module1": HOSTILE})
    adata.obsm["X_sivae_modules"].columns = [HOSTILE, "module2"]
    adata.uns["sivae"]["run"] = {"source": HOSTILE}
    return Page(explorer.build(adata, tmp_path_factory.mktemp("hostile") / "e.html", label=HOSTILE))


def test_hostile_names_are_text(hostile):
    scripts = [(a.get("type"), text) for a, text in hostile.elements.scripts]
    assert [kind for kind, _ in scripts].count(None) == 2  # the library and the page's own
    assert {kind for kind, _ in scripts} == {None, "application/json", "application/octet-stream"}
    assert not [tag for tag, _ in hostile.elements.tags if tag == "img"]
    assert hostile.names("genes")[0] == hostile.names("cells")[0] == HOSTILE
    assert hostile.account["title"] == HOSTILE
    assert hostile.account["cells"]["columns"][0]["categories"] == [HOSTILE + c for c in "abc"]
    assert HOSTILE in hostile.account["genes"]["module"]["names"]


def test_json_in_the_page_holds_no_sign_that_ends_it():
    text = as_json({HOSTILE: [HOSTILE, 0.1, None]})
    assert not set("<>&\u2028\u2029") & set(text)
    import json

    assert json.loads(text) == {HOSTILE: [HOSTILE, 0.1, None]}
    with pytest.raises(ValueError, match="JSON"):
        as_json(float("nan"))
    assert known([0.123456789, float("nan"), float("inf")]) == [0.123457, None, None]


def test_the_policy_lets_in_what_is_in_the_file_alone(hostile):
    policy = next(a["content"] for tag, a in hostile.elements.tags if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["base-uri"] == rules["form-action"] == "'none'"
    assert "unsafe" not in policy and "http" not in policy
    inside = [text for a, text in hostile.elements.scripts if "type" not in a]
    assert rules["script-src"].split() == [digest(text) for text in inside]
    assert rules["style-src"].split() == [digest(hostile.elements.styles[0][1])]
    assert rules["img-src"] == "data: blob:"


def digest(text):
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def test_nothing_points_out_of_the_file(hostile):
    for tag, attributes in hostile.elements.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "img")
        assert not {"src", "href", "srcset", "action", "background"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
    style = hostile.elements.styles[0][1]
    assert "url(" not in style and "@import" not in style


def test_programs_write_no_markup():
    for name in _page.SCRIPTS:
        text = FOLDER.joinpath("page", f"{name}.js").read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            name
        )
        assert "</script" not in text and "<!--" not in text and "fetch(" not in text and "XMLHttpRequest" not in text


def test_every_program_of_the_folder_is_in_the_page():
    listed = {path.name for path in FOLDER.joinpath("page").iterdir()}
    assert listed == {"page.html", "explorer.css", *(f"{name}.js" for name in _page.SCRIPTS)}


def test_the_library_says_its_version_and_licence(hostile):
    library = FOLDER.joinpath("vendor", "twgl.min.js").read_text(encoding="utf-8")
    version = FOLDER.joinpath("vendor", "VERSION").read_text(encoding="utf-8").split()[1].rstrip(",")
    assert library.startswith(f"/*!\n * @license twgl.js {version} ")
    assert "Permission is hereby granted, free of charge" in FOLDER.joinpath("vendor", "LICENSE").read_text("utf-8")
    assert f"twgl.js {version}" in hostile.text and "MIT licence" in hostile.text


def test_what_is_shown_has_a_name_for_readers_of_the_screen(hostile):
    tags = hostile.elements.tags
    ids = {a["id"] for _, a in tags if "id" in a}
    assert {"search", "hits", "card", "selection", "said", "counts", "notes"} <= ids
    by_id = {a["id"]: a for _, a in tags if "id" in a}
    assert by_id["card"]["aria-live"] == "polite" and by_id["search"]["role"] == "combobox"
    assert all("aria-label" in a or a.get("type") in ("submit", "button") for tag, a in tags if tag == "button")
    assert ("html", {"lang": "en"}) in tags
