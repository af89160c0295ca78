"""The training loop, on accelerate."""

import warnings

with warnings.catch_warnings():
    # In a notebook without ipywidgets bars are drawn in letters; that is no news for who trains without one.
    warnings.simplefilter("ignore")
    import tqdm.auto  # noqa: F401
