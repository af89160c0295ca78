"""What attribution methods say of a trained network: which genes drive an axis, and which axes drive a gene.

For outputs y and inputs x of a network, and a reference x' where the method has one, entry (c, o, i) is

    gradient               dy_o / dx_i
    saliency               its absolute value; Simonyan et al. 2013, arXiv 1312.6034
    gradient_x_input       x_i dy_o / dx_i; Shrikumar et al. 2016, arXiv 1605.01713
    integrated_gradients   (x_i - x'_i) times the mean of dy_o / dx_i on the straight way from x' to x; Sundararajan et
                           al. 2017, PMLR 70:3319
    deeplift               Rescale rule, difference quotients for derivatives; Shrikumar et al. 2017, PMLR 70:3145
    shapley                mean change of y_o as x_i joins in random order, sampled; Castro et al. 2009, Comput. Oper.
                           Res. 36:1726
    occlusion              y_o(x) - y_o(x with x'_i in place of x_i); Zeiler, Fergus 2013, arXiv 1311.2901
    lrp                    epsilon rule in the limit of a small epsilon; Bach et al. 2015, PLoS ONE 10:e0130140

The epsilon rule of a network of ReLUs is gradient x input (Ancona et al., ICLR 2018, arXiv 1711.06104); a layer norm is
passed with its divisor held. DeepLIFT, Shapley values and occlusion are captum's; the others need derivatives alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sivae._checks import whole_number
from sivae._errors import OptionError
from sivae._extras import require
from sivae._rng import torch_generator
from sivae.data._expression import Expression
from sivae.model._linear import LinearPart
from sivae.model._networks import DecoderNetwork, EncoderNetwork, HeldNorm, RescaledNorm
from sivae.model._predict import GeneTable, encode
from sivae.nn._two_towers import TwoTowers

Array = NDArray[np.float32]
Side: TypeAlias = Literal["encoder", "decoder"]
Method: TypeAlias = Literal[
    "gradient", "saliency", "gradient_x_input", "integrated_gradients", "deeplift", "shapley", "occlusion", "lrp"
]
Baseline: TypeAlias = Literal["auto", "zero", "minimum"]
SIDES: Final = ("encoder", "decoder")
METHODS: Final = (
    "gradient", "saliency", "gradient_x_input", "integrated_gradients", "deeplift", "shapley", "occlusion", "lrp",
)  # fmt: skip
BASELINES: Final = ("auto", "zero", "minimum")
CELLS: Final = 256
"""Cells at a time."""
ENTRIES: Final = 2**24
"""Numbers of an array cells x axes x genes at a time."""


@final
@dataclass(frozen=True)
class Options:
    """How to attribute: method, reference, and the numbers of steps and of random orders."""

    method: Method
    baseline: Baseline = "auto"
    n_steps: int = 100
    n_permutations: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, known in (("method", self.method, METHODS), ("baseline", self.baseline, BASELINES)):
            if not isinstance(value, str) or value not in known:
                raise OptionError(f"{name} is {value!r}; expected one of: {', '.join(known)}.")
        for name, number in (("n_steps", self.n_steps), ("n_permutations", self.n_permutations)):
            whole_number(name, number, least=1, hint="Leave it out to take the default.")

    @property
    def derivative(self) -> bool:
        """Whether the method is a derivative, not a share of a difference."""
        return self.method in ("gradient", "saliency")

    @property
    def needs_captum(self) -> bool:
        """Whether the method is captum's."""
        return self.method in ("deeplift", "shapley", "occlusion")

    @property
    def compares(self) -> bool:
        """Whether the method compares with a reference."""
        return self.needs_captum or self.method == "integrated_gradients"

    def lowest(self, side: Side) -> bool:
        """Whether the reference is the lowest value of each input, as in the paper for the encoder; else zero."""
        if self.baseline == "auto":
            return side == "encoder" and self.method != "shapley"
        return self.baseline == "minimum"


# ---------------------------------------------------------------------------------------------------- any network


def attribute(
    net: nn.Module, x_ci: Tensor, design_cb: Tensor, outputs: range, reference_i: Tensor, how: Options
) -> Tensor:
    """Attributions of some outputs of a network to its inputs, (cells, outputs, inputs).

    `net(x_ci, design_cb)` gives (cells, every output). Nothing is kept on the network, and no global random state used.
    """
    x_ci = x_ci.detach()
    reference_ci = reference_i.expand_as(x_ci).contiguous()
    if how.method in ("shapley", "occlusion"):
        return _by_removal(net, x_ci, design_cb, outputs, reference_ci, how)
    if how.method == "deeplift":
        return _by_rescaling(net, x_ci, design_cb, outputs, reference_ci)
    if how.method == "integrated_gradients":
        slope_coi = _mean_slope(net, x_ci, design_cb, outputs, reference_ci, how.n_steps)
        return slope_coi * (x_ci - reference_ci)[:, None, :]
    slope_coi = jacobian(net, x_ci, design_cb, outputs)
    if how.derivative:
        return slope_coi
    return slope_coi * x_ci[:, None, :]


