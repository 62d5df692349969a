"""Planted lesions: exact shadows, all of them found by a model that sees all, none by one that sees none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from xrecon.evaluation import lesion_preservation as module
from xrecon.evaluation.lesion_places import choose_places, places_of_tissue, tissue_maps
from xrecon.evaluation.lesion_planting import PlantedSphere, plant, planted_share, with_shadows
from xrecon.evaluation.lesion_preservation import KINDS, LesionCase, lesion_lines, lesion_preservation
from xrecon.physics.chest_phantom import chest_phantom
from xrecon.physics.drr import render_drrs
from xrecon.physics.geometry import ViewGeometry
from xrecon.preprocess.ct import lung_center, remove_table, resample
from xrecon.volume import InputError, Quantity, Radiograph, Volume

FIELD = ((48,) * 3, (7.0,) * 3)


@pytest.fixture(scope="module")
def ct() -> Volume:
    return remove_table(chest_phantom((6.0, 5.0, 5.0), noise_hu=0.0).volume)


def turned(volume: Volume, order: tuple[int, int, int], backwards: tuple[int, ...]) -> Volume:
    """The same voxels at the same places, stored with other axes: `order` of z, y, x, some backwards."""
    axes = [2 - axis for axis in order[::-1]]  # x, y, z
    corner = np.zeros(3)
    direction = volume.direction[:, axes].copy()
    array = volume.array.transpose(order)
    for axis in backwards:
        corner[axes[2 - axis]] = array.shape[axis] - 1
        array, direction[:, 2 - axis] = np.flip(array, axis), -direction[:, 2 - axis]
    spacing = tuple(volume.spacing[axis] for axis in order)
    return Volume(np.ascontiguousarray(array), spacing, tuple(volume.index_to_world(corner)), direction)


@pytest.fixture(scope="module")
def case(ct: Volume) -> LesionCase:
    center = tuple(lung_center(ct))
    views = [ViewGeometry.preset(v, shape=(60, 56), isocenter=center) for v in ("PA", "LEFT LATERAL")]
    return LesionCase("phantom", ct, render_drrs(ct, views))


def with_spheres(ct: Volume, spheres: list[PlantedSphere]) -> Volume:
    array = np.array(ct.array, dtype=np.float32)
    for box, hu in plant(ct, spheres):
        array[box] = hu
    return ct.with_array(array)


def on_field(ct: Volume, case: LesionCase) -> Volume:
    return resample(ct, *FIELD, case.radiographs[0].geometry.isocenter)


def test_a_sphere_takes_its_volume_and_its_hu():
    direction = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    water = Volume(np.zeros((23, 31, 27), np.float32), (3.0, 2.0, 2.5), (9.0, -8.0, 7.0), direction)
    diameter = 31.0
    sphere = PlantedSphere(tuple(water.center), diameter, 200.0)
    ml = float(planted_share(water, sphere).sum()) * water.voxel_ml
    assert ml == pytest.approx(np.pi / 6 * diameter**3 / 1000.0, rel=0.06)
    array = with_spheres(water, [sphere]).array
    middle = tuple(int(i) for i in np.rint(water.world_to_index(water.center))[::-1])
    assert array[middle] == 200.0 and array[0, 0, 0] == 0.0 and array.max() <= 200.0


def test_shadows_are_those_of_the_ct_with_the_spheres(ct: Volume, case: LesionCase):
    center = np.array(case.radiographs[0].geometry.isocenter)
    spheres = [
        PlantedSphere(tuple(center + (60.0, 0.0, 10.0)), 30.0, 40.0),
        PlantedSphere(tuple(center + (-55.0, -10.0, -30.0)), 22.0, -1000.0),
    ]
    found = with_shadows(ct, case.radiographs, spheres, case.energy_kev)
    exact = render_drrs(with_spheres(ct, spheres), [r.geometry for r in case.radiographs])
    for plain, shadowed, truth in zip(case.radiographs, found, exact, strict=True):
        assert np.abs(truth.array - plain.array).max() > 0.1
        np.testing.assert_allclose(shadowed.array, truth.array, atol=2e-4)
        assert "2 planted lesions" in shadowed.history[-1]


@pytest.mark.parametrize(
    ("order", "backwards"), [((0, 1, 2), (1,)), ((0, 1, 2), (0, 2)), ((0, 2, 1), ()), ((1, 2, 0), (0, 1))]
)
def test_the_front_is_the_patients_however_the_ct_is_stored(
    ct: Volume, case: LesionCase, order: tuple[int, int, int], backwards: tuple[int, ...]
):
    field, found = on_field(ct, case), []
    for volume in (ct, turned(ct, order, backwards)):
        places = places_of_tissue(tissue_maps(volume, field), "pleura", 8.0, 10**9)
        found.append({tuple(place) for place in np.round(places, 3) + 0.0})
    assert found[0] == found[1] and len(found[0]) > 50
    lungs = tissue_maps(ct, field).depth_mm["lung"]
    middle = ct.index_to_world(np.argwhere(lungs > 0)[:, ::-1])[:, 1].mean()
    assert np.mean([place[1] for place in found[0]]) < middle - 20.0, "LPS: y runs to posterior"


def test_places_lie_in_their_tissue_and_apart(ct: Volume, case: LesionCase):
    maps = tissue_maps(ct, on_field(ct, case))
    for tissue in ("lung", "pleura", "soft tissue"):
        centers = choose_places(maps, tissue, 8.0)
        assert 2 <= len(centers) <= 4, tissue
        apart = np.linalg.norm(centers[:, None] - centers[None], axis=-1)
        assert apart[~np.eye(len(centers), dtype=bool)].min() >= 24.0
        index = np.rint(ct.world_to_index(centers)).astype(int)
        hu = ct.array[index[:, 2], index[:, 1], index[:, 0]]
        assert np.all(hu > -200.0) if tissue == "soft tissue" else np.median(hu) < -600.0
    front = choose_places(maps, "pleura", 8.0)
    below = maps.grid.world_to_index(front)  # towards anterior, a little more than a diameter on, is no lung
    depth = maps.depth_mm["lung"]
    ahead = np.rint(below - (0, 24.0 / maps.grid.spacing[1], 0)).astype(int)
    assert np.all(depth[ahead[:, 2], np.maximum(ahead[:, 1], 0), ahead[:, 0]] < 8.0)
    assert len(places_of_tissue(maps, "lung", 8.0, 5)) == 5
    assert len(choose_places(maps, "lung", 200.0)) == 0
    with pytest.raises(InputError, match="tissue out of"):
        choose_places(maps, "bone", 8.0)


def test_a_model_that_sees_all_keeps_all_and_one_that_sees_nothing_keeps_none(
    ct: Volume, case: LesionCase, monkeypatch: pytest.MonkeyPatch
):
    """The perfect model is told what was planted; the other always gives the CT without it."""
    planted: list[PlantedSphere] = []

    def remember(volume: Volume, radiographs: list, spheres: list, energy: float) -> list[Radiograph]:
        planted[:] = spheres
        return list(radiographs)

    def perfect(radiographs: list) -> Volume:
        return on_field(with_spheres(ct, planted), case)

    monkeypatch.setattr(module, "with_shadows", remember)
    kinds, sizes = (KINDS[0], KINDS[3]), (16.0, 28.0)
    seen = lesion_preservation(perfect, [case], kinds, sizes)
    planted.clear()
    assert seen["cases"] == ["phantom"] and [k["name"] for k in seen["classes"]] == [k.name for k in kinds]
    for kind in seen["classes"]:
        for row in kind["sizes"]:
            assert row["recovered_contrast"] == pytest.approx(1.0, abs=0.02)
            assert row["sensitivity"] == 1.0 and row["places"] >= 2
        assert kind["smallest_preserved_mm"] == 16.0
    assert seen["classes"][0]["sizes"][0]["planted_contrast_hu"] > 400.0
    assert seen["classes"][1]["sizes"][0]["planted_contrast_hu"] < -500.0
    assert lesion_lines(seen) == []

    plain = on_field(ct, case)
    blind = lesion_preservation(lambda _: plain, [case], kinds, sizes)
    for kind in blind["classes"]:
        assert kind["smallest_preserved_mm"] is None
        for row in kind["sizes"]:
            assert row["recovered_contrast"] == 0.0 and row["sensitivity"] == row["control_rate"] <= 0.5
    lines = lesion_lines(blind)
    assert len(lines) == 2 and "solid nodule in the lung of up to 28 mm, the largest tested" in lines[0]


def test_preserved_from_the_smallest_size_on_which_no_loss_follows():
    def row(diameter: float, sensitivity: float, contrast: float = 0.5, places: int = 4) -> dict:
        return {
            "diameter_mm": diameter, "places": places, "sensitivity": sensitivity,
            "recovered_contrast": contrast,
        }  # fmt: skip

    sizes = [row(10, 1.0), row(20, 0.5), row(30, 1.0), row(40, 1.0)]
    assert module.smallest_preserved(sizes) == 30
    assert module.smallest_preserved([*sizes[:3], row(40, 1.0, contrast=0.1)]) is None
    assert module.smallest_preserved([*sizes[:3], row(40, 0.0, places=0)]) == 30
    told = {"classes": [{"name": "nodule", "sizes": sizes, "smallest_preserved_mm": 30.0}]}
    assert "nodule of less than 30 mm (20 mm: 50 % found, 50 % of the contrast)" in lesion_lines(told)[0]
    assert "Not measured" in lesion_lines(None)[0]


def test_pictures_for_viewing_and_no_cases_are_refused(ct: Volume, case: LesionCase):
    shown = [replace(r, quantity=Quantity.DISPLAY) for r in case.radiographs]
    with pytest.raises(InputError, match="expected line integrals"):
        with_shadows(ct, shown, [PlantedSphere(tuple(ct.center), 20.0, 40.0)], 70.0)
    with pytest.raises(InputError, match="room for lesions"):
        lesion_preservation(lambda _: ct, [])
