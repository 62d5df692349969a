"""What bundled reconstruction models were to reach, decided before they were trained, and what they reach.

Two views, held-out CTs, the whole grid, PSNR in 3D with range 2500 HU. A target that is missed stays in the
card with its figure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from xrecon.nets.card import ModelCard

# Least PSNR (dB) by voxels per edge: finer grids show more that two views cannot tell.
LEAST_PSNR = {64: 23.0, 128: 22.0}
LEAST_GAIN_DB, LEAST_SSIM, LEAST_DICE, LEAST_OCCUPANCY_R = 4.5, 0.70, 0.90, 0.77


@dataclass(frozen=True)
class Target:
    """name: of what, with its unit. least: to be reached or, when `exclusive`, to be exceeded. reached: None
    where the figure does not exist, as a correlation with what was found alike in every case: missed."""

    name: str
    least: float
    reached: float | None
    exclusive: bool = False

    @property
    def met(self) -> bool:
        """Whether it was reached."""
        if self.reached is None:
            return False
        return self.reached > self.least or (not self.exclusive and self.reached == self.least)


def targets(card: ModelCard) -> list[Target]:
    """The targets that a card has the figures for; none of models that do not reconstruct."""
    test = card.quality.get("test") or {}
    if card.output.kind != "volume" or not test.get("mean"):
        return []
    return list(_targets(card, test["mean"], test.get("pneumothorax") or {}))


def _targets(card: ModelCard, mean: Mapping[str, float], air: Mapping[str, Any]) -> Iterator[Target]:
    least = LEAST_PSNR.get(card.output.side)
    if least is not None:
        yield Target("PSNR (dB)", least, mean["psnr"])
    if card.output.side != 64 and "psnr_at_5.6mm" in mean:
        yield Target("PSNR at 5.6 mm (dB)", LEAST_PSNR[64], mean["psnr_at_5.6mm"])
    if "psnr_mean_volume" in mean:
        gain = mean["psnr"] - mean["psnr_mean_volume"]
        yield Target("PSNR above the mean training volume (dB)", LEAST_GAIN_DB, gain)
    for end, title in (
        ("_nearest_subject", "nearest training subject"),
        ("_exchanged", "exchanged radiographs"),
    ):
        if f"psnr{end}" in mean:
            yield Target(f"PSNR above the {title} (dB)", 0.0, mean["psnr"] - mean[f"psnr{end}"], True)
    yield Target("SSIM", LEAST_SSIM, mean["ssim"])
    for side in ("right", "left"):
        name = f"reference_{side}_lung_dice"
        if name in mean:
            yield Target(f"{side} lung Dice", LEAST_DICE, mean[name])
    if air.get("correlations"):  # of some quantity, so there were cases enough
        reached = air["correlations"].get("occupancy_r")
        yield Target("occupancy of synthetic pneumothorax, r", LEAST_OCCUPANCY_R, reached)
