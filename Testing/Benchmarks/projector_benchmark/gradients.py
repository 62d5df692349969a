"""Gradients: of the volume (with the memory they take) and of the pose (against the exact one).

The loss is the mean of the squared line integrals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from projector_benchmark import memory, tables
from projector_benchmark.cases import Scene
from projector_benchmark.methods import Method, Operator, Setting, or_missing
from projector_benchmark.timing import as_array, as_rows, interleave

VOLUME_PHANTOM, POSE_PHANTOM = "ellipsoids", "gaussians"
# Steps of the central differences that give the exact pose gradient: rad, mm.
STEP_RADIANS, STEP_MM = 1e-4, 1e-2
Rows = dict[str, dict]


def volume_gradient(operator: Operator, x: torch.Tensor) -> torch.Tensor:
    """d mean(p^2) / d x by autograd."""
    x = x.detach().requires_grad_(True)
    return torch.autograd.grad(operator.project(x).square().mean(), x)[0]


def measure_volume(scene: Scene, methods: list[Method], setting: Setting) -> Rows:
    """Seconds of forward and backward, greatest extra memory, and the gradients compared."""
    rows: Rows = {}
    runs: dict[str, Callable] = {}
    x = torch.as_tensor(scene.volumes[VOLUME_PHANTOM], device=setting.device)[None, None]
    reference = None
    for method in methods:
        setting.report(f"volume gradient of {method.name}")
        row = rows[method.name] = {}
        with or_missing(row):
            operator = method.operator(scene.case, setting.device)
            gradient = as_array(volume_gradient(operator, x)).astype(np.float64)
            reference = gradient if reference is None else reference
            row["norm"] = float(np.linalg.norm(gradient))
            row["sum"] = float(gradient.sum())
            row["difference_l2"] = float(np.linalg.norm(gradient - reference) / np.linalg.norm(reference))
            row |= memory.of_method(method.name, setting)
            runs[method.name] = _gradient_run(operator, x)
    for name, figures in as_rows(interleave(runs, setting.rounds, setting.device, setting.report)).items():
        rows[name] |= figures
    return rows


def _gradient_run(operator: Operator, x: torch.Tensor) -> Callable:
    return lambda: (volume_gradient(operator, x), None)


def volume_table(rows: Mapping[str, Mapping], device: str) -> str:
    """One method per line; differences are to the gradient of the first method that ran."""
    unit = tables.unit(device)
    header = ["method", f"median {unit}", f"min {unit}", f"x {tables.BASELINE}"]
    header += ["forward GB", "forward + backward GB", "gradient norm", "difference L2"]
    cells = {
        name: [
            tables.seconds(row["median_s"], device),
            tables.seconds(row["minimum_s"], device),
            tables.over_baseline(name, row),
            tables.gigabytes(row["forward_bytes"]),
            tables.gigabytes(row["gradient_bytes"]),
            f"{row['norm']:.4g}",
            tables.error(row["difference_l2"]),
        ]
        for name, row in rows.items()
        if "missing" not in row
    }
    return "\n\n".join(t for t in (tables.with_reasons(header, cells, rows), tables.ratios(rows)) if t)


def exact_pose_gradient(scene: Scene, phantom: str = POSE_PHANTOM) -> np.ndarray:
    """d mean(p^2) / d (rotation, translation) of each view, (view, 6), per rad and per mm.

    The rotation is about the view's isocentre, as axis times angle about the LPS axes; p are the
    phantom's exact line integrals; central differences.
    """
    steps = [*(STEP_RADIANS * np.eye(3)), *(STEP_MM * np.eye(3))]
    gradient = np.zeros((len(scene.case.views), 6))
    for i, step in enumerate(steps):
        losses = []
        for sign in (1.0, -1.0):
            turn, shift = (sign * step, np.zeros(3)) if i < 3 else (np.zeros(3), sign * step)
            moved = tuple(moved_view(view, turn, shift) for view in scene.case.views)
            losses.append((scene.case.with_views(moved).truth(phantom) ** 2).mean(axis=(1, 2)))
        gradient[:, i] = (losses[0] - losses[1]) / (2 * np.abs(step).max())
    return gradient / len(scene.case.views)


def moved_view(view, rotation_vector: np.ndarray, shift_mm: np.ndarray):
    """The view turned about its isocentre by axis times angle (rad), then shifted (LPS mm)."""
    matrix = Rotation.from_rotvec(rotation_vector).as_matrix()
    center = np.array(view.isocenter)
    return view.moved(matrix, center - matrix @ center + shift_mm)


def measure_pose(scene: Scene, methods: list[Method], setting: Setting) -> Rows:
    """Seconds of forward and backward for the pose, and the error of its gradient."""
    rows: Rows = {}
    runs: dict[str, Callable] = {}
    x = torch.as_tensor(scene.volumes[POSE_PHANTOM], device=setting.device)[None, None]
    truth = exact_pose_gradient(scene)
    for method in methods:
        setting.report(f"pose gradient of {method.name}")
        row = rows[method.name] = {}
        with or_missing(row):
            run = _pose_run(method.operator(scene.case, setting.device), x, len(scene.case.views))
            gradient = as_array(run()[0])
            row["gradient"] = gradient.tolist()
            for part, where in (("rotation", slice(0, 3)), ("translation", slice(3, 6))):
                difference = np.linalg.norm((gradient - truth)[:, where])
                row[f"{part}_l2"] = float(difference / np.linalg.norm(truth[:, where]))
            runs[method.name] = run
    for name, figures in as_rows(interleave(runs, setting.rounds, setting.device, setting.report)).items():
        rows[name] |= figures
    return rows


def _pose_run(operator: Operator, x: torch.Tensor, views: int) -> Callable:
    def run() -> tuple[torch.Tensor, None]:
        pose = torch.zeros(views, 6, device=x.device, requires_grad=True)
        image = operator.posed(x, pose[:, :3], pose[:, 3:])
        return torch.autograd.grad(image.square().mean(), pose)[0], None

    return run


def pose_table(rows: Mapping[str, Mapping], device: str) -> str:
    """One method per line; errors are those of the gradient against the exact one."""
    unit = tables.unit(device)
    header = ["method", f"median {unit}", f"min {unit}", f"x {tables.BASELINE}"]
    header += ["rotation error", "translation error"]
    cells = {
        name: [
            tables.seconds(row["median_s"], device),
            tables.seconds(row["minimum_s"], device),
            tables.over_baseline(name, row),
            tables.error(row["rotation_l2"]),
            tables.error(row["translation_l2"]),
        ]
        for name, row in rows.items()
        if "missing" not in row
    }
    return "\n\n".join(t for t in (tables.with_reasons(header, cells, rows), tables.ratios(rows)) if t)
