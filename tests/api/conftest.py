"""What tests of bad input share."""

import matplotlib.pyplot as plt
import pytest
from doors import World


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield World(tmp_path)
    plt.close("all")
