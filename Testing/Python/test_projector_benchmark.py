"""The projector benchmark's own parts: its truth, rays and ratios. Needs no peer, times nothing."""

import json

import numpy as np
import projector as benchmark
import pytest
import torch
from projector_benchmark import environment, gradients, memory, tables, torch_peers
from projector_benchmark.cases import Case, Scene, errors, make_cases, posed
from projector_benchmark.forward import measure, measure_views, table, views_table
from projector_benchmark.methods import METHODS, Method, NotAvailable, Setting, chosen, reason_of
from projector_benchmark.native_peers import read_pfm
from projector_benchmark.phantoms import (
    Gaussian,
    chest_ellipsoids,
    gaussian_line_integrals,
    sample_gaussians,
    soft_gaussians,
)
from projector_benchmark.timing import Timing, ratio
from scipy.integrate import quad
from xrecon.physics.geometry import ViewGeometry


def small_case(views=1, timed=True):
    view = ViewGeometry.pa(
        source_to_detector_mm=700.0, source_to_isocenter_mm=400.0, shape=(9, 11), pixel_spacing=(50.0, 40.0)
    )
    turned = tuple(posed(view, (7.0, 3.0, 20.0 + 30.0 * i), (5.0, -8.0, 6.0)) for i in range(views))
    return Case("small", (31, 40, 36), (12.0, 9.0, 10.0), turned, timed=timed)


def setting(lines=None):
    return Setting("cpu", 1, 2, (lines if lines is not None else []).append)


def test_gaussian_integrals_against_quadrature():
    view = small_case().views[0]
    source, pixels = np.array(view.source), view.pixel_positions()
    # one blob ordinary, one about the source and one about a pixel: the ray ends within these two
    blobs = [
        Gaussian((10.0, -20.0, 5.0), 30.0, 0.02),
        Gaussian(tuple(source + 4.0), 25.0, 0.01),
        Gaussian(tuple(pixels[4, 5] - 3.0), 20.0, 0.03),
    ]
    seen = gaussian_line_integrals(blobs, view)
    for row, column in ((0, 0), (4, 5), (8, 3)):
        length = np.linalg.norm(pixels[row, column] - source)
        along = (pixels[row, column] - source) / length

        def density(t, along=along):
            return sum(
                b.density * np.exp(-((source + t * along - b.center) ** 2).sum() / (2 * b.sigma**2))
                for b in blobs
            )

        truth = quad(density, 0, length, points=np.linspace(0, length, 40)[1:-1], limit=400)[0]
        assert seen[row, column] == pytest.approx(truth, rel=1e-9)


def test_gaussians_are_sampled_in_the_order_of_arrays():
    case = small_case()
    blob = Gaussian((33.0, -21.0, 40.0), 15.0, 0.5)
    values = sample_gaussians([blob], case.shape, case.spacing)
    z, y, x = 18, 17, 21
    point = (np.array([x, y, z]) - (np.array(case.shape[::-1]) - 1) / 2) * case.spacing[::-1]
    distance2 = ((point - blob.center) ** 2).sum()
    assert values[z, y, x] == pytest.approx(0.5 * np.exp(-distance2 / (2 * 15.0**2)), rel=1e-12)


@pytest.mark.parametrize("case", make_cases().values(), ids=lambda case: case.name)
def test_phantoms_lie_within_every_volume(case):
    """What a volume cuts off would count as an error of the method."""
    half = np.array(case.shape[::-1]) * case.spacing[::-1] / 2
    for blob in soft_gaussians():
        assert np.all(np.abs(blob.center) + 4 * blob.sigma <= half + 1e-9)
    for body in chest_ellipsoids():
        reach = np.linalg.norm(body.rotation * np.array(body.semi_axes), axis=1)
        assert np.all(np.abs(body.center) + reach <= half)
    assert len(chest_ellipsoids()) == 12 and len(soft_gaussians()) == 25


def test_errors_are_relative():
    truth = np.array([[3.0, 4.0]])
    assert errors(truth * 1.01, truth) == (pytest.approx(0.01), pytest.approx(0.01))


