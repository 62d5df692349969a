"""Losses of reconstruction and segmentation together: classes, their consistency (RSC learning), air.

Source: Ge et al. (X-CTRSNet), sections 2.2.2 and 2.3; the loss of air is our own. Logits (b, classes, z, y,
x), labels (b, z, y, x) with the class of each voxel, 0 background.
"""

from __future__ import annotations

import torch
from torch import nn

from xrecon.training.labels import FIRST_AIR

# Keeps the quotient defined where neither segmentation has a class.
TINY = 1e-5
# A ray that runs through less air than this shows none.
SHADOW_MM = 5.0


class ClassLoss(nn.Module):
    """1 - Dice (mean of the classes but background, over the batch) + cross-entropy, from MONAI.

    The paper has Dice alone; the cross-entropy gives classes that are not found yet a slope.
    """

    def __init__(self) -> None:
        super().__init__()
        from monai.losses import DiceCELoss

        self.criterion = DiceCELoss(softmax=True, to_onehot_y=True, include_background=False, batch=True)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self.criterion(_wide(logits), labels.unsqueeze(1))


class AirLoss(nn.Module):
    """1 - Dice (over the batch, so that samples without air need none) + cross-entropy, from MONAI, of
    pleural air in the volume; the same of its shadow in the pictures is added.

    The shadow is where a ray runs through air for a while: there the network can see it, before it
    knows where along the ray it is.
    """

    def __init__(self) -> None:
        super().__init__()
        from monai.losses import DiceCELoss

        self.criterion = DiceCELoss(sigmoid=True, batch=True)

    def forward(
        self,
        logits: torch.Tensor,
        labels: torch.Tensor,
        shadow: torch.Tensor | None = None,
        air_mm: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """logits (b, 1, z, y, x), labels "lungs and air" (b, z, y, x), shadow: logits (b, view, rows,
        columns), air_mm: path through air, (b, view, rows, columns) at a multiple of that resolution."""
        loss = self.criterion(_wide(logits), (labels >= FIRST_AIR).unsqueeze(1).to(torch.float32))
        return loss if shadow is None or air_mm is None else loss + self.of_shadow(shadow, air_mm)

    def of_shadow(self, shadow: torch.Tensor, air_mm: torch.Tensor) -> torch.Tensor:
        """The part of the shadow alone; arguments as of the whole."""
        path = nn.functional.adaptive_avg_pool2d(air_mm, shadow.shape[2:]).flatten(0, 1)
        seen = (path > SHADOW_MM).to(torch.float32)
        return self.criterion(_wide(shadow).flatten(0, 1).unsqueeze(1), seen.unsqueeze(1))


def segmentation_divergence(logits: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """1 - Dice of two segmentations, mean over the classes but background; 0 where both are alike.

    With squares in the denominator (Milletari et al., V-Net), so that it is zero for equal soft
    segmentations too, not for equal hard ones alone.
    """
    first, second = (_wide(each).softmax(dim=1)[:, 1:] for each in (logits, other))
    axes = (0, 2, 3, 4)
    both = 2 * (first * second).sum(dim=axes) + TINY
    return (1 - both / (first.square().sum(dim=axes) + second.square().sum(dim=axes) + TINY)).mean()


def _wide(logits: torch.Tensor) -> torch.Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


class ConsistencyLoss(nn.Module):
    """RSC learning: the segmentation of the true CT against the labels, plus the divergence between the
    segmentations of the reconstruction and of the true CT.

    Equation 16 adds Dice where it must add 1 - Dice: as printed, training would drive the segmentations
    apart. detached: the second term changes the reconstruction only, not what is found in the true CT.
    """

    def __init__(self) -> None:
        super().__init__()
        self.criterion = ClassLoss()

    def forward(
        self, logits: torch.Tensor, reference: torch.Tensor, labels: torch.Tensor, detached: bool = False
    ) -> torch.Tensor:
        held = reference.detach() if detached else reference
        return self.criterion(reference, labels) + segmentation_divergence(logits, held)
