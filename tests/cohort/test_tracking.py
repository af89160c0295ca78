"""Genes whose mean expression goes with a phenotype, against SciPy."""

import numpy as np
import pytest
from individuals import made_samples
from scipy.stats import spearmanr

from sivae._errors import OptionError, SetupError
from sivae.cohort._tracking import expression_tracking


@pytest.fixture
def samples():
    return made_samples()


def test_expression_that_tracks_the_phenotype_is_found(samples):
    found = expression_tracking(samples, "severity")
    p = [spearmanr(column, samples.obs["severity"]).pvalue for column in samples.layers["mean_expression"].T]
    assert found == [name for name, value in zip(samples.var_names, p, strict=True) if value < 0.05 / 60]
    assert set(samples.var_names[5:10]) >= set(found) and len(found) >= 3
    assert expression_tracking(samples, "severity", alpha=0.999999) == list(samples.var_names)
    loose = expression_tracking(samples, "phenotype", alpha=0.05)
    case = (samples.obs["phenotype"] == "case").to_numpy()
    p = [spearmanr(column, case).pvalue for column in samples.layers["mean_expression"].T]
    assert loose == [name for name, value in zip(samples.var_names, p, strict=True) if value < 0.05]
    samples.layers["mean_expression"][:, 7] = 1.0  # constant: tracks nothing
    samples.layers["mean_expression"][2, 6] = np.nan
    assert not {"gene006", "gene007"} & set(expression_tracking(samples, "severity", alpha=0.999999))


def test_errors_of_expression_tracking(samples):
    with pytest.raises(OptionError, match="alpha is 2; expected a number between 0 and 1"):
        expression_tracking(samples, "severity", alpha=2)
    del samples.layers["mean_expression"]
    with pytest.raises(SetupError, match="layers has no 'mean_expression'"):
        expression_tracking(samples, "severity")