def jacobian(
    net: nn.Module,
    x_ci: Tensor,
    design_cb: Tensor,
    outputs: range,
    *,
    mode: Literal["auto", "forward", "reverse"] = "auto",
) -> Tensor:
    """Derivatives of some outputs by the inputs, (cells, outputs, inputs).

    Forward mode takes one pass per input and reverse mode one per output; "auto" takes the fewer. Both give the same.
    """
    if mode == "auto":
        mode = "forward" if x_ci.shape[1] < len(outputs) else "reverse"
    if mode == "reverse":
        x_ci = x_ci.detach().requires_grad_()
        y_co = net(x_ci, design_cb)
        rows = [torch.autograd.grad(y_co[:, o].sum(), x_ci, retain_graph=True)[0] for o in outputs]
        return torch.stack(rows, dim=1)
    with torch.no_grad():
        columns = []
        for i in range(x_ci.shape[1]):
            along_ci = torch.zeros_like(x_ci)
            along_ci[:, i] = 1.0
            columns.append(torch.func.jvp(lambda x: net(x, design_cb), (x_ci,), (along_ci,))[1])
    return torch.stack(columns, dim=2)[:, outputs.start : outputs.stop]


def _mean_slope(
    net: nn.Module, x_ci: Tensor, design_cb: Tensor, outputs: range, reference_ci: Tensor, n_steps: int
) -> Tensor:
    """Mean of the derivatives on the straight way from the reference, at Gauss-Legendre points, (c, o, i)."""
    points, weights = np.polynomial.legendre.leggauss(n_steps)
    total = x_ci.new_zeros((len(x_ci), len(outputs), x_ci.shape[1]))
    for point, weight in zip((1 + points) / 2, weights / 2, strict=True):
        total += float(weight) * jacobian(net, reference_ci + float(point) * (x_ci - reference_ci), design_cb, outputs)
    return total


def _by_rescaling(net: nn.Module, x_ci: Tensor, design_cb: Tensor, outputs: range, reference_ci: Tensor) -> Tensor:
    """DeepLIFT by the Rescale rule, one output after the other."""
    captum: Any = require("captum.attr", extra="attribution")
    tool, found = captum.DeepLift(net), []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting forward, backward hooks", UserWarning)
        for output in outputs:
            share_ci = tool.attribute(
                x_ci.clone().requires_grad_(), reference_ci, target=output, additional_forward_args=(design_cb,)
            )
            found.append(share_ci.detach())
    return torch.stack(found, dim=1)


def _by_removal(
    net: nn.Module, x_ci: Tensor, design_cb: Tensor, outputs: range, reference_ci: Tensor, how: Options
) -> Tensor:
    """Shapley values by sampling, or occlusion: every output in one go."""
    captum: Any = require("captum.attr", extra="attribution")

    def some_outputs(x: Tensor, design: Tensor) -> Tensor:
        y: Tensor = net(x, design)[:, outputs.start : outputs.stop]
        return y

    options: dict[str, Any] = {"baselines": reference_ci, "additional_forward_args": (design_cb,)}
    if how.method == "shapley":
        tool = captum.ShapleyValueSampling(some_outputs)
        generator = torch_generator(how.seed, "attribution")
        tool.permutation_generator = lambda features, samples: (
            torch.randperm(features, generator=generator).tolist() for _ in range(samples)
        )
        found = tool.attribute(x_ci, n_samples=how.n_permutations, **options)
    else:
        found = captum.FeatureAblation(some_outputs).attribute(x_ci, **options)
    return found.reshape(len(x_ci), len(outputs), x_ci.shape[1]).to(x_ci.dtype)  # type: ignore[no-any-return]


# ------------------------------------------------------------------------------------------------ a trained model


def of_model(
    module: TwoTowers,
    expression: Expression,
    rotation_kk: NDArray[np.float64],
    how: Options,
    *,
    side: Side,
    table: GeneTable,
    linear: LinearPart,
) -> Iterator[tuple[int, Array]]:
    """For each axis in turn, attributions in cells to or of genes, (cells, genes)."""
    if how.needs_captum:
        require("captum.attr", extra="attribution")  # now, not when the first axis is asked for
    if side == "encoder":
        return encoder_attributions(module, expression, rotation_kk, how)
    return decoder_attributions(module, expression, rotation_kk, how, table=table, linear=linear)


