"""lungmask's U-Net, so that weights made for it can be loaded from a file the user has.

Architecture: Hofmanninger et al., Eur Radiol Exp 2020;4:50, as published with lungmask 0.2.22
(https://github.com/JoHof/lungmask, Apache-2.0). The names of the parameters are those of its files. Written
anew; on equal weights the outputs are equal. The files also hold residual branches that are not used.

The weights are not part of XRecon and are never downloaded. lungmask's code is under Apache-2.0; the terms of
the weights and of the data they were trained on are for the user to check.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from xrecon.nets.lungmask_published import PUBLISHED, RELEASE, TERMS, Published
from xrecon.volume import InputError

UNUSED = "residual_"
# Sides by class: R231 gives right and left lung; LTRCLobes gives the lobes LUL, LLL, RUL, RML, RLL.
SIDES_OF_CLASSES = {3: (0, 1, 2), 6: (0, 2, 2, 1, 1, 1)}


class _Block(nn.Module):
    """Twice a 3 x 3 convolution, ReLU, batch normalization."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for inputs in (channels, width):
            parts += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(width)]
        self.block = nn.Sequential(*parts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(x)


class _Up(nn.Module):
    """Twice the size, half the channels, then a block on this and the bridge."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.up = nn.Sequential(nn.Upsample(mode="bilinear", scale_factor=2), nn.Conv2d(channels, width, 1))
        self.conv_block = _Block(channels, width)

    def forward(self, x: torch.Tensor, bridge: torch.Tensor) -> torch.Tensor:
        return self.conv_block(torch.cat([self.up(x), bridge], dim=1))


class LungmaskUNet(nn.Module):
    """(b, 1, rows, columns) of (HU + 1024) / 1624 clipped to [0, 1] -> logits (b, classes, rows, columns).

    rows and columns must be multiples of 2^(depth - 1). lungmask has depth 5, width 64, 256 x 256 pixels.
    """

    def __init__(self, classes: int = 3, depth: int = 5, width: int = 64) -> None:
        super().__init__()
        widths = [width << level for level in range(depth)]
        self.down_path = nn.ModuleList(_Block(a, b) for a, b in zip([1, *widths], widths, strict=False))
        self.up_path = nn.ModuleList(_Up(2 * w, w) for w in reversed(widths[:-1]))
        self.last = nn.Conv2d(width, classes, 1)

    def forward(self, slices: torch.Tensor) -> torch.Tensor:
        x, bridges = slices, []
        for level, down in enumerate(self.down_path):
            x = down(functional.avg_pool2d(x, 2) if level else x)
            bridges.append(x)
        for up, bridge in zip(self.up_path, reversed(bridges[:-1]), strict=True):
            x = up(x, bridge)
        return self.last(x)


@dataclass(frozen=True, eq=False)
class LungmaskWeights:
    """A network in eval mode and its file. published: which of lungmask's files it is, if any."""

    network: LungmaskUNet
    name: str
    sha256: str
    classes: int
    published: Published | None

    @property
    def note(self) -> str:
        """One sentence on file and licence."""
        known = "not one of lungmask's published files"
        if self.published:
            whole = len(self.published.sha256) == len(self.sha256)
            known = f"as published by {'checksum' if whole else 'the first eight digits of the checksum'}"
        return f"Lungs by {self.name} on lungmask's network ({known}, SHA256 {self.sha256}). {TERMS}"


def find_lungmask(model: str | Path) -> Path | None:
    """The file for a path that ends in .pth, or for the name of a published model in torch's hub cache.

    The cache is where the `lungmask` package puts what it downloads. None when `model` is neither. Raises
    InputError when the file is not there, telling where it can be had.
    """
    by_name = {p.name.lower(): p for p in PUBLISHED}
    wanted = by_name.get(str(model).lower())
    if wanted is None and Path(model).suffix != ".pth":
        return None
    path = Path(torch.hub.get_dir()) / "checkpoints" / wanted.file if wanted else Path(model)
    if not path.is_file():
        where = f"; XRecon downloads no weights: take {wanted.file} from {RELEASE}" if wanted else ""
        raise InputError(f"expected lungmask's weights in {path}, found no file{where}")
    return path


def load_lungmask(path: str | Path, device: str = "cpu") -> LungmaskWeights:
    """lungmask's network with the weights of a file; depth, width and classes are read from the file.

    Raises InputError when the file cannot be read as plain weights, does not fit, has another number of
    classes than 3 or 6, or bears the name of a published file and not its checksum.
    """
    path = Path(path)
    digest = _sha256(path)
    known = next((p for p in PUBLISHED if digest.startswith(p.sha256)), None)
    named = next((p for p in PUBLISHED if p.file == path.name), None)
    if named is not None and known is not named:
        raise InputError(
            f"expected {named.file} with SHA256 {named.sha256}{'' if len(named.sha256) == 64 else '...'}, "
            f"got {digest}: the file is damaged or was exchanged"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network = _network_for(state)
    except Exception as error:  # torch and pickle raise unrelated types here
        raise InputError(f"expected weights of lungmask's U-Net in {path}: {error}") from error
    classes = network.last.out_channels
    if classes not in SIDES_OF_CLASSES:
        raise InputError(f"expected 3 classes (lungs) or 6 (lobes) in {path}, got {classes}")
    name = f"lungmask {known.name}" if known else path.stem
    return LungmaskWeights(network.to(device).eval(), name, digest, classes, known)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _network_for(state: Mapping[str, torch.Tensor]) -> LungmaskUNet:
    """The network whose sizes a state dict tells, with its weights."""
    used = dict(_used(state))
    depth = 1 + max(int(name.split(".")[1]) for name in used if name.startswith("down_path."))
    classes, width = used["last.weight"].shape[:2]
    network = LungmaskUNet(classes, depth, width)
    network.load_state_dict(used)
    return network


def _used(state: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in state.items():
        if not any(part.startswith(UNUSED) for part in name.split(".")):
            yield name, value.float() if value.is_floating_point() else value
