"""Losses of the papers on two volumes (b, 1, z, y, x): frequency, projections along the axes, edges.

All are zero for equal volumes and are computed in float32 or better, outside mixed precision. Their
weights live in `xrecon.training.config.LossConfig`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

# Under a root or a logarithm, so that the slope stays finite.
TINY = 1e-12
EDGE_FLOOR = 1e-6


def frequency_distance(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """log10(1 + D), D the root mean squares of the real and of the imaginary difference, added.

    Source: Tan et al. (EAR), equations 7 and 8. Changed: the transform is orthonormal, so that D does
    not grow with the volume, and 1 is added, since the printed logarithm has no lower bound.
    """
    with torch.autocast(prediction.device.type, enabled=False):
        difference = _wide(prediction) - _wide(target)
        spectrum = torch.fft.fftn(difference, dim=(2, 3, 4), norm="ortho")
        distance = _root_mean_square(spectrum.real) + _root_mean_square(spectrum.imag)
        return torch.log10(1.0 + distance)


def mip_distance(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of the maximum intensity projections along z, y and x.

    Source: Tan et al. (EAR), equation 9.
    """
    return _along_axes(_wide(prediction), _wide(target), lambda volume, axis: volume.amax(dim=axis))


def axis_projection_distance(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of the means along z, y and x: parallel projections.

    Source: Ying et al. (X2CT-GAN), section 3.2.3.
    """
    return _along_axes(_wide(prediction), _wide(target), lambda volume, axis: volume.mean(dim=axis))


def soft_edges(volume: torch.Tensor, threshold: float, width: float) -> torch.Tensor:
    """Edge map in [0, 1] of the surface at `threshold`, differentiable.

    The morphological gradient (largest less smallest of 3x3x3 neighbours) of an occupancy that rises over
    `width` about the threshold, both in the volume's units. The paper names no operator.
    """
    occupancy = torch.sigmoid((_wide(volume) - threshold) / width)
    return _largest(occupancy) + _largest(-occupancy)


def edge_distance(
    prediction: torch.Tensor,
    target: torch.Tensor,
    threshold: float,
    width: float,
    edge_logits: torch.Tensor | None = None,
) -> torch.Tensor:
    """Binary cross-entropy of the prediction's edge map against the target's, less the target's entropy.

    edge_logits: of a network's own edge map, at the volume's resolution or a coarser one; compared with
    the target's edges in the same way and added. Source: Tan et al. (EAR), equation 6. The entropy is
    taken off so that equal volumes cost nothing; gradients are those of the cross-entropy.
    """
    with torch.autocast(prediction.device.type, enabled=False):
        wanted = soft_edges(target, threshold, width)
        found = soft_edges(prediction, threshold, width).clamp(EDGE_FLOOR, 1 - EDGE_FLOOR)
        loss = F.binary_cross_entropy(found, wanted) - _entropy(wanted)
        if edge_logits is not None:
            # an edge anywhere in a coarser voxel is an edge of that voxel
            coarse = F.adaptive_max_pool3d(wanted, edge_logits.shape[2:])
            logits = _wide(edge_logits)
            loss = loss + F.binary_cross_entropy_with_logits(logits, coarse) - _entropy(coarse)
        return loss


def _wide(volume: torch.Tensor) -> torch.Tensor:
    return volume.to(torch.promote_types(volume.dtype, torch.float32))


def _root_mean_square(values: torch.Tensor) -> torch.Tensor:
    return (values.square().mean() + TINY).sqrt() - TINY**0.5


def _along_axes(
    prediction: torch.Tensor, target: torch.Tensor, project: Callable[[torch.Tensor, int], torch.Tensor]
) -> torch.Tensor:
    costs = [F.l1_loss(project(prediction, axis), project(target, axis)) for axis in (2, 3, 4)]
    return torch.stack(costs).mean()


def _largest(volume: torch.Tensor) -> torch.Tensor:
    # outside counts as the nearest voxel: the volume's border is no edge
    return F.max_pool3d(F.pad(volume, (1,) * 6, mode="replicate"), 3, stride=1)


def _entropy(probability: torch.Tensor) -> torch.Tensor:
    p = probability.detach().clamp(EDGE_FLOOR, 1 - EDGE_FLOOR)
    return F.binary_cross_entropy(p, probability.detach())
