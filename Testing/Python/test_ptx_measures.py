"""Quantities of a segmented CT against formulas: volumes, distances, shift, indices, on any storage order."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np
import pytest
from ptx_chest import Grid, points, reordered
from rotations import rotation_matrix
from xrecon.pneumothorax.measures import COLUMNS
from xrecon.pneumothorax.quantify_all import measure
from xrecon.pneumothorax.quantify_mediastinum import tension_hint
from xrecon.pneumothorax.quantify_radiograph import collins_percent, light_percent, rhea_percent
from xrecon.volume import InputError, Quantity, Volume

OBLIQUE = rotation_matrix((0.3, -1.0, 2.0), 17.0)
GRIDS = {
    "thick slices": Grid((49, 57, 79), (5.0, 3.5, 4.0)),
    "oblique": Grid((59, 63, 81), (4.4, 4.1, 4.3), OBLIQUE),
}
# (centre x, y, z), radius in LPS mm: hemithorax and the lung in it, which leaves air around.
HEMITHORAX = ((-70.0, 5.0, 8.0), 60.0)
LUNG = ((-58.0, 12.0, -2.0), 38.0)
LEFT = ((72.0, 2.0, 0.0), 55.0)


@dataclass
class Case:
    """A chest of balls: the right side with air around its lung, the left side without."""

    grid: Grid
    lung: tuple = field(default=LUNG)

    def volumes(self) -> tuple[Volume, Volume]:
        blank = self.grid.volume()
        where = points(blank)
        labels = np.zeros(blank.shape, np.uint8)
        labels[ball(where, HEMITHORAX)] = 3
        labels[ball(where, self.lung)] = 1
        labels[ball(where, LEFT)] = 2
        hu = np.choose(labels, [40.0, -800.0, -860.0, -1000.0, -1000.0]).astype(np.float32)
        return blank.with_array(hu), blank.with_array(labels, Quantity.LABEL)


def ball(where: np.ndarray, shape: tuple) -> np.ndarray:
    return ((where - np.array(shape[0])) ** 2).sum(-1) < shape[1] ** 2


def ball_ml(radius: float) -> float:
    return 4.0 / 3.0 * np.pi * radius**3 / 1000.0


def edge(shape: tuple, z: float) -> float:
    """Half the width of a ball at a level."""
    return float(np.sqrt(shape[1] ** 2 - (z - shape[0][2]) ** 2))


@pytest.fixture(scope="module", params=list(GRIDS))
def measured(request):
    case = Case(GRIDS[request.param])
    volume, labels = case.volumes()
    return volume, labels, measure(volume, labels)


def test_volumes_and_their_intervals(measured):
    _, _, found = measured
    lung, whole = ball_ml(LUNG[1]), ball_ml(HEMITHORAX[1])
    for name, truth in (("lung_volume", lung), ("air_volume", whole - lung), ("hemithorax_volume", whole)):
        value = found.get(name, "right")
        assert value.value == pytest.approx(truth, rel=0.01) and value.unit == "ml"
        assert value.low < truth < value.high
    share = found.get("occupancy", "right")
    assert share.low < 100 * (1 - lung / whole) < share.high
    assert found.get("occupancy", "left").value == 0.0
    assert found.get("lung_volume").value == pytest.approx(lung + ball_ml(LEFT[1]), rel=0.01)


def test_interval_is_half_the_voxels_on_either_side():
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[3:6, 3:6, 3:6] = 1
    volume = Volume(np.full(labels.shape, -800.0, np.float32), (10.0, 10.0, 10.0))
    lung = measure(volume, volume.with_array(labels, Quantity.LABEL)).get("lung_volume", "right")
    # 27 voxels of 1 ml, 26 of them at the boundary; 6 faces of 9 voxels outside
    assert (lung.value, lung.low, lung.high) == (27.0, 27.0 - 13.0, 27.0 + 27.0)


def test_density(measured):
    volume, labels, found = measured
    assert found.get("mean_lung_density", "right").value == pytest.approx(-800.0)
    assert found.get("mean_lung_density", "left").value == pytest.approx(-860.0)
    assert found.get("laa_950", "left").value == 0.0
    array = volume.array.copy()
    left = np.flatnonzero(labels.array.ravel() == 2)
    array.ravel()[left[: left.size // 4]] = -990.0
    dark = measure(volume.with_array(array), labels).get("laa_950", "left")
    assert dark.value == pytest.approx(25.0, abs=0.01) and "noise" in dark.note


def test_largest_interpleural_distance_and_its_place(measured):
    volume, _, found = measured
    offset = np.subtract(HEMITHORAX[0], LUNG[0])
    apart = float(np.linalg.norm(offset))
    truth = HEMITHORAX[1] - LUNG[1] + apart
    value = found.get("largest_interpleural_distance", "right")
    assert value.value == pytest.approx(truth, abs=max(volume.spacing))
    assert value.low < truth < value.high
    place = found.places["right"]
    wall = np.array(HEMITHORAX[0]) + offset / apart * HEMITHORAX[1]
    # near the pole of a ball the gap changes slowly: the place is known less well than the distance
    assert np.linalg.norm(np.array(place.wall) - wall) < 15.0
    assert np.linalg.norm(np.subtract(place.wall, place.lung)) == pytest.approx(place.mm)
    assert "left" not in found.places
    assert found.get("largest_interpleural_distance", "left").value == 0.0


@pytest.mark.parametrize(
    ("center", "third"),
    [((-70.0, 5.0, -20.0), "apical"), ((-45.0, 5.0, 8.0), "middle"), ((-70.0, 5.0, 35.0), "basal")],
)
def test_level_of_the_largest_distance(center, third):
    volume, labels = Case(GRIDS["thick slices"], (center, 30.0)).volumes()
    assert measure(volume, labels).places["right"].level == third


def test_apex_and_rim(measured):
    volume, _, found = measured
    apex = HEMITHORAX[0][2] + HEMITHORAX[1] - LUNG[0][2] - LUNG[1]
    step = np.abs(volume.direction) @ np.array(volume.spacing[::-1])
    assert found.get("apex_distance", "right").value == pytest.approx(apex, abs=step[2])
    hilum = level(found, "hilum")
    assert hilum == pytest.approx(HEMITHORAX[0][2] + HEMITHORAX[1] * (2 * 0.58 - 1), abs=step[2])
    rim = -(HEMITHORAX[0][0] - edge(HEMITHORAX, hilum)) + LUNG[0][0] - edge(LUNG, hilum)
    assert found.get("rim_distance", "right").value == pytest.approx(rim, abs=step[0])
    assert found.get("rim_distance", "left").value == found.get("apex_distance", "left").value == 0.0


def test_indices_follow_from_the_outlines(measured):
    volume, _, found = measured
    levels = [LUNG[0][2] + share * LUNG[1] for share in (0.5, -0.5)]
    gaps = [HEMITHORAX[0][2] + HEMITHORAX[1] - LUNG[0][2] - LUNG[1]]
    gaps += [LUNG[0][0] - edge(LUNG, z) - HEMITHORAX[0][0] + edge(HEMITHORAX, z) for z in levels]
    slack = 4.7 * 3 * max(volume.spacing) / 10
    expected = collins_percent(*(gap / 10 for gap in gaps))
    assert found.get("collins_estimate", "right").value == pytest.approx(expected, abs=slack)
    hilum = level(found, "hilum")
    expected = light_percent(edge(LUNG, hilum), edge(HEMITHORAX, hilum))
    assert found.get("light_estimate", "right").value == pytest.approx(expected, abs=6.0)
    assert found.get("rhea_estimate", "right").value == pytest.approx(rhea_percent(sum(gaps) / 30), abs=4.0)
    for name in ("collins_estimate", "light_estimate", "rhea_estimate"):
        assert "estimated from CT" in found.get(name, "right").note
        assert found.get(name, "left").value is None


def test_formulas_by_hand():
    assert collins_percent(1.0, 2.0, 3.0) == pytest.approx(4.2 + 4.7 * 6.0)
    assert collins_percent(9.0, 9.0, 9.0) == 100.0
    assert light_percent(8.0, 10.0) == pytest.approx(48.8)
    assert rhea_percent(2.0) == 23.0 and rhea_percent(2.25) == pytest.approx(25.0)
    assert rhea_percent(0.2) is None and rhea_percent(6.0) is None


def level(found, name: str) -> float:
    """LPS z of a line of the right side."""
    return next(line.lung[1] for line in found.lines if (line.side, line.name) == ("right", name))


def cage(shift: float, grid: Grid, turn: float = 0.0) -> tuple[Volume, Volume]:
    """A rib cage halved by a mediastinum that lies `shift` mm off its middle, the patient turned."""
    blank = grid.volume()
    where = points(blank) @ rotation_matrix((0.0, 0.0, 1.0), turn)
    inside = ((where / np.array((125.0, 85.0, 100.0))) ** 2).sum(-1) < 1.0
    labels = np.zeros(blank.shape, np.uint8)
    labels[inside & (where[..., 0] < shift - 25.0)] = 1
    labels[inside & (where[..., 0] > shift + 25.0)] = 2
    hu = np.full(blank.shape, -800.0, np.float32)
    return blank.with_array(hu), blank.with_array(labels, Quantity.LABEL)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("shift", "turn"), [(0.0, 0.0), (14.0, 0.0), (-21.0, 0.0), (14.0, 8.0)])
def test_mediastinal_shift(grid, shift, turn):
    found = measure(*cage(shift, GRIDS[grid], turn)).get("mediastinal_shift")
    assert found.value == pytest.approx(shift, abs=2.0 if not turn else 5.0)
    if shift:
        assert ("left" if shift > 0 else "right") in found.note.split(";")[0]


def test_tension_hint_needs_air_and_a_shift_away_from_it():
    much, little = {"right": 60.0, "left": 0.0}, {"right": 12.0, "left": 0.0}
    assert "no diagnosis" in tension_hint(18.0, much) and "right" in tension_hint(18.0, much)
    assert tension_hint(-18.0, much) == ""  # towards the air: collapse, not tension
    assert tension_hint(18.0, little) == tension_hint(3.0, much) == tension_hint(None, much) == ""
    assert "left side" in tension_hint(-18.0, {"right": None, "left": 45.0})


@pytest.mark.parametrize(
    ("axes", "flips"), [((2, 0, 1), (0,)), ((1, 2, 0), (1, 2)), ((0, 2, 1), ()), ((0, 1, 2), (0, 1, 2))]
)
def test_storage_order_does_not_matter(measured, axes, flips):
    volume, labels, found = measured
    again = measure(reordered(volume, axes, flips), reordered(labels, axes, flips))
    for one, other in zip(found.measures, again.measures, strict=True):
        assert (one.quantity, one.side, one.unit) == (other.quantity, other.side, other.unit)
        assert (other.value is None) == (one.value is None)
        assert one.value is None or other.value == pytest.approx(one.value, abs=1e-4)
    assert again.places["right"].wall == pytest.approx(found.places["right"].wall, abs=1e-4)


def test_a_shell_of_partial_volume_is_no_lung_for_distances():
    volume, labels = Case(GRIDS["thick slices"]).volumes()
    where = points(labels)
    array = labels.array.copy()
    outer = (array == 3) & ~ball(where, (HEMITHORAX[0], HEMITHORAX[1] - 3.0))
    array[outer] = 1  # a rind, one voxel thin, on the chest wall
    array[25, 30, 11] = 1  # and a speck within the air
    assert labels.array[25, 30, 11] == 3
    plain, shelled = (measure(volume, labels.with_array(a)) for a in (labels.array, array))
    for name in ("largest_interpleural_distance", "apex_distance", "rim_distance"):
        assert shelled.get(name, "right").value == pytest.approx(plain.get(name, "right").value, abs=0.01)
    assert shelled.get("lung_volume", "right").value > plain.get("lung_volume", "right").value + 50.0


def test_air_that_tissue_parts_from_the_lung_has_no_distance():
    volume, labels = Case(GRIDS["thick slices"]).volumes()
    array = np.where(labels.array == 3, 0, labels.array).astype(np.uint8)
    array[4:6, 40:44, 10:14] = 3  # bowel gas, say, far below
    found = measure(volume, labels.with_array(array))
    assert found.get("largest_interpleural_distance", "right").value is None


def test_json_and_rows(measured):
    _, _, found = measured
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["schema_version"] == "1.0"
    assert plain["right"]["air_volume"]["unit"] == "ml"
    assert plain["right"]["largest_interpleural_distance"]["place"]["level"] in ("apical", "middle", "basal")
    assert plain["both"]["mediastinal_shift"]["structure"] == "mediastinum"
    assert [line["name"] for line in plain["frontal_lines"]] == ["apex", "upper_half", "lower_half", "hilum"]
    rows = found.rows()
    assert all(tuple(row) == COLUMNS for row in rows)
    assert len({(row["side"], row["quantity"]) for row in rows}) == len(rows) == 2 * 12 + 5
    with pytest.raises(KeyError):
        found.get("no such quantity")


def test_absent_sides_and_empty_labels():
    volume, labels = Case(GRIDS["thick slices"]).volumes()
    only_air = labels.with_array(np.where(labels.array == 3, 3, 0).astype(np.uint8))
    found = measure(volume, only_air)
    for name in ("largest_interpleural_distance", "mean_lung_density", "collins_estimate", "rim_distance"):
        assert found.get(name, "right").value is None
    assert found.get("occupancy", "right").value == 100.0
    nothing = measure(volume, labels.with_array(np.zeros(labels.shape, np.uint8)))
    assert nothing.get("occupancy").value is None and nothing.get("lung_volume").value == 0.0
    assert nothing.get("mediastinal_shift").value is None and nothing.hint == ""


def test_bad_input_is_refused():
    volume, labels = Case(GRIDS["thick slices"]).volumes()
    with pytest.raises(InputError, match="grid"):
        measure(volume, labels.moved((5.0, 0.0, 0.0)))
    with pytest.raises(InputError, match="0 to 4"):
        measure(volume, labels.with_array(labels.array + 2))
    with pytest.raises(InputError, match="HU"):
        measure(labels, labels)
