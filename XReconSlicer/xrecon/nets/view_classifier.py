"""Which way a chest radiograph hangs: a small network that answers alike for every turn of a picture.

A picture is one of 33 things: a frontal or a lateral view in one of 16 layouts (turned by quarters,
mirrored, inverted), or neither. The network itself knows only how an upright picture looks; each layout is
undone in turn, and the same weights say how upright the result is. So a turned, mirrored or inverted picture
gets the same answer, turned with it, by construction (a group-equivariant network in the sense of Cohen and
Welling, ICML 2016, lifted over the whole trunk), and every training picture teaches all layouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import nn
from torch.nn import functional

from xrecon.nets.registry import register_model

KINDS = ("frontal", "lateral")
NEITHER = "neither"


@dataclass(frozen=True)
class Layout:
    """How a picture differs from an upright one: mirrored left to right, then turned counter-clockwise by
    quarters, then inverted (dense is dark)."""

    inverted: bool = False
    mirrored: bool = False
    quarters: int = 0

    def of(self, upright: torch.Tensor) -> torch.Tensor:
        """Pictures (..., n, n) in [0, 1] in this layout."""
        picture = upright.flip(-1) if self.mirrored else upright
        picture = torch.rot90(picture, self.quarters, (-2, -1))
        return 1.0 - picture if self.inverted else picture

    def undone(self, picture: torch.Tensor) -> torch.Tensor:
        """Pictures (..., n, n) in this layout, upright again."""
        upright = torch.rot90(picture, -self.quarters, (-2, -1))
        upright = upright.flip(-1) if self.mirrored else upright
        return 1.0 - upright if self.inverted else upright


LAYOUTS = tuple(Layout(*each) for each in product((False, True), (False, True), range(4)))
UPRIGHT = LAYOUTS[0]
# The columns of the output: (kind, layout), and at last neither.
HYPOTHESES: tuple[tuple[str, Layout], ...] = (*product(KINDS, LAYOUTS), (NEITHER, UPRIGHT))


def hypothesis(kind: str, layout: Layout = UPRIGHT) -> int:
    """The column of a kind of view ("frontal", "lateral", "neither") in a layout."""
    return HYPOTHESES.index((kind, UPRIGHT if kind == NEITHER else layout))


@register_model("view-classifier")
class ViewClassifier(nn.Module):
    """widths: channels of the strided convolutions, each of which halves the picture.

    side: of the pictures. statistics: number of named properties whose usual values the weights keep for
    the gate on unfamiliar pictures (`xrecon.evaluation.familiarity`); filled in at the end of training.
    """

    kind = "pictures"

    def __init__(
        self, widths: tuple[int, ...] = (12, 24, 40, 64), side: int = 128, statistics: int = 9
    ) -> None:
        super().__init__()
        self.side = side
        layers: list[nn.Module] = [nn.AvgPool2d(2)]
        for before, after in zip((1, *widths), widths, strict=False):
            groups = next(g for g in (4, 2, 1) if after % g == 0)
            layers += [
                nn.Conv2d(before, after, 3, stride=2, padding=1),
                nn.GroupNorm(groups, after),
                nn.LeakyReLU(0.1, inplace=True),
            ]
        self.trunk = nn.Sequential(*layers)
        # positions are kept coarsely: the same patch above and below the middle means another thing
        self.embedding = nn.Linear(widths[-1] * 16, widths[-1])
        self.head = nn.Linear(widths[-1], len(KINDS) + 1)
        kinds, features = len(KINDS), widths[-1]
        for name, shape in (
            ("embedding_mean", (kinds, features)),
            ("embedding_precision", (kinds, features, features)),
            ("statistic_mean", (kinds, statistics)),
            ("statistic_scale", (kinds, statistics)),
            ("statistic_precision", (kinds, statistics, statistics)),
            ("distance_limits", (kinds, 2)),
        ):
            self.register_buffer(name, torch.zeros(shape))

    def embed(self, pictures: torch.Tensor) -> torch.Tensor:
        """Features (b, f) of pictures (b, 1, side, side) in [0, 1], taken as upright."""
        maps = functional.adaptive_avg_pool2d(self.trunk(2.0 * pictures - 1.0), 4)
        return functional.leaky_relu(self.embedding(maps.flatten(1)), 0.1)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """(b, 1, side, side) in [0, 1] -> logits (b, 33) in the order of `HYPOTHESES`."""
        return self.compare(pictures, LAYOUTS)

    def compare(self, pictures: torch.Tensor, layouts: Sequence[Layout]) -> torch.Tensor:
        """Logits (b, 2 n + 1) of both kinds in n layouts only, then of neither."""
        upright = torch.cat([layout.undone(pictures) for layout in layouts])
        scores = self.head(self.embed(upright)).unflatten(0, (len(layouts), -1))
        frontal, lateral, neither = scores.unbind(-1)
        return torch.cat([frontal.T, lateral.T, neither.mean(0)[:, None]], dim=1)
