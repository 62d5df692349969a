"""The radiotherapy endpoint against water-equivalent depths that can be written down."""

import json

import numpy as np
import pytest
from rotations import rotation_matrix
from trunk import trunk
from xrecon.evaluation.dose import (
    LATERAL_BEAMS,
    OPPOSED_BEAMS,
    TABLE_PATH,
    DensityTable,
    PhotonBeam,
    compare_isocenter_dose,
    isocenter_dose,
    spine_isocenter,
    water_equivalent_depth,
)
from xrecon.volume import InputError, Volume


def slabs(lung_first: bool = False) -> Volume:
    """Along y: 60 mm of water before the middle, 40 mm of lung (-800 HU) and 20 mm of water behind it."""
    layers = [0.0] * 12 + [-800.0] * 8 + [0.0] * 4
    hu = np.array(layers[::-1] if lung_first else layers)
    array = np.broadcast_to(hu[None, :, None], (9, 24, 11)).copy()
    return Volume(array, (7.0, 5.0, 6.0), (-30.0, -60.0 + 2.5, -28.0))


def test_depths_of_slabs_are_the_sum_of_their_densities():
    front = water_equivalent_depth(slabs(), (0, 0, 0), OPPOSED_BEAMS["anterior"])
    back = water_equivalent_depth(slabs(), (0, 0, 0), OPPOSED_BEAMS["posterior"])
    # half a voxel on either side of a step is interpolated: the two halves cancel but at the isocentre
    assert front == pytest.approx(60.0 - 0.5 * 2.5 * 0.81 / 2, abs=0.05)
    assert back == pytest.approx(40 * 0.19 + 20 + 0.5 * 2.5 * 0.81 / 2, abs=0.05)


def test_a_ray_from_the_middle_of_a_water_ball_sees_its_radius_in_any_direction_and_grid():
    n, spacing, radius = 41, (3.0, 2.5, 2.0), 35.0
    direction = rotation_matrix((1.0, -2.0, 0.5), 25.0)
    ball = Volume(np.zeros((n,) * 3), spacing, (0.0, 0.0, 0.0), direction)
    index = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), -1)[..., ::-1]
    away = np.linalg.norm(ball.index_to_world(index) - ball.center, axis=-1)
    hu = np.clip(-1000 * (away - radius + 1.25) / 2.5, -1000, 0)  # a soft edge about the radius
    table = DensityTable((-1000, 0), (0, 1))
    for ray in ((0, 1, 0), (1, 0, 0), (-0.3, 0.4, 0.7)):
        depth = water_equivalent_depth(ball.with_array(hu), ball.center, ray, table)
        assert depth == pytest.approx(radius, abs=0.3)


def test_the_tissue_phantom_ratio_has_its_quality_and_its_maximum():
    beam = PhotonBeam(tpr20_10=0.7, depth_of_maximum_mm=20.0, surface=0.4)
    ratio = beam.tissue_phantom_ratio
    assert ratio(200.0) / ratio(100.0) == pytest.approx(0.7)
    assert ratio(20.0) == 1.0 and ratio(0.0) == pytest.approx(0.4)
    values = [ratio(d) for d in range(0, 300, 5)]
    assert np.argmax(values) == 4 and np.all(np.diff(values[:5]) > 0) and np.all(np.diff(values[4:]) < 0)
    with pytest.raises(InputError, match="tpr20_10"):
        PhotonBeam(tpr20_10=1.2)


def test_what_cancels_between_opposed_beams_shows_in_the_depths():
    """Why the dose is an easy endpoint: front and back exchanged is no error at all."""
    same = compare_isocenter_dose(slabs(), slabs(), (0, 0, 0))
    assert same == {name: 0.0 for name in same}
    swapped = compare_isocenter_dose(slabs(lung_first=True), slabs(), (0, 0, 0))
    assert abs(swapped["isocenter_dose_error_percent"]) < 1e-9
    assert swapped["water_equivalent_depth_error_mm"] > 30
    denser = slabs().with_array(slabs().array + 100.0)
    metrics = compare_isocenter_dose(denser, slabs(), (0, 0, 0))
    depths = {n: water_equivalent_depth(denser, (0, 0, 0), ray) for n, ray in OPPOSED_BEAMS.items()}
    true = {n: water_equivalent_depth(slabs(), (0, 0, 0), ray) for n, ray in OPPOSED_BEAMS.items()}
    expected = 100 * (isocenter_dose(depths) / isocenter_dose(true) - 1)
    assert metrics["isocenter_dose_error_percent"] == pytest.approx(expected) and expected < -0.5


def test_the_table_can_be_edited_and_a_wrong_one_is_refused(tmp_path):
    data = json.loads(TABLE_PATH.read_text())
    table = DensityTable.read()
    assert table.densities(np.array([-1000.0, 0.0, -2000.0])) == pytest.approx([0, 1, 0])
    data["relative_electron_density"] = [2 * v for v in data["relative_electron_density"]]
    path = tmp_path / "table.json"
    path.write_text(json.dumps(data))
    doubled = water_equivalent_depth(slabs(), (0, 0, 0), (0, 1, 0), DensityTable.read(path))
    assert doubled == pytest.approx(2 * water_equivalent_depth(slabs(), (0, 0, 0), (0, 1, 0)))
    for wrong, message in ((["hu"], "hu"), ({**data, "hu": data["hu"][::-1]}, "rising"), ({}, "table")):
        path.write_text(json.dumps(wrong))
        with pytest.raises(InputError, match=message):
            DensityTable.read(path)


def test_the_isocentre_lies_in_the_spine():
    ct = trunk()
    point = spine_isocenter(ct)
    k, j, i = np.rint(ct.world_to_index(np.array(point)))[::-1].astype(int)
    assert ct.array[k, j, i] > 200
    assert abs(point[0]) < 20 and point[1] > 40
    depths = [water_equivalent_depth(ct, point, ray) for ray in LATERAL_BEAMS.values()]
    assert min(depths) > 40
    with pytest.raises(InputError, match="spine"):
        spine_isocenter(ct.with_array(np.minimum(ct.array, 60)))
    with pytest.raises(InputError, match="within the volume"):
        water_equivalent_depth(ct, (0, 0, 9999), (0, 1, 0))
