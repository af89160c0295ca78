"""The training loop, on accelerate."""

from sivae.train import _bar

_ = _bar  # before accelerate, which imports tqdm with a warning in notebooks
