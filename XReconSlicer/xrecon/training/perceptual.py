"""Perceptual distance of two volumes: features of axial, coronal and sagittal slices, squared difference.

Source: Ge et al. (X-CTRSNet), section 2.1.3 (multi-view VGG loss); Johnson et al., ECCV 2016. Two kinds of
features:

    filter-bank   no weights: rectified and pooled responses of derivative filters in eight directions at
                  three scales, a model of early vision. A stand-in, not the paper's loss.
    vgg16         relu2_2 and relu3_3 of VGG16 trained on ImageNet, from a file that the user has.

Nothing is downloaded. VGG16's weights are torchvision's file `vgg16-397923af.pth`, whose name holds the
first digits of its SHA-256.
"""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from xrecon.volume import InputError

VGG16_SHA256 = "397923af"  # the start of it, as the name of torchvision's file has it
_VGG_BLOCKS = ((64, 64), (128, 128), (256, 256, 256))
_IMAGENET_MEAN, _IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SCALES = 3


class FilterBank(nn.Module):
    """Slices (n, 1, rows, columns) -> maps of `SCALES` scales, eight channels each.

    At each scale a Sobel filter (unit response to a unit slope per pixel) gives two slopes; their
    projections onto eight directions are rectified and averaged over 2x2 pixels.
    """

    def __init__(self) -> None:
        super().__init__()
        sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8.0
        self.register_buffer("slopes", torch.stack([sobel, sobel.T])[:, None], persistent=False)
        angles = torch.arange(8) * (torch.pi / 4)
        directions = torch.stack([angles.cos(), angles.sin()], dim=1)[:, :, None, None]
        self.register_buffer("directions", directions, persistent=False)

    def forward(self, slices: torch.Tensor) -> list[torch.Tensor]:
        maps = []
        for _ in range(SCALES):
            padded = F.pad(slices, (1, 1, 1, 1), mode="replicate")
            slopes = F.conv2d(padded, self.slopes.to(slices.dtype))
            responses = F.relu(F.conv2d(slopes, self.directions.to(slices.dtype)))
            maps.append(F.avg_pool2d(responses, 2, ceil_mode=True))
            slices = F.avg_pool2d(slices, 2, ceil_mode=True)
        return maps


class VGG16Features(nn.Module):
    """Slices (n, 1, rows, columns) in [0, 1] -> relu2_2 and relu3_3 of VGG16 (Simonyan, Zisserman, 2014).

    Raises InputError when the file is missing, its SHA-256 does not start with `sha256`, or it holds
    other weights.
    """

    def __init__(self, weights: str | Path, sha256: str = VGG16_SHA256) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for number, block in enumerate(_VGG_BLOCKS):
            if number:
                layers.append(nn.MaxPool2d(2))
            for outputs in block:
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
                inputs = outputs
        self.features = nn.Sequential(*layers)
        self._load(Path(weights), sha256)
        self.requires_grad_(False)
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer(
            "deviation", torch.tensor(_IMAGENET_DEVIATION).view(1, 3, 1, 1), persistent=False
        )

    def _load(self, path: Path, sha256: str) -> None:
        if not path.is_file():
            raise InputError(f"expected the weights of VGG16 (vgg16-397923af.pth), found no file {path}")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if not digest.startswith(sha256.lower()):
            raise InputError(f"expected VGG16 weights with a sha256 of {sha256}..., got {digest} of {path}")
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            own = {name: state[name] for name in self.state_dict()}
            self.load_state_dict(own)
        except (pickle.UnpicklingError, KeyError, RuntimeError, TypeError) as error:
            raise InputError(f"the weights {path} do not fit VGG16: {error}") from error

    def forward(self, slices: torch.Tensor) -> list[torch.Tensor]:
        state = (slices.expand(-1, 3, -1, -1) - self.mean) / self.deviation
        maps = []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                maps.append(state)
            state = layer(state)
        return [maps[1], state]  # relu1_2 is left out


class PerceptualLoss(nn.Module):
    """Mean squared difference of the features of slices along z, y and x: equation 10, averaged.

    features: `FilterBank()` or `VGG16Features(...)`. slices: how many of each axis are drawn at a call
    (0: all); all when no generator is given.
    """

    def __init__(self, features: nn.Module, slices: int = 8) -> None:
        super().__init__()
        self.features, self.slices = features, slices

    def forward(
        self, prediction: torch.Tensor, target: torch.Tensor, rng: np.random.Generator | None = None
    ) -> torch.Tensor:
        """Scalar; volumes (b, 1, z, y, x) of one shape."""
        if prediction.shape != target.shape:
            raise InputError(
                f"expected a prediction of the target's shape {tuple(target.shape)}, "
                f"got {tuple(prediction.shape)}"
            )
        costs = []
        for axis in (2, 3, 4):
            chosen = self._chosen(prediction.shape[axis], rng)
            pair = [_slices(v, axis, chosen) for v in (prediction, target)]
            with torch.no_grad():
                wanted = self.features(pair[1])
            found = self.features(pair[0])
            costs.append(torch.stack([F.mse_loss(a, b) for a, b in zip(found, wanted, strict=True)]).mean())
        return torch.stack(costs).mean()

    def _chosen(self, count: int, rng: np.random.Generator | None) -> list[int]:
        if rng is None or not 0 < self.slices < count:
            return list(range(count))
        return sorted(rng.choice(count, self.slices, replace=False).tolist())


def _slices(volume: torch.Tensor, axis: int, chosen: list[int]) -> torch.Tensor:
    """(b, 1, z, y, x) -> (b * chosen, 1, rows, columns)."""
    index = torch.tensor(chosen, device=volume.device)
    picked = volume.index_select(axis, index).movedim(axis, 1)
    return picked.flatten(0, 1)