def encoder_attributions(
    module: TwoTowers, expression: Expression, rotation_kk: NDArray[np.float64], how: Options
) -> Iterator[tuple[int, Array]]:
    """For each axis in turn, the attribution of the cell's coordinate to each gene, (cells, genes)."""
    n, g = expression.shape
    k, device = len(rotation_kk), module.bias_g.device
    norm: type[nn.LayerNorm] = {"lrp": HeldNorm, "deeplift": RescaledNorm}.get(how.method, nn.LayerNorm)
    net = EncoderNetwork(module, _like(rotation_kk, module), norm).eval()
    reference_g = torch.from_numpy(_reference(expression, "encoder", how)).to(device)
    together = max(1, ENTRIES // (n * g)) if how.method in ("shapley", "occlusion") else 1
    for first in range(0, k, together):
        axes = range(first, min(first + together, k))
        found_cag = np.empty((n, len(axes), g), np.float32)
        for start in range(0, n, CELLS):
            cells = slice(start, start + CELLS)
            x_cg = torch.from_numpy(expression.standardised(cells)).to(device)
            design_cb = torch.from_numpy(expression.design_nb[cells]).to(device)
            found_cag[cells] = attribute(net, x_cg, design_cb, axes, reference_g, how).cpu().numpy()
        for at, axis in enumerate(axes):
            found_cg = found_cag[:, at]
            yield axis, np.abs(found_cg) if how.method == "saliency" else found_cg


def _like(rotation_kk: NDArray[np.float64], module: TwoTowers) -> Tensor:
    """The rotation where the module is and as precise."""
    return torch.from_numpy(rotation_kk).to(module.bias_g.dtype).to(module.bias_g.device)


def _reference(expression: Expression, side: Side, how: Options) -> Array:
    """Reference of each gene on the standardised scale: its lowest value over the cells, or zero, its mean."""
    lowest_g = np.zeros(expression.shape[1], np.float32)
    if how.lowest(side):
        lowest_g[:] = np.inf
        for x_cg in expression.row_blocks(CELLS):
            np.minimum(lowest_g, x_cg.min(axis=0), out=lowest_g)
    return lowest_g


def decoder_attributions(
    module: TwoTowers,
    expression: Expression,
    rotation_kk: NDArray[np.float64],
    how: Options,
    *,
    table: GeneTable,
    linear: LinearPart,
) -> Iterator[tuple[int, Array]]:
    """For each axis in turn, the attribution of each gene's predictor to the cell's coordinate, (cells, genes).

    The predictor over its scale, (eta - constant) / s = gain (z . v + h . w), is linear in z and in the joint layer, so
    that every method passes to all genes at once from its attributions T of h, (cells, d, k):

        A_cgk = gain_cg (L_ck v_gk + sum_d (T_cdk - L_ck C_kd) w_gd),   L_ck = 1 (derivatives) or z_ck - z'_ck

    with v and w of the unique linear part h = a + z C + ... (`_linear.py`). No method meets the genes one by one.
    """
    z_nk = (encode(module, expression)[0] @ rotation_kk).astype(np.float32)
    design_nb = expression.design_nb
    turn_kk = module.used_k.cpu().numpy()[:, None] * rotation_kk
    reference_k = z_nk.min(axis=0) if how.lowest("decoder") else np.zeros(z_nk.shape[1], np.float32)
    joint_ndk = _joint_attributions(module, z_nk, design_nb, rotation_kk, reference_k, how)
    direct_nk = np.ones_like(z_nk) if how.derivative else z_nk
    if how.compares:
        direct_nk = z_nk - reference_k
    if linear.published:  # the joint layer is [y, z]
        joint_ndk = np.concatenate([joint_ndk, direct_nk[:, None, :] * turn_kk], axis=1)
    else:
        joint_ndk = joint_ndk - direct_nk[:, None, :] * (turn_kk.T @ linear.slope_kd).T
    v_gk = table.loading_gk @ turn_kk
    for axis in range(z_nk.shape[1]):
        found_cg = np.outer(direct_nk[:, axis], v_gk[:, axis]) + joint_ndk[:, :, axis] @ table.joint_gd.T
        if design_nb.shape[1]:
            found_cg *= np.exp(design_nb @ table.log_gain_gb.T)
        yield axis, (np.abs(found_cg) if how.method == "saliency" else found_cg).astype(np.float32)


def _joint_attributions(
    module: TwoTowers,
    z_nk: Array,
    design_nb: Array,
    rotation_kk: NDArray[np.float64],
    reference_k: Array,
    how: Options,
) -> NDArray[np.float64]:
    """Attributions of the joint layer to the coordinates, (cells, d, k)."""
    device = module.bias_g.device
    net = DecoderNetwork(module, _like(rotation_kk, module)).eval()
    outputs, reference = range(module.n_joint), torch.from_numpy(reference_k).to(device)
    parts = []
    for start in range(0, len(z_nk), CELLS):
        z_ck, design_cb = (torch.from_numpy(a[start : start + CELLS]).to(device) for a in (z_nk, design_nb))
        parts.append(attribute(net, z_ck, design_cb, outputs, reference, how).double().cpu().numpy())
    return np.concatenate(parts)
