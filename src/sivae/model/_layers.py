"""Layers of the two decoders, by number: those before the last come after their ReLU, the last is the joint layer."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from sivae._checks import whole_number
from sivae._errors import OptionError
from sivae.model._arguments import check_profiles
from sivae.model._predict import BATCH
from sivae.nn._two_towers import TwoTowers

Array = NDArray[np.float32]
SIDES: Final = ("cells", "genes")


@torch.no_grad()
def widths(module: TwoTowers) -> dict[str, tuple[int, ...]]:
    """Widths of the layers of the decoder of the cells and of the genes; none where there is no gene tower."""
    like = module.bias_g
    z_1k, design_1b = like.new_zeros((1, len(module.used_k))), like.new_zeros((1, module.offset_gb.shape[1]))
    genes = module.feature_layers(z_1k) if module.embeds_genes else []
    return dict(zip(SIDES, (_widths(module.cell_layers(z_1k, design_1b)), _widths(genes)), strict=True))


def check_layer(module: TwoTowers, side: str, number: int) -> None:
    """Refuse a layer that is not there.

    Raises
    ------
    OptionError, CellMismatchError
        If there is no such layer, or the profiles that genes are encoded from are not there.
    """
    if side not in SIDES:
        raise OptionError(f"side is {side!r}; expected 'cells' or 'genes'. Choose one of these.")
    if side == "genes" and not module.embeds_genes:
        raise OptionError(
            "A plain VAE has no decoder of genes; expected a model with one. Ask for side='cells', or train with "
            "PublishedOptions(model='sivae') or recipe='default'."
        )
    there = widths(module)[side]
    if not 1 <= whole_number("layer", number, least=-(2**31)) <= len(there):
        raise OptionError(
            f"layer is {number}; expected 1 to {len(there)}: layers of the decoder of the {side} have widths {there}, "
            "the joint layer last. Name one of these."
        )
    if side == "genes":
        check_profiles(module, "A layer of the decoder of the genes")


@torch.no_grad()
def cell_layer(module: TwoTowers, z_nk: Array, design_nb: Array, number: int) -> Array:
    """A layer of the cell decoder at given positions on the axes of training, (n, .)."""
    device, parts = module.bias_g.device, []
    for start in range(0, len(z_nk), BATCH):
        z_ck, design_cb = (torch.from_numpy(a[start : start + BATCH]).to(device) for a in (z_nk, design_nb))
        parts.append(module.cell_layers(z_ck, design_cb)[number - 1].cpu().numpy())
    return np.concatenate(parts)


@torch.no_grad()
def gene_layer(module: TwoTowers, number: int) -> Array:
    """A layer of the feature decoder at the posterior means of the modelled genes, in the order of training, (g, .)."""
    v_gk = module.encode_features(module.profile_gq).mean_rk
    return np.asarray(module.feature_layers(v_gk)[number - 1].cpu().numpy())


def _widths(layers: list[torch.Tensor]) -> tuple[int, ...]:
    return tuple(layer.shape[1] for layer in layers)
