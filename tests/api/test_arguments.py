"""Every argument of every public function: what is of the wrong kind is refused in words, and nothing has changed."""

import inspect

import anndata as ad
import matplotlib
import numpy as np
import pandas as pd
import pytest
from doors import CALLS, World, files, fingerprint
from test_package import CALLABLES

from sivae._errors import OptionError, SetupError, SiVAEError

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

ARRAY, THING = np.zeros((2, 2)), object()
WRONG = {
    "AnnData": ["cells.h5ad", 3, ARRAY, pd.DataFrame(), THING],
    "int": ["3", True, 2.5, float("nan"), float("inf"), [1], ARRAY, THING],
    "float": ["0.5", True, float("nan"), [0.5], ARRAY, THING],
    "bool": ["no", 1, 0.0, [], ARRAY, pd.DataFrame()],
    "str": [3, True, ["name"], b"name", ARRAY, pd.DataFrame(), THING],
    "str | Path": [3, "", "a\0b", "x" * 300, ["name"], ARRAY, THING],
    "Sequence[str]": ["name", 3, [1], [None], ARRAY, THING],
    "Axes": ["axes", 3, ARRAY, THING],
}
WRONG |= {"Iterable[str]": WRONG["Sequence[str]"]}
"""What an argument may not be, by how it is annotated."""
NO_ARGUMENTS = {"datasets.pbmc700"}
"""Functions that take none."""
OTHERS = {
    "PublishedOptions.preset": "name",
    "SiVAE.setup_anndata": "normalize",
    "SiVAE.rotate": "kind",
    "tl.read_gmt": "path",
}
"""Arguments that are words; each is tried in the tables of its subject too."""


def kind_of(parameter):
    plain = str(parameter.annotation).strip("\"'")
    return "str" if plain.startswith("Literal[") else plain.removesuffix(" | None")


def arguments():
    for name, function in CALLABLES.items():
        for parameter in inspect.signature(function).parameters.values():
            if kind_of(parameter) in WRONG:
                yield f"{name}.{parameter.name}"


ARGUMENTS = list(arguments())


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """What each function is called with, made once: what is refused must leave it as it was."""
    made = {}

    def world(door):
        if door not in made:
            made[door] = World(tmp_path_factory.mktemp("world"))
        return made[door]

    return world


def test_every_public_callable_is_called_here():
    assert set(CALLS) == set(CALLABLES)


def test_every_public_callable_has_an_argument_of_the_wrong_kind():
    tried = {name.rsplit(".", 1)[0] for name in ARGUMENTS}
    assert set(CALLABLES) - tried == NO_ARGUMENTS, set(CALLABLES) - tried


@pytest.mark.slow
@pytest.mark.parametrize("door", CALLS)
def test_every_door_opens_when_called_as_it_should_be(door, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    function, given = CALLS[door](World(tmp_path))
    function(**given)
    plt.close("all")


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_what_is_of_the_wrong_kind_is_refused(worlds, argument):
    door, name = argument.rsplit(".", 1)
    world = worlds(door)
    kind = kind_of(inspect.signature(CALLABLES[door]).parameters[name])
    function, given = CALLS[door](world)
    before = files(world.folder), [fingerprint(value) for value in given.values() if isinstance(value, ad.AnnData)]
    for value in WRONG[kind]:
        with pytest.raises(SiVAEError) as caught:
            function(**(given | {name: value}))
        said = str(caught.value)
        assert type(caught.value) in (SetupError, OptionError), said
        assert "xpected" in said, said
        assert len(said) < 1000 and said.isprintable(), said
        assert kind == "AnnData" or name in said or "covariate" in said or "columns of obs" in said, said
    after = files(world.folder), [fingerprint(value) for value in given.values() if isinstance(value, ad.AnnData)]
    assert before == after
    plt.close("all")
