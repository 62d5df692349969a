"""reconstruct, segment, evaluate: frames, refusals, fallbacks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from xrecon.nets import device as devices
from xrecon.physics.chest_phantom import chest_phantom
from xrecon.physics.drr import render_drrs
from xrecon.physics.geometry import ViewGeometry
from xrecon.pipelines import evaluate, mean_training_volume, reconstruct, segment
from xrecon.preprocess.views import same_picture
from xrecon.volume import InputError, Quantity, Radiograph, Volume

SIDE, SPACING = 16, 22.4


def cube(array: np.ndarray, center: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Volume:
    origin = np.array(center) - (SIDE - 1) / 2.0 * SPACING
    return Volume(array, (SPACING,) * 3, tuple(origin))


@pytest.fixture
def truth() -> Volume:
    """A chiral body in HU: an ellipsoid of water with lungs of different size and a dense spot."""
    z, y, x = np.meshgrid(*[(np.arange(SIDE) - 7.5) / 8.0] * 3, indexing="ij")
    hu = np.full((SIDE,) * 3, -1000.0, dtype=np.float32)
    hu[(z / 0.9) ** 2 + (y / 0.55) ** 2 + (x / 0.75) ** 2 < 1] = 0.0
    hu[(z / 0.5) ** 2 + (y / 0.3) ** 2 + ((x + 0.35) / 0.2) ** 2 < 1] = -800.0
    hu[(z / 0.35) ** 2 + (y / 0.25) ** 2 + ((x - 0.35) / 0.15) ** 2 < 1] = -800.0
    hu[11:13, 5:7, 10:12] = 900.0
    return cube(hu)


def radiographs(volume: Volume, isocenter: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> list[Radiograph]:
    views = [ViewGeometry.preset(v, shape=(60, 56), isocenter=isocenter) for v in tiny_models.VIEWS]
    return render_drrs(volume, views)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_models.save_backprojection(tmp_path / "model")


def test_the_volume_stands_about_the_isocentre_and_says_what_it_is(truth: Volume, model: Path):
    result = reconstruct(radiographs(truth), model)
    volume = result.volume
    assert volume.shape == (SIDE,) * 3 and volume.spacing == pytest.approx((SPACING,) * 3)
    np.testing.assert_allclose(volume.center, 0.0, atol=1e-9)
    np.testing.assert_array_equal(volume.direction, np.eye(3))
    assert volume.quantity is Quantity.HU
    card = json.loads((model / "card.json").read_text())
    assert volume.meta["model"] == card["name"] and volume.meta["model_sha256"] == card["sha256"]
    assert "synthetic" in volume.meta and "not for diagnosis" in volume.meta["notice"]
    assert result.device == "cpu"
    json.dumps(result.to_dict()["scores"])


def test_order_of_the_radiographs_does_not_matter(truth: Volume, model: Path):
    pa, lateral = radiographs(truth)
    one, other = reconstruct([pa, lateral], model), reconstruct([lateral, pa], model)
    np.testing.assert_array_equal(one.volume.array, other.volume.array)
    assert [r.view for r in other.inputs] == ["PA", "LEFT LATERAL"]


def test_patient_and_views_moved_together_give_the_moved_volume(truth: Volume, model: Path):
    offset = (12.5, -30.0, 71.0)
    there = reconstruct(radiographs(truth.moved(offset), offset), model).volume
    here = reconstruct(radiographs(truth), model).volume
    np.testing.assert_allclose(there.center, offset, atol=1e-9)
    np.testing.assert_allclose(there.array, here.array, atol=0.5)


def test_inputs_and_reprojections_share_their_pixels(truth: Volume, model: Path):
    result = reconstruct(radiographs(truth), model)
    for picture, projected in zip(result.inputs, result.reprojections, strict=True):
        assert picture.geometry.is_close(projected.geometry)
        assert picture.array.shape == (tiny_models.DETECTOR,) * 2
        assert projected.quantity is Quantity.LINE_INTEGRAL


def test_the_true_volume_explains_the_radiographs_and_its_mirror_does_not(truth: Volume, tmp_path: Path):
    views = radiographs(truth)
    right = reconstruct(views, tiny_models.save_memory(tmp_path / "truth", truth))
    np.testing.assert_allclose(right.volume.array, np.maximum(truth.array, -1024.0), atol=0.1)
    mirrored = truth.with_array(truth.array[:, :, ::-1])
    wrong = reconstruct(views, tiny_models.save_memory(tmp_path / "mirror", mirrored))
    # the pictures are resampled for the network, so not to rounding
    assert right.scores["PA"]["relative_residual"] < 0.03
    assert right.scores["PA"]["structure_correlation"] > 0.99
    assert wrong.scores["PA"]["relative_residual"] > 2 * right.scores["PA"]["relative_residual"]
    agreement = [result.scores["PA"]["structure_correlation"] for result in (wrong, right)]
    assert agreement[0] < agreement[1] - 0.1


# -- refusals ------------------------------------------------------------------------------------
def test_the_same_picture_twice_is_refused(truth: Volume, model: Path):
    pa, lateral = radiographs(truth)
    with pytest.raises(InputError, match="one picture twice"):
        reconstruct([pa, replace(lateral, array=pa.array)], model)


@pytest.mark.parametrize("change", ["smaller", "compressed", "other grey values", "negative"])
def test_a_copy_of_the_picture_is_refused(truth: Volume, model: Path, change: str):
    """What another program makes of a file that it saves again."""
    pa, lateral = radiographs(truth)
    noise = np.random.default_rng(2).normal(0.0, 0.01 * np.ptp(pa.array), pa.array.shape)
    copy = {
        "smaller": pa.array.reshape(30, 2, 28, 2).mean(axis=(1, 3)),
        "compressed": pa.array + noise,
        "other grey values": np.rint(900.0 * np.sqrt(pa.array)),
        "negative": pa.array.max() - pa.array,
    }[change]
    geometry = ViewGeometry.lateral(shape=copy.shape)
    with pytest.raises(InputError, match="one picture twice"):
        reconstruct([pa, replace(lateral, array=copy.astype(np.float32), geometry=geometry)], model)


def test_two_views_of_a_chest_are_two_pictures(truth: Volume):
    chest = chest_phantom((8.0, 8.0, 8.0), noise_hu=0.0).volume
    for volume in (truth, chest):
        pa, lateral = radiographs(volume, tuple(volume.center))
        assert not same_picture(pa.array, lateral.array)


def test_the_same_view_twice_is_refused(truth: Volume, model: Path):
    pa, lateral = radiographs(truth)
    ap = render_drrs(truth, [ViewGeometry.ap(shape=(60, 56))])[0]
    with pytest.raises(InputError, match=r"same view twice \(PA and AP\)"):
        reconstruct([pa, ap], model)
    mislabelled = replace(ap, view="LEFT LATERAL")  # named a lateral, but taken from the front
    with pytest.raises(InputError, match="different directions"):
        reconstruct([pa, mislabelled], model)


def test_number_of_views_and_missing_geometry_are_refused(truth: Volume, model: Path):
    pa, lateral = radiographs(truth)
    with pytest.raises(InputError, match=r"expected 2 radiographs \(PA, LEFT LATERAL\), got 1"):
        reconstruct([pa], model)
    with pytest.raises(InputError, match="expected 2 radiographs .* got 3"):
        reconstruct([pa, lateral, pa], model)
    with pytest.raises(InputError, match="known view"):
        reconstruct([pa, replace(lateral, view="", geometry=None)], model)


def test_views_about_different_points_are_refused(truth: Volume, model: Path):
    pa, _ = radiographs(truth)
    lateral = render_drrs(truth, [ViewGeometry.lateral(shape=(60, 56), isocenter=(0.0, 0.0, 20.0))])[0]
    with pytest.raises(InputError, match="one isocentre, got isocentres 20.0 mm apart"):
        reconstruct([pa, lateral], model)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_pixels_that_are_no_numbers_are_refused(truth: Volume, model: Path, bad: float):
    pa, lateral = radiographs(truth)
    pixels = pa.array.copy()
    pixels[3, 4] = bad
    with pytest.raises(InputError, match="1 NaN or infinite"):
        reconstruct([replace(pa, array=pixels), lateral], model)


def test_a_damaged_model_is_refused(truth: Volume, model: Path):
    weights = model / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(InputError, match="sha256"):
        reconstruct(radiographs(truth), model)


def test_other_sides_and_distances_are_told(truth: Volume, model: Path):
    pa, _ = radiographs(truth)
    far = ViewGeometry.lateral("right", shape=(60, 56), source_to_detector_mm=2500.0)
    lateral = render_drrs(truth, [far])[0]
    warnings = reconstruct([pa, lateral], model).warnings
    assert any("LEFT LATERAL" in w and "RIGHT LATERAL" in w for w in warnings)
    assert any("source_to_detector_mm is 2500" in w for w in warnings)
    ap = render_drrs(truth, [ViewGeometry.ap(shape=(60, 56))])[0]
    assert reconstruct([lateral, ap], model).volume.meta["views"] == "AP, RIGHT LATERAL"
    assert reconstruct(radiographs(truth), model).warnings == []


def test_assumed_geometry_is_told(truth: Volume, model: Path):
    pa, lateral = radiographs(truth)
    pa = replace(pa, meta={**pa.meta, "source_to_detector_mm.origin": "assumed"})
    warnings = reconstruct([pa, lateral], model).warnings
    assert any("not known" in w for w in warnings)


def test_a_pixel_spacing_of_the_user_that_fits_no_chest_is_told(truth: Volume, model: Path):
    pa, lateral = radiographs(truth)
    geometry = replace(pa.geometry, pixel_spacing=(2.0, 2.0))
    pa = replace(pa, geometry=geometry, meta={**pa.meta, "pixel_spacing_mm.origin": "argument"})
    result = reconstruct([pa, lateral], model)
    assert "PA: the pixel spacing makes a picture of 120 x 112 mm, unusual for a chest" in result.warnings


# -- devices -------------------------------------------------------------------------------------
def test_a_missing_gpu_is_told_only_when_it_was_wished(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.choose_device("auto") == devices.Device("cpu")
    wished = devices.choose_device("cuda")
    assert wished.name == "cpu" and "no usable CUDA device" in wished.notes[0]
    with pytest.raises(InputError, match="'tpu'"):
        devices.choose_device("tpu")


def test_a_broken_gpu_falls_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(devices, "cuda_fault", lambda _device: "no kernel image")
    chosen = devices.choose_device("auto")
    assert chosen.name == "cpu" and "no kernel image" in chosen.notes[0]


def test_full_gpu_memory_falls_back_to_the_cpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(devices, "choose_device", lambda _: devices.Device("cuda"))

    def compute(place: str) -> str:
        if place == "cuda":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return "done"

    result, used = devices.run_on_device(compute)
    assert result == "done" and used.name == "cpu" and "memory" in used.notes[0]


def test_full_memory_is_a_memory_error():
    def compute(place: str) -> None:
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes.")

    with pytest.raises(MemoryError):
        devices.run_on_device(compute, "cpu")


def test_mean_training_volume(truth: Volume, tmp_path: Path):
    model = tiny_models.save_memory(tmp_path / "m", truth)
    mean = mean_training_volume(model)
    np.testing.assert_allclose(mean.array, truth.array, atol=0.1)
    np.testing.assert_allclose(mean.center, 0.0, atol=1e-9)
    assert mean_training_volume(tiny_models.save_backprojection(tmp_path / "b")) is None


# -- evaluate ------------------------------------------------------------------------------------
def test_a_volume_compared_with_itself_is_perfect(truth: Volume):
    metrics = evaluate(truth, truth)
    assert metrics["mae_hu"] == 0 and metrics["psnr"] == np.inf
    assert metrics["ssim"] == pytest.approx(1.0) and metrics["cosine_similarity"] == pytest.approx(1.0)


def test_known_error_gives_known_metrics(truth: Volume):
    shifted = truth.with_array(truth.array + 25.0)
    metrics = evaluate(shifted, truth)
    assert metrics["mae_hu"] == pytest.approx(25.0)
    assert metrics["psnr"] == pytest.approx(20 * np.log10(2500 / 25))


def test_volumes_on_other_grids_are_compared_in_the_same_place(truth: Volume):
    """A field linear in LPS mm is the same on every grid; one moved by 30 mm is not."""

    def field(volume: Volume, shift_mm: float = 0.0) -> Volume:
        index = np.stack(np.meshgrid(*[np.arange(n) for n in volume.shape], indexing="ij"), -1)[..., ::-1]
        world = volume.index_to_world(index)
        return volume.with_array(2.0 * (world[..., 0] + shift_mm) - world[..., 1] + 0.5 * world[..., 2])

    fine = Volume(np.zeros((41, 37, 45)), (7.0, 8.0, 6.0), (150.0, -140.0, -130.0), np.diag([-1.0, 1.0, 1.0]))
    metrics = evaluate(field(truth), field(fine))
    assert metrics["mae_hu"] < 1.0
    assert evaluate(field(truth, 30.0), field(fine))["mae_hu"] == pytest.approx(60.0, abs=1.0)


def test_oblique_volumes_are_compared_without_resampling_on_their_own_grid(oblique_volume: Volume):
    assert evaluate(oblique_volume, oblique_volume)["mae_hu"] == 0


def test_a_mask_restricts_the_comparison(truth: Volume):
    wrong = truth.array.copy()
    wrong[:8] += 500.0
    upper = truth.with_array((np.arange(SIDE) >= 8)[:, None, None] * np.ones(truth.shape), Quantity.LABEL)
    assert evaluate(truth.with_array(wrong), truth, upper)["mae_hu"] == 0
    assert evaluate(truth.with_array(wrong), truth)["mae_hu"] > 100


def test_labels_are_compared_label_by_label(label_volume: Volume):
    moved = label_volume.with_array(np.where(label_volume.array == 3, 0, label_volume.array))
    metrics = evaluate(moved, label_volume)
    assert metrics["dice_1"] == 1 and metrics["assd_mm_1"] == 0
    assert metrics["dice_3"] == 0
    lost = np.count_nonzero(label_volume.array == 3) * label_volume.voxel_ml
    assert metrics["volume_error_ml_3"] == pytest.approx(-lost)


def test_what_cannot_be_compared_is_refused(truth: Volume, label_volume: Volume):
    with pytest.raises(InputError, match="same quantity"):
        evaluate(truth, label_volume)
    with pytest.raises(InputError, match="without a voxel in common"):
        evaluate(truth, truth.moved((5000.0, 0.0, 0.0)))


# -- segment -------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def phantom():
    return chest_phantom((6.0, 6.0, 6.0), pneumothorax_ml=500.0, side="right", noise_hu=0.0)


def test_segment_with_given_lungs_measures_the_known_air(phantom):
    stages = set()
    result = segment(phantom.volume, phantom.lungs, progress=lambda stage, *_: stages.add(stage))
    assert result.lung_source == "given" and result.labels.quantity is Quantity.LABEL
    assert result.labels.same_grid(phantom.volume)
    assert result.quantities.right_pneumothorax_ml == pytest.approx(500.0, rel=0.25)
    assert result.quantities.left_pneumothorax_ml < 30.0
    assert stages


def test_classical_lungs_need_no_weights(phantom):
    result = segment(phantom.volume, lung_models=("classical",))
    assert result.lung_source == "classical" and result.device == "cpu"
    assert result.quantities.right_pneumothorax_ml > 300.0


@pytest.mark.parametrize(("label", "side"), [(1, "right"), (2, "left")])
def test_a_lung_that_classical_lungs_lose_is_told(label: int, side: str):
    """One side filled like an effusion: the result says which lung is not there."""
    chest = chest_phantom((6.0, 6.0, 6.0), noise_hu=0.0)
    filled = np.where(chest.labels.array == label, 30, chest.volume.array).astype(np.int16)
    result = segment(chest.volume.with_array(filled), lung_models=("classical",))
    assert any(f"The {side} lung and its air have" in text for text in result.warnings)
    whole = segment(chest.volume, lung_models=("classical",))
    assert not any("lung and its air have" in text for text in whole.warnings)


def test_settings_of_ptx_seg_by_name(phantom):
    high = segment(phantom.volume, phantom.lungs, parameters={"v_t": 1e6})
    assert high.parameters.v_t == 1e6
    assert high.quantities.pneumothorax_ml == 0.0
    for wrong, word in (({"t_x": 1}, "t_x"), ({"v_t": -1}, "v_t")):
        with pytest.raises(InputError, match=word):
            segment(phantom.volume, phantom.lungs, parameters=wrong)


def test_segment_refuses_other_grids_quantities_and_no_lungs(phantom, truth: Volume):
    with pytest.raises(InputError, match="grid of the CT"):
        segment(phantom.volume, truth.with_array((truth.array < -500).astype(np.uint8), Quantity.LABEL))
    with pytest.raises(InputError, match="expected a CT in HU"):
        segment(phantom.lungs)
    mask = phantom.volume.with_array((phantom.lungs.array > 0).astype(np.uint8))  # a label map read as a CT
    with pytest.raises(InputError, match="from 0 to 1: a label map"):
        segment(mask, phantom.lungs)
    with pytest.raises(InputError, match="lung models"):
        segment(phantom.volume, lung_models=())
    with pytest.raises(InputError, match="no-such-lungs"):
        segment(phantom.volume, lung_models=("no-such-lungs",))
