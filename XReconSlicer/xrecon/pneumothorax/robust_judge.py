"""Candidates judged one by one; a refused one may hold free air that has run together with emphysema."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xrecon.pneumothorax import morphology
from xrecon.pneumothorax.robust_levels import Levels
from xrecon.pneumothorax.robust_regions import Region, describe, is_free_air, is_free_part

Spacing = tuple[float, float, float]
# Features look this far around a region, mm.
MARGIN_MM = 8.0
# Balls that cut the links between free air and emphysema, tried one after the other, mm.
SPLIT_MM = (2.4, 4.0, 5.6)
# In a refused region only what is this near to its darkest fifth may be free air, HU; how far from an
# accepted part more of it may lie, mm.
SPLIT_HU = 40.0
REGROW_MM = 3.2
SPLIT_ML = 20.0
SATELLITE_ML = 1.0
SPLIT_MIN_WALL = 0.10


@dataclass(frozen=True)
class Judge:
    """What regions are judged by: g (smoothed HU), room (pleural space), wall, levels and spacing;
    touching_mm as of `robust_regions.describe`."""

    g: np.ndarray
    room: np.ndarray
    wall: np.ndarray
    levels: Levels
    spacing: Spacing
    touching_mm: float | None = None

    def accepted(self, labels: np.ndarray, count: int, minimum_ml: float) -> tuple[np.ndarray, list[Region]]:
        """The mask of free air among candidates 1..count, and the features of those refused."""
        import cc3d

        air, refused = np.zeros(labels.shape, bool), []
        boxes = cc3d.statistics(labels.astype(np.uint32))["bounding_boxes"] if count else []
        sizes = np.bincount(labels.reshape(-1), minlength=count + 1)
        volumes = sizes * self.voxel_ml
        for number in np.flatnonzero(volumes[1:] > minimum_ml) + 1:
            box = self._around(boxes[number], labels.shape)
            piece = labels[box] == number
            region = self._describe(piece, box)
            if is_free_air(region, self.levels):
                air[box] |= piece
                continue
            part = self._parts(piece, box) if self._may_hold_air(region) else None
            if part is None or not part.any():
                refused.append(region)
            else:
                air[box] |= part
        if air.any():  # where there is free air, small pieces may be more of it
            for number in np.flatnonzero((volumes[1:] > SATELLITE_ML) & (volumes[1:] <= minimum_ml)) + 1:
                box = self._around(boxes[number], labels.shape)
                piece = labels[box] == number
                if is_free_part(self._describe(piece, box), self.levels):
                    air[box] |= piece
        return air, refused

    @property
    def voxel_ml(self) -> float:
        return float(np.prod(self.spacing)) / 1000.0

    def _around(self, box: tuple[slice, ...], shape: tuple[int, ...]) -> tuple[slice, ...]:
        margins = [int(np.ceil(MARGIN_MM / s)) + 1 for s in self.spacing]
        return tuple(
            slice(max(0, s.start - m), min(n, s.stop + m))
            for s, n, m in zip(box, shape, margins, strict=True)
        )

    def _describe(self, piece: np.ndarray, box: tuple[slice, ...]) -> Region:
        parts = (self.g[box], self.room[box], self.wall[box])
        return describe(piece, *parts, self.levels, self.spacing, self.touching_mm)

    def _may_hold_air(self, region: Region) -> bool:
        return region.ml >= SPLIT_ML and region.wall >= SPLIT_MIN_WALL

    def _parts(self, piece: np.ndarray, box: tuple[slice, ...]) -> np.ndarray:
        """Parts of a refused region that are free air, cut off where it is narrow."""
        found = np.zeros(piece.shape, bool)
        g = self.g[box]
        left = piece & (g < np.percentile(g[piece], 20.0) + SPLIT_HU)
        for radius in SPLIT_MM:
            labels, sizes = morphology.label_components(morphology.open_(left, radius, self.spacing), 6)
            for number in np.flatnonzero(sizes[1:] * self.voxel_ml >= SPLIT_ML) + 1:
                part = labels == number
                if is_free_part(self._describe(part, box), self.levels):
                    found |= part
            if found.any():
                near = morphology.dilate(found, REGROW_MM, self.spacing)
                found |= left & near
                left = left & ~near
        return found
