"""Feature awareness, against residuals formed one by one."""

import numpy as np
import pytest

from sivae.graph._awareness import Layer, awareness


def in_blocks(x, size):
    return ((slice(a, min(a + size, len(x))), x[a : a + size].copy()) for a in range(0, len(x), size))


def slow(x, layer, design, group, m):
    """x^2 - (x - s f')^2 after regression on an intercept and the design, averaged over the cells of a group."""
    columns = np.column_stack([np.ones(len(x)), design])

    def rest(values):
        return values - columns @ np.linalg.lstsq(columns, values, rcond=None)[0]

    x, s = rest(x), rest(layer.cells_nk)
    entry = x**2 - (x - s @ layer.loadings_gk.T) ** 2
    return entry[group == m].mean(axis=0), (x[group == m] ** 2).mean(axis=0)


@pytest.mark.parametrize("n_design", [0, 3])
def test_it_is_what_residuals_say(rng, n_design):
    n, g = 90, 7
    group, design = np.arange(n) % 4 - 1, rng.normal(size=(n, n_design))  # -1 is in no group
    x = rng.normal(size=(n, g)) + design @ rng.normal(size=(n_design, g)) + 2.0
    layers = {
        "one": Layer(rng.normal(size=(n, 2)) + 1.0, rng.normal(size=(g, 2))),
        "two": Layer(rng.normal(size=(n, 5)), rng.normal(size=(g, 5))),
    }
    found, variance = awareness(in_blocks(x, 20), layers, design, group_n=group, n_groups=3)
    for name, layer in layers.items():
        for m in range(3):
            expected, of_values = slow(x, layer, design, group, m)
            np.testing.assert_allclose(found[name][m], expected, atol=1e-10)
            np.testing.assert_allclose(variance[m], of_values)


def test_blocks_do_not_matter_and_an_empty_group_is_nan(rng):
    x, group = rng.normal(size=(50, 4)), np.zeros(50, int)
    layers = {"one": Layer(rng.normal(size=(50, 2)), rng.normal(size=(4, 2)))}
    one, two = (
        awareness(in_blocks(x, size), layers, np.zeros((50, 0)), group_n=group, n_groups=2)[0]["one"]
        for size in (7, 50)
    )
    np.testing.assert_allclose(one, two)
    assert np.isnan(one[1]).all() and np.isfinite(one[0]).all()


def test_the_least_squares_layer_knows_its_genes_and_no_other(rng):
    z = rng.normal(size=(400, 2))
    x = np.column_stack([z @ [0.8, 0.1] + 0.4 * rng.normal(size=400), rng.normal(size=400)])
    slope = np.linalg.lstsq(z - z.mean(axis=0), x - x.mean(axis=0), rcond=None)[0].T
    layers = {"z": Layer(z, slope)}
    found, variance = awareness(in_blocks(x, 64), layers, np.zeros((400, 0)), group_n=np.zeros(400, int), n_groups=1)
    share = found["z"][0] / variance[0]
    assert share[0] > 0.7 and 0 <= share[1] < 0.02  # in sample a null gene gains k / n
