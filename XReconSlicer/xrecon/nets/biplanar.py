"""Axes of networks that are made for a frontal and a left lateral radiograph, or for a frontal one alone.

They know no geometry: that a picture's columns run along x or y of the volume is built in. A picture
(rows to inferior; columns to the patient's left, or to posterior in a lateral) becomes a volume
(z to superior, y to posterior, x to the left) here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from xrecon.volume import InputError

FRONTAL, LATERAL = "frontal", "lateral"
# What a network of a fixed pair takes, in this order. A class says so as `view_sets`.
PAIR = ((FRONTAL, LATERAL),)
FRONTAL_OR_PAIR = ((FRONTAL,), (FRONTAL, LATERAL))

# Where each axis of (batch, channel, depth, row, column) lies in (batch, channel, z, y, x): the depth
# of a frontal view is y, that of a lateral view x.
_TO_VOLUME = {FRONTAL: (0, 1, 3, 2, 4), LATERAL: (0, 1, 3, 4, 2)}


def view_sets_text(view_sets: Sequence[Sequence[str]]) -> str:
    """ "frontal; or frontal + lateral" for messages."""
    return "; or ".join(" + ".join(views) for views in view_sets)


def require_views(views: int, view_sets: Sequence[Sequence[str]], name: str) -> tuple[str, ...]:
    """The view set of this many views. Raises InputError naming what the network can take."""
    for kinds in view_sets:
        if len(kinds) == views:
            return tuple(kinds)
    raise InputError(f"expected the views {view_sets_text(view_sets)} for {name}, got {views} views")


def require_side(side: int, multiple: int, smallest: int, name: str) -> None:
    """Raises InputError unless side is a multiple of `multiple` and at least `smallest`."""
    if side % multiple or side < smallest:
        raise InputError(
            f"expected side as a multiple of {multiple}, at least {smallest}, for {name}, got {side}"
        )


def halvings(side: int, bottom: int, name: str) -> int:
    """How often `side` halves down to `bottom`.

    Raises InputError unless side is `bottom` times a power of two, at least twice `bottom`.
    """
    count = (side // bottom).bit_length() - 1
    if count < 1 or bottom << count != side:
        raise InputError(
            f"expected side as {bottom} times a power of two, at least {2 * bottom}, for {name}, got {side}"
        )
    return count


def superior_pictures(pictures: torch.Tensor, side: int, kinds: Sequence[str]) -> list[torch.Tensor]:
    """Each view as (b, 1, side, side) with rows growing to superior.

    pictures: (b, view, rows, columns), rows to inferior, resampled antialiased when they are not
    side x side. Raises InputError for another number of views than `kinds` has.
    """
    if pictures.ndim != 4 or pictures.shape[1] != len(kinds):
        raise InputError(
            f"expected pictures (batch, {len(kinds)}, rows, columns) of {' + '.join(kinds)}, "
            f"got {tuple(pictures.shape)}"
        )
    if tuple(pictures.shape[2:]) != (side, side):
        pictures = F.interpolate(
            pictures, size=(side, side), mode="bilinear", antialias=True, align_corners=False
        )
    return list(pictures.flip(2).split(1, dim=1))


def to_volume(features: torch.Tensor, kind: str) -> torch.Tensor:
    """(b, c, depth, row, column) of a frontal or lateral view -> (b, c, z, y, x)."""
    return features.permute(_TO_VOLUME[kind])


def spread(features: torch.Tensor, kind: str, depth: int) -> torch.Tensor:
    """(b, c, row, column) repeated along the rays of its view -> (b, c, z, y, x); no copy is made."""
    return to_volume(features.unsqueeze(2).expand(-1, -1, depth, -1, -1), kind)


def unfold_depth(features: torch.Tensor, depth: int, kind: str) -> torch.Tensor:
    """(b, c * depth, row, column): channels become depth -> (b, c, z, y, x)."""
    return to_volume(features.unflatten(1, (-1, depth)), kind)
