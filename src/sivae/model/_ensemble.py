"""The same model from several seeds."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace

from sivae._errors import OptionError
from sivae.model._sivae import SiVAE


def ensemble(
    model: SiVAE, seeds: Sequence[int] = (0, 1, 2, 3, 4), *, train: Callable[[SiVAE], object] | None = None
) -> list[SiVAE]:
    """Train the same model from several seeds.

    Seeds differ in the start of the perceptrons, in blocks and in noise; which cells validate and the spectral start
    are the same, so the axes agree up to what training changed.

    Parameters
    ----------
    model
        A model with the options wanted, trained or not; it is left as it is.
    seeds
        One model for each, all different.
    train
        How to train one, for instance `lambda m: m.train(max_epochs=50)`; `m.train(progress=False)` if not given.

    Returns
    -------
    Trained models, in the order of the seeds. `sivae.tl.consensus` makes one gene embedding of theirs.

    Raises
    ------
    OptionError
        If there is no seed, or one is given twice.
    CellMismatchError
        If the model was loaded without its training AnnData.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(200, 40)
    >>> sivae.SiVAE.setup_anndata(adata)
    >>> template = sivae.SiVAE(adata, n_latent=2)
    >>> models = sivae.ensemble(template, [0, 1], train=lambda m: m.train(max_epochs=1, progress=False))
    >>> sivae.tl.consensus(adata, [m.get_feature_representation() for m in models])
    >>> "sivae_stability" in adata.var
    True
    """
    wanted = [int(seed) for seed in seeds]
    if not wanted or len(set(wanted)) < len(wanted):
        raise OptionError(f"Found seeds={wanted}, expected one or more, all different.")
    models = []
    for seed in wanted:
        member = copy.copy(model)
        member.options = replace(model.options, seed=seed)
        member._module = member._state = None
        if train is None:
            member.train(progress=False)
        else:
            train(member)
        models.append(member)
    return models
