"""What is built: the wheel and the sdist hold what they should and nothing else, and types are shipped."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NAME = f"sivae_tools-{PROJECT['project']['version']}"
DATA = {".html", ".css", ".js", ".typed"}
"""Endings of what the wheel holds beside Python."""
JUNK = ("src/sivae/__pycache__/x.pyc", "src/sivae/.ipynb_checkpoints/a.py", "docs/_build/index.html", "dist/old.whl",
        "tests/.pytest_cache/x", "bench/_results/x.json", "demo-run/run.json", ".venv/lib/x.py")  # fmt: skip
"""Files that lie about where somebody works."""


def run(*words, cwd):
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def tracked():
    try:
        done = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: the files of the project cannot be told from others")
    return {name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist and the wheel made of it, the wheel made of the tree, and what is tracked; made in a copy with junk."""
    pytest.importorskip("build", reason="the package build comes with the group build")
    pytest.importorskip("hatchling", reason="hatchling comes with the group build")
    names, tree = tracked(), tmp_path_factory.mktemp("tree")
    for name in [*names, *JUNK]:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name) if name in names else (tree / name).write_text("junk\n")
    run("-m", "build", "--no-isolation", "--outdir", tree / "out", ".", cwd=tree)
    run("-m", "build", "--no-isolation", "--wheel", "--outdir", tree / "direct", ".", cwd=tree)
    found = {path.suffix: path for path in (tree / "out").iterdir()}
    assert set(found) == {".gz", ".whl"}
    return found[".gz"], found[".whl"], next((tree / "direct").iterdir()), names


