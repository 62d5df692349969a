"""Everything that is measured in a segmented CT, in the order of its table."""

from __future__ import annotations

from xrecon.pneumothorax.grids import SIDES, require_hu
from xrecon.pneumothorax.measures import BOTH, FrontalLine, InterpleuralDistance, Measure, PtxMeasures
from xrecon.pneumothorax.quantify import require_labels
from xrecon.pneumothorax.quantify_distances import NAMES as DISTANCES
from xrecon.pneumothorax.quantify_distances import measure_distances
from xrecon.pneumothorax.quantify_mediastinum import measure_shift, tension_hint
from xrecon.pneumothorax.quantify_radiograph import NAMES as INDICES
from xrecon.pneumothorax.quantify_radiograph import measure_radiograph_indices
from xrecon.pneumothorax.quantify_surfaces import SideShape, side_shape
from xrecon.pneumothorax.quantify_volumes import measure_volumes
from xrecon.volume import InputError, Volume


def measure(volume: Volume, labels: Volume) -> PtxMeasures:
    """Volumes, density, distances, mediastinal shift and radiograph indices of each side.

    volume: HU on any grid. labels: 1 right lung, 2 left lung, 3 right air, 4 left air on the same grid.
    Nothing is resampled; distances are taken in LPS mm, so the order of storage does not matter.
    Raises InputError when the CT is not finite HU, the grids differ or another label appears.
    """
    require_hu(volume)
    if not labels.same_grid(volume):
        raise InputError(f"expected labels on the grid of the CT {volume.shape}, got {labels.shape}")
    array = require_labels(labels)
    measures = measure_volumes(volume, array)
    shapes = {side: side_shape(volume, array, side) for side in SIDES}
    places: dict[str, InterpleuralDistance] = {}
    lines: list[FrontalLine] = []
    for side, shape in shapes.items():
        distances, place, of_side = _of_side(side, shape)
        measures += distances
        lines += of_side
        if place is not None:
            places[side] = place
    shift = measure_shift(shapes["right"], shapes["left"])
    occupancy = {m.side: m.value for m in measures if m.quantity == "occupancy" and m.side != BOTH}
    ordered = tuple(m for side in (*SIDES, BOTH) for m in (*measures, shift) if m.side == side)
    return PtxMeasures(ordered, places, tuple(lines), tension_hint(shift.value, occupancy))


def _of_side(
    side: str, shape: SideShape | None
) -> tuple[list[Measure], InterpleuralDistance | None, list[FrontalLine]]:
    if shape is None:
        missing = [Measure("pneumothorax", side, name, None, "mm") for name in DISTANCES]
        return missing + [Measure("radiograph index", side, name, None, "%") for name in INDICES], None, []
    distances, place = measure_distances(shape)
    indices, lines = measure_radiograph_indices(shape)
    rim = shape.lateral_gap("hilum", shape.hilum_z) if lines else None
    return [*distances, *indices], place, [*lines, *([] if rim is None else [rim])]
