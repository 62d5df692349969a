"""A frozen lung segmenter as a judge: what it sees in the reconstruction should be what it sees in the CT.

Source: few-view-inr-radiotherapy, section 2, whose printed formula compares the segmentation of the
prediction with itself; it is compared with that of the true CT here. Gradients pass through the
segmenter; its weights stay. It works on axial slices, a few drawn anew for each step, so that neither
a whole volume nor a whole 3D segmenter has to be kept for the gradient.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from xrecon.nets.card import SliceInput
from xrecon.nets.registry import load_model
from xrecon.preprocess.ct import AIR_HU, HU_WINDOW
from xrecon.volume import InputError

# Added to overlap and sizes: slices without lung agree when neither shows any. In pixels.
SMOOTH = 1.0


class SegmentationLoss(nn.Module):
    """1 - soft Dice of a frozen slice segmenter's classes but the first, on predicted and on true slices.

    model: a bundled model's name or a model folder. spacing_mm: pixels of the slices.
    Raises InputError for a model that does not segment slices.
    """

    def __init__(self, model: str | Path, spacing_mm: float, device: torch.device | str) -> None:
        super().__init__()
        self.segmenter, card = load_model(model, str(device))
        if not isinstance(card.input, SliceInput) or card.output.kind != "labels":
            raise InputError(f"expected a model that segments axial slices, got {card.name}")
        self.segmenter.requires_grad_(False)
        self.card, self.spacing_mm = card.input, spacing_mm

    def forward(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Slices (n, 1, y, x) in [0, 1] units of the HU window, centred on the field."""
        found = self.segmenter(self._prepared(prediction)).softmax(dim=1)[:, 1:]
        with torch.no_grad():
            wanted = self.segmenter(self._prepared(target)).softmax(dim=1)[:, 1:]
        axes = (0, 2, 3)
        overlap, sizes = (found * wanted).sum(axes), (found + wanted).sum(axes)
        return 1.0 - ((2.0 * overlap + SMOOTH) / (sizes + SMOOTH)).mean()

    def _prepared(self, slices: torch.Tensor) -> torch.Tensor:
        """On the segmenter's pixels and in its units; air beyond the field."""
        low, high = HU_WINDOW
        above_air = slices.float() * (high - low) + low - AIR_HU
        axes = [
            (torch.arange(n, device=slices.device) - (n - 1) / 2.0)
            * (2.0 * self.card.spacing_mm / (m * self.spacing_mm))
            for n, m in zip(self.card.shape, slices.shape[2:], strict=True)
        ]
        y, x = torch.meshgrid(*axes, indexing="ij")
        grid = torch.stack([x, y], dim=-1).expand(len(slices), -1, -1, -1)
        hu = functional.grid_sample(above_air, grid, align_corners=False) + AIR_HU
        first, last = self.card.hu_window
        return (hu.clamp(first, last) - first) / (last - first)