def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(built):
    names = set(contents(built[1]))
    info = f"{NAME}.dist-info"
    package = {name.removeprefix("src/") for name in built[3] if name.startswith("src/sivae/")}
    assert {name for name in names if not name.startswith(info)} == package
    beside = {name for name in package if not name.endswith(".py")}
    vendored = {f"sivae/explorer/vendor/{name}" for name in ("LICENSE", "VERSION", "twgl.min.js")}
    assert vendored <= beside and all(Path(name).suffix in DATA for name in beside - vendored)
    assert {"sivae/py.typed", "sivae/report/page.html", "sivae/report/cohort.html", "sivae/report/style.css",
            "sivae/explorer/page/page.html", "sivae/explorer/page/main.js"} <= beside  # fmt: skip
    licenses = {f"{info}/licenses/LICENSE", f"{info}/licenses/src/sivae/explorer/vendor/LICENSE"}
    assert {name for name in names if name.startswith(info)} == {
        *licenses, *(f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt")),
    }  # fmt: skip


@pytest.mark.slow
def test_a_wheel_made_of_the_sdist_is_that_made_of_the_tree(built):
    assert built[1].name == built[2].name and "-py3-none-any" in built[1].name
    assert contents(built[1]) == contents(built[2])


@pytest.mark.slow
def test_the_sdist_holds_what_tests_and_site_need_and_nothing_that_is_not_tracked(built):
    with tarfile.open(built[0]) as archive:
        members = archive.getmembers()
    assert all(member.isfile() and member.name.startswith(f"{NAME}/") and ".." not in member.name for member in members)
    names = {member.name.removeprefix(f"{NAME}/") for member in members}
    assert names - built[3] == {"PKG-INFO"}
    assert {name for name in built[3] - names if not name.startswith(".")} == set()
    for part in ("src/sivae/", "tests/", "docs/", "scripts/", "bench/"):
        assert any(name.startswith(part) for name in names), part
    assert {"constraints.txt", "Makefile", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff",
            "CONTRIBUTING.md", "Dockerfile", "recipe/meta.yaml", ".gitignore"} <= names  # fmt: skip


@pytest.mark.slow
def test_the_metadata_say_what_the_project_says(built):
    from email.parser import BytesParser

    files = contents(built[1])
    told = BytesParser().parsebytes(files[f"{NAME}.dist-info/METADATA"])
    project = PROJECT["project"]
    assert (told["Name"], told["Version"], told["License-Expression"]) == (
        "sivae-tools",
        project["version"],
        "BSD-3-Clause",
    )
    assert told["Requires-Python"] == project["requires-python"]
    assert set(told.get_all("Provides-Extra")) == set(project["optional-dependencies"])
    asked = [text for text in told.get_all("Requires-Dist") if "extra ==" not in text]
    assert sorted(asked) == sorted(project["dependencies"])
    assert b"sivae = sivae.cli:main" in files[f"{NAME}.dist-info/entry_points.txt"]
    assert told["Description-Content-Type"] == "text/markdown"
    assert told.get_payload().strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()


def test_the_readme_is_markdown_whose_links_lead_somewhere():
    reader = pytest.importorskip("markdown_it", reason="markdown-it-py comes with the group docs")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    html = reader.MarkdownIt("commonmark").enable("table").render(text)
    assert html.count("<h1>") == 1 and "<table>" in html and "&lt;img" not in html
    for to in re.findall(r'(?:href|src)="([^"#]+)', html):
        if not re.match(r"[a-z]+:", to):
            assert (ROOT / to).exists(), to


# --------------------------------------------------------------------------------------------------------------- types

CONSUMER = """
import sivae
from sivae import SiVAE, tl

def use(adata: object) -> None:
    model = SiVAE(adata, n_latent=3)
    reveal_type(model)
    reveal_type(model.get_latent_representation)
    reveal_type(tl.read_gmt("x"))
    reveal_type(sivae.__version__)
"""
WRONG = """
from sivae import SiVAE, tl

def use(adata: object) -> None:
    SiVAE(adata, n_latent="three")
    tl.read_gmt(3)
"""


@pytest.mark.slow
def test_a_program_that_uses_the_wheel_sees_its_types(built, tmp_path):
    """mypy --strict of a program, in an environment that holds the wheel and nothing else."""
    pytest.importorskip("mypy", reason="mypy comes with the group lint")
    run("-m", "venv", "--without-pip", "env", cwd=tmp_path)
    site = next((tmp_path / "env").glob("lib/python*/site-packages"), tmp_path / "env" / "Lib" / "site-packages")
    with zipfile.ZipFile(built[1]) as archive:
        archive.extractall(site)
    (tmp_path / "good.py").write_text(CONSUMER)
    (tmp_path / "bad.py").write_text(WRONG)
    python = next(path for path in (tmp_path / "env").glob("*/python*") if path.stem == "python")

    def check(name):
        words = ["-m", "mypy", "--strict", "--config-file", os.devnull, "--python-executable", str(python), name]
        return subprocess.run(
            [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
        )

    good = check("good.py")
    shown = re.findall(r'Revealed type is "(.*)"', good.stdout)
    assert good.returncode == 0, good.stdout
    assert shown[0] == "sivae.model._sivae.SiVAE" and shown[3].endswith("str")
    assert "return_dist: bool" in shown[1] and shown[1].count("Any") <= 3  # of anndata and numpy, not installed there
    assert shown[2].removeprefix("builtins.").startswith("dict[")
    bad = check("bad.py")
    assert bad.returncode == 1 and bad.stdout.count("[arg-type]") == 2, bad.stdout
    (site / "sivae" / "py.typed").unlink()
    assert "py.typed" in check("good.py").stdout


# ------------------------------------------------------------------------------------------------------ Docker, conda

INSTRUCTIONS = {"FROM", "ARG", "ENV", "COPY", "RUN", "USER", "WORKDIR", "ENTRYPOINT", "CMD"}
CONDA = {"torch": "pytorch", "matplotlib": "matplotlib-base", "dask": "dask-core"}
"""Names that conda's packages have, where they are others."""


def instructions():
    """The Dockerfile as pairs of an instruction and its words; continued lines joined, comments left out."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def test_the_dockerfile_can_be_read_and_ends_as_nobody_in_particular():
    found = instructions()
    assert {name for name, _ in found} <= INSTRUCTIONS and found[0][0] == "FROM"
    assert re.fullmatch(r"python:3\.\d+-slim", found[0][1])
    assert f">={found[0][1][7:11]}" == PROJECT["project"]["requires-python"]
    words = dict(found)
    assert words["USER"] == "sivae" and words["WORKDIR"] == "/data"
    assert words["ENTRYPOINT"] == '["sivae"]' and words["CMD"] == '["--help"]'
    names = [name for name, _ in found]
    assert names.index("USER") > max(place for place, name in enumerate(names) if name == "RUN")


def test_the_dockerfile_copies_what_is_built_and_installs_the_torch_that_is_tested():
    found = instructions()
    pinned = re.search(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
    assert ("ARG", f"TORCH={pinned}") in found
    assert [words for name, words in found if name == "COPY"] == ["dist/ /tmp/dist/"]
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert ignored[:2] == ["*", "!dist"]
    shell = " ".join(words for name, words in found if name == "RUN")
    done = subprocess.run(["bash", "-n", "-c", shell], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    assert "sivae_tools-*.whl)[demo]" in shell and "://" not in shell


def recipe():
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with accelerate")
    jinja2 = pytest.importorskip("jinja2", reason="jinja2 comes with the extra report")
    text = (ROOT / "recipe" / "meta.yaml").read_text(encoding="utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    return yaml.safe_load(environment.from_string(text).render(PYTHON="python"))


def conda_names(requirements):
    """Requirements of pip as conda writes them."""
    found = {}
    for text in requirements:
        name, bound = re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=(\S+)", text).groups()
        found[CONDA.get(name, name)] = f">={bound}"
    return found


def test_the_recipe_asks_for_what_the_project_asks_for():
    found, project = recipe(), PROJECT["project"]
    run = dict(text.split() for text in found["requirements"]["run"])
    assert run.pop("python") == project["requires-python"]
    assert run == conda_names(project["dependencies"])
    extras = [one for name, asked in project["optional-dependencies"].items() if name not in ("all", "compare")
              for one in asked]  # fmt: skip
    assert dict(text.split() for text in found["requirements"]["run_constrained"]) == conda_names(extras)


def test_the_recipe_is_of_this_version_and_takes_the_wheel():
    found, project = recipe(), PROJECT["project"]
    assert found["package"] == {"name": project["name"], "version": project["version"]}
    assert found["build"]["script"].endswith(f" {NAME}-py3-none-any.whl")
    assert found["build"]["entry_points"] == [f"{name} = {to}" for name, to in project["scripts"].items()]
    assert found["about"]["license"] == project["license"] and found["about"]["summary"] == project["description"]
    places = [one["path"] for one in found["source"]]
    assert all((ROOT / "recipe" / place).exists() for place in places if place != "../dist")
    assert len(found["about"]["license_file"]) == len(project["license-files"])


# -------------------------------------------------------------------------------------------------- extras, other tools


@pytest.mark.parametrize("extra", PROJECT["project"]["optional-dependencies"])
def test_every_extra_is_told_of(extra):
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert re.search(rf"^\| `{extra}` \|", page, re.MULTILINE)
    asked = PROJECT["project"]["optional-dependencies"][extra]
    row = re.search(rf"^\| `{extra}` \|(.*)$", page, re.MULTILINE)[1]
    names = [re.match(r"[\w-]+", text)[0] for text in asked]
    assert extra == "all" or all(name in row for name in names)
    assert extra == "compare" or f"| `{extra}` |" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_demo_brings_what_a_run_with_its_report_needs():
    extras = PROJECT["project"]["optional-dependencies"]
    assert set(extras["report"]) | set(extras["modules"]) <= set(extras["demo"])
    assert set(extras["plot"]) <= set(extras["report"])


def script(name):
    import importlib.util

    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_oldest_versions_are_the_bounds_of_the_project():
    oldest = script("oldest").bounds(PROJECT)
    for text in [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["demo"]]:
        name, bound = text.split(">=")
        assert oldest[name] == bound
    found = run("scripts/oldest.py", cwd=ROOT).splitlines()
    pinned = re.search(r"^torch==\S+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[0]
    assert pinned in found and len(found) == len(set(found)) == len(oldest)


@pytest.mark.parametrize(
    ("words", "right"),
    [
        ("MIT", True), ("BSD-3-Clause AND MIT", True), ("MPL-2.0", True), ("Apache Software", True),
        ("GPL-3.0-or-later", False), ("GNU General Public License v3 (GPLv3)", False), ("AGPL-3.0", False),
        ("MIT AND GPL-2.0-only", False), ("MIT OR GPL-2.0-only", True), ("LGPL-3.0", False), ("unknown", False),
        ("Proprietary", False), ("Apache-2.0 WITH Commons-Clause, non-commercial", False), ("CC-BY-NC-4.0", False),
    ],
)  # fmt: skip
def test_a_copyleft_license_would_be_seen(words, right):
    assert (script("licenses").verdict("some-package", words) == "") is right


def test_licenses_of_what_is_brought_are_known():
    pytest.importorskip("captum", reason="a package of an extra is not installed")
    assert "none under the GPL" in run("scripts/licenses.py", cwd=ROOT)


def test_the_page_lists_the_licenses_of_the_versions_of_constraints():
    from importlib.metadata import PackageNotFoundError, version

    def same(line):
        name, pinned = line.split("==")
        try:
            return version(name).split("+")[0] == pinned
        except PackageNotFoundError:
            return False

    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    if not all(map(same, lines)):
        pytest.skip("other versions than those of constraints.txt are installed")
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert (
        script("licenses").markdown({g: script("licenses").walk(r)[0] for g, r in script("licenses").groups().items()})
        in page
    )


def test_an_audit_that_saw_nothing_does_not_pass():
    lines = script("audit").lines
    sound = {"name": "a", "version": "1", "vulns": []}
    hole = {"name": "b", "version": "2", "vulns": [{"id": "X-1", "fix_versions": ["3"]}]}
    unseen = {"name": "c", "skip_reason": "not found"}
    assert lines({"dependencies": [sound, sound]}) == []
    assert lines({"dependencies": [sound, hole]}) == ["b 2: X-1, mended in 3"]
    assert "1 of 2 packages could not be looked up" in lines({"dependencies": [sound, unseen]})[0]
    assert lines({"dependencies": []}) != []
