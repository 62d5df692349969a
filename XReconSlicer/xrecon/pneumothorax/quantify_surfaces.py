"""The two pleurae of a side as clouds of points in LPS mm: what distances are measured between.

Points are the centres of surface voxels, so that any order, flip or turn of the array gives the same.
Segmentations leave a shell of partial volume between air and chest wall that counts as lung, a few voxels
thick in Algorithm 1. What a ball of radius `SHELL_MM` does not fit into, beside air, and small pieces that
lie in air, are taken for air here: in distances only, never in volumes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xrecon.pneumothorax import morphology
from xrecon.pneumothorax.measures import FrontalLine
from xrecon.pneumothorax.quantify_volumes import SIDE_LABELS, beside
from xrecon.preprocess.masks import surface
from xrecon.volume import Volume

SHELL_MM = 3.0
# A piece of lung smaller than this share of the largest is no lobe.
PIECE_SHARE = 0.05
# Height of the hilum in the hemithorax, from its lowest (0) to its highest point (1).
HILUM_HEIGHT = 0.58


@dataclass(frozen=True, eq=False)
class SideShape:
    """One side. lung, air: masks of the box `corner` (z, y, x index of its first voxel) of `grid`.

    wall, pleura: LPS points (n, 3) of the surfaces of lung and air together, and of the lung.
    lateral: -1 for the right side, whose lateral is -x, 1 for the left.
    """

    side: str
    grid: Volume
    corner: tuple[int, int, int]
    lung: np.ndarray
    air: np.ndarray
    wall: np.ndarray
    pleura: np.ndarray

    @property
    def lateral(self) -> float:
        return -1.0 if self.side == "right" else 1.0

    @property
    def voxel_mm(self) -> np.ndarray:
        """How far a voxel reaches along x, y and z of LPS, mm."""
        return np.abs(self.grid.direction) @ np.array(self.grid.spacing[::-1])

    @property
    def base_z(self) -> float:
        """The lowest point of the hemithorax, LPS mm."""
        return float(self.wall[:, 2].min())

    @property
    def top_z(self) -> float:
        """The cupola: the highest point of the hemithorax, LPS mm."""
        return float(self.wall[:, 2].max())

    @property
    def hilum_z(self) -> float:
        """The level of the hilum, by the height of the hemithorax, LPS mm."""
        return self.base_z + HILUM_HEIGHT * (self.top_z - self.base_z)

    def points(self, mask: np.ndarray) -> np.ndarray:
        """LPS mm (n, 3) of the voxels of a mask of the box."""
        index = np.argwhere(mask) + np.array(self.corner)
        return self.grid.index_to_world(index[:, ::-1].astype(np.float64))

    def edges(self, points: np.ndarray, z: float) -> tuple[float, float] | None:
        """The outermost lateral and medial place of a surface at a level, as a frontal radiograph shows
        them: mm from the sagittal plane x = 0, growing laterally. None when it does not reach the level.
        """
        beside = np.abs(points[:, 2] - z) <= 0.5 * self.voxel_mm[2] + 1e-6
        if not beside.any():
            return None
        x = self.lateral * points[beside, 0]
        return float(x.max()), float(x.min())

    def lateral_gap(self, name: str, z: float) -> FrontalLine | None:
        """From the lung laterally to the chest wall at a level, in frontal projection; None without lung."""
        wall, lung = self.edges(self.wall, z), self.edges(self.pleura, z)
        if wall is None or lung is None:
            return None
        return FrontalLine(self.side, name, (self.lateral * lung[0], z), (self.lateral * wall[0], z))

    def apical_gap(self) -> FrontalLine:
        """From the highest point of the lung up to the level of the cupola, in frontal projection."""
        top = self.pleura[self.pleura[:, 2].argmax()]
        x, z = float(top[0]), float(top[2])
        return FrontalLine(self.side, "apex", (x, z), (x, self.top_z))


def side_shape(grid: Volume, labels: np.ndarray, side: str) -> SideShape | None:
    """The shape of a side of a label array 0 to 4 (z, y, x) on `grid`; None when there is no such side."""
    lung_label, air_label = SIDE_LABELS[side]
    box = morphology.grown_box((labels == lung_label) | (labels == air_label), (0, 0, 0))
    if box is None:
        return None
    lung, air = labels[box] == lung_label, labels[box] == air_label
    lung, air = _without_shell(lung, air, grid.spacing)
    corner = tuple(s.start for s in box)
    blank = SideShape(side, grid, corner, lung, air, np.empty((0, 3)), np.empty((0, 3)))
    return SideShape(
        side, grid, corner, lung, air, blank.points(surface(lung | air)), blank.points(surface(lung))
    )


def _without_shell(
    lung: np.ndarray, air: np.ndarray, spacing: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Lung and air, thin lung beside air and small pieces of lung in it moved to the air."""
    if not air.any() or not lung.any():
        return lung, air
    opened = morphology.open_(lung, SHELL_MM, spacing)
    shell = lung & ~opened & morphology.dilate(air, SHELL_MM, spacing)
    rest, sizes = morphology.label_components(lung & ~shell)
    sizes[0] = 0
    small = sizes < PIECE_SHARE * sizes.max()
    if np.count_nonzero(small[1:]):
        near = np.zeros(sizes.size, bool)
        near[rest[beside(air | shell)]] = True
        near[0] = False
        shell |= (small & near)[rest]
    return lung & ~shell, air | shell