def test_peers_turn_their_rays_as_the_exact_gradient_turns_views():
    case = small_case(views=2)
    rotation = torch.tensor([[0.2, -0.1, 0.3], [0.0, 0.4, -0.2]])
    shift = torch.tensor([[5.0, -7.0, 11.0], [1.0, 2.0, 3.0]])
    operator = torch_peers._operator(case, *torch_peers.rays(case, "cpu"), lambda x, source, target: target)
    seen = operator.posed(torch.zeros(1), rotation, shift).numpy()
    for i, view in enumerate(case.views):
        moved = gradients.moved_view(view, rotation[i].numpy(), shift[i].numpy())
        assert np.allclose(seen[i], moved.pixel_positions().reshape(-1, 3), atol=1e-3)
        assert np.allclose(moved.isocenter, np.array(view.isocenter) + shift[i].numpy(), atol=1e-5)


def test_own_poses_are_those_of_moved_views():
    scene = Scene(small_case(views=2))
    x = torch.from_numpy(scene.volumes["gaussians"])[None, None]
    eager = next(m for m in METHODS if m.name == "xrecon Joseph eager")
    pose = torch.tensor([[0.2, -0.1, 0.3, 5.0, -7.0, 11.0], [0.0, 0.4, -0.2, 1.0, 2.0, 3.0]])
    seen = eager.operator(scene.case, "cpu").posed(x, pose[:, :3], pose[:, 3:])
    moved = [
        gradients.moved_view(v, p[:3], p[3:]) for v, p in zip(scene.case.views, pose.numpy(), strict=True)
    ]
    truth = eager.operator(scene.case.with_views(tuple(moved)), "cpu").project(x)
    assert errors(seen.numpy(), truth.numpy())[0] < 1e-5


def test_exact_pose_gradient_predicts_the_loss_of_a_moved_view():
    scene = Scene(small_case(views=2))
    gradient = gradients.exact_pose_gradient(scene)
    step = np.array([[2e-3, -1e-3, 1e-3, 0.1, -0.2, 0.1], [-1e-3, 1e-3, 2e-3, 0.2, 0.1, -0.1]])

    def loss(sign):
        moved = [
            gradients.moved_view(v, sign * s[:3], sign * s[3:])
            for v, s in zip(scene.case.views, step, strict=True)
        ]
        return (scene.case.with_views(tuple(moved)).truth("gaussians") ** 2).mean()

    assert (loss(1) - loss(-1)) / 2 == pytest.approx((gradient * step).sum(), rel=2e-3)


def test_own_rows_are_measured_and_missing_ones_say_why():
    lines: list[str] = []
    case = small_case(views=2)
    methods = [
        next(m for m in METHODS if m.name == "xrecon Joseph eager"),
        Method("xrecon of tomorrow", "ours:xrecon", {"antigravity": True}),
        Method("broken", "ours:no_such_function"),
    ]
    rows = measure(Scene(case), methods, setting(lines))
    assert rows["xrecon Joseph eager"]["gaussians"]["l2"] < 0.05
    assert len(rows["xrecon Joseph eager"]["rounds_s"]) == 2
    assert "antigravity" in rows["xrecon of tomorrow"]["missing"]
    assert "AttributeError" in rows["broken"]["missing"]
    text = table(rows, "cpu", timed=True)
    assert "not available" in text and "xrecon of tomorrow: " in text
    assert "worst pose" in table(rows, "cpu", timed=False)
    json.dumps(rows)
    views = measure_views(Scene(case), methods, setting())
    assert views["xrecon Joseph eager"]["difference_l2"] < 1e-6
    assert "antigravity" in views["xrecon of tomorrow"]["missing"]
    assert "2 in one call" in views_table(views, 2, "cpu")


def test_gradient_of_the_volume_is_that_of_the_loss():
    scene = Scene(small_case())
    method = next(m for m in METHODS if m.name == "xrecon Joseph eager")
    x = torch.from_numpy(scene.volumes["ellipsoids"])[None, None]
    operator = method.operator(scene.case, "cpu")
    gradient = gradients.volume_gradient(operator, x)
    # the loss is quadratic and homogeneous: <gradient, x> is twice the loss
    loss = operator.run(x)()[0].double().square().mean()
    assert float((gradient * x).double().sum()) == pytest.approx(2 * float(loss), rel=1e-5)


@pytest.mark.skipif(not memory.CLEAR.exists(), reason="needs Linux's /proc/self/clear_refs")
def test_peak_memory_counts_what_a_pass_touches_and_frees():
    def one_pass(megabytes):
        np.ones(megabytes * 125_000).sum()

    small, large = memory._peak_cpu(lambda: one_pass(40)), memory._peak_cpu(lambda: one_pass(160))
    assert 110e6 < large - small < 130e6


def test_ratio_is_taken_within_rounds():
    ours, peer = Timing([1.0, 2.0, 4.0]), Timing([10.0, 10.0, None])
    assert ratio(peer, ours) == pytest.approx(7.5)  # 10 and 5, not 10 / 2
    assert np.isnan(ratio(Timing([None]), Timing([1.0])))
    assert peer.median == peer.minimum == 10.0


def test_numbers_and_tables_as_printed():
    assert tables.error(8.239e-3) == "8.24e-3" and tables.error(None) == "-"
    assert tables.seconds(0.05123) == "0.0512" and tables.seconds(51.2e-6, "cuda") == "51.2"
    assert tables.times(3.456) == "3.46x" and tables.times(34.56) == "34.6x"
    assert tables.times(float("nan")) == "-" and tables.gigabytes(140e6) == "0.14"
    text = tables.markdown(["method", "s"], [["one", "0.1"], ["another", "12.5"]])
    assert text.splitlines() == [
        "| method  |    s |",
        "| ------- | ---: |",
        "| one     |  0.1 |",
        "| another | 12.5 |",
    ]
    with pytest.raises(ValueError, match="2 cells"):
        tables.markdown(["method", "s"], [["one"]])
    assert tables.ratios({"xrecon Joseph eager": {"faster_than": {}}}) == ""


def test_command_line():
    options = benchmark.parse(["--cases", "A, B", "--parts", "forward", "--device", "cuda"])
    assert options.cases == ["A", "B"] and options.parts == ["forward"] and options.rounds == 5
    assert set(benchmark.CASES) == set(make_cases())
    for wrong in (["--cases", "C"], ["--parts", ""], ["--rounds", "0"], ["--device", "tpu"]):
        with pytest.raises(SystemExit):
            benchmark.parse(wrong)


def test_methods_by_device_and_name():
    assert {m.name for m in chosen("rtk, EXACT", "cpu")} == {"RTK Joseph", "plastimatch exact"}
    assert all(m.torch for m in chosen(None, "cuda"))
    assert not any("Triton" in m.name for m in chosen(None, "cpu"))
    assert len({m.name for m in METHODS}) == len(METHODS)
    assert reason_of(RuntimeError("first\nsecond")) == "failed with RuntimeError: first"
    with pytest.raises(NotAvailable, match="nanodrr"):
        torch_peers.nanodrr(small_case(), "cpu", samples=2, backend="triton")


def test_pins_agree_with_the_lock():
    locked = dict(
        line.split(";")[0].split("==") for line in environment.LOCK.read_text().splitlines() if "==" in line
    )
    name, version = environment.TORCH.split("==")
    assert locked[name] == version
    pinned = [name for step in environment.steps()[1:] for name in step if "==" in name]
    assert len(pinned) == 10
    assert not {p.split("==")[0] for p in pinned} & set(locked)


def test_pfm_is_read_as_written(tmp_path):
    picture = np.arange(12, dtype="<f4").reshape(3, 4)
    path = tmp_path / "a.pfm"
    path.write_bytes(b"Pf\n4 3\n-1\n" + picture.tobytes())
    assert np.array_equal(read_pfm(path), picture)
    path.write_bytes(b"PF\n4 3\n-1\n" + picture.tobytes())
    with pytest.raises(ValueError, match="grey"):
        read_pfm(path)
