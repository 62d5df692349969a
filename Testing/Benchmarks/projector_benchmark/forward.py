"""Forward projection: accuracy and speed of every method together, and several views in one call."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping

import numpy as np

from projector_benchmark import tables
from projector_benchmark.cases import PHANTOMS, Scene, errors
from projector_benchmark.methods import Method, Setting, or_missing
from projector_benchmark.timing import as_array, as_rows, interleave

TIMED_PHANTOM = "ellipsoids"
_TOGETHER, _ONE_BY_ONE = ", in one call", ", one by one"
Rows = dict[str, dict]


def measure(scene: Scene, methods: list[Method], setting: Setting) -> Rows:
    """Errors on both phantoms and seconds of every method; what could not run keeps its reason."""
    rows: Rows = {}
    runs = {}
    for method in methods:
        setting.report(f"{scene.case.name}: errors of {method.name}")
        row = rows[method.name] = {}
        with or_missing(row):
            ready = {}
            for phantom in PHANTOMS:
                begin = time.perf_counter()
                ready[phantom] = method.runner(scene.case, scene.volumes[phantom], setting)
                images = as_array(ready[phantom]()[0])
                row.setdefault("set_up_and_first_call_s", time.perf_counter() - begin)
                row[phantom] = _errors(images, scene.truths[phantom])
            runs[method.name] = ready[TIMED_PHANTOM]
        gc.collect()
    if scene.case.timed and runs:
        for name, figures in as_rows(
            interleave(runs, setting.rounds, setting.device, setting.report)
        ).items():
            rows[name] |= figures
    return rows


def _errors(images: np.ndarray, truths: np.ndarray) -> dict:
    images = images.reshape(truths.shape)
    relative, greatest = errors(images, truths)
    per_view = [errors(image, truth)[0] for image, truth in zip(images, truths, strict=True)]
    return {"l2": relative, "max": greatest, "l2_of_views": per_view}


def table(rows: Mapping[str, Mapping], device: str, timed: bool) -> str:
    """Accuracy and speed, one method per line; for several untimed poses, accuracy and the worst pose."""
    if not timed:
        return _accuracy_table(rows)
    unit = tables.unit(device)
    header = ["method", f"median {unit}", f"min {unit}", f"x {tables.BASELINE}"]
    header += ["ellipsoids L2", "max", "Gaussians L2", "max"]
    cells = {
        name: [
            tables.seconds(row["median_s"], device),
            tables.seconds(row["minimum_s"], device),
            tables.over_baseline(name, row),
            *(tables.error(row[phantom][key]) for phantom in PHANTOMS for key in ("l2", "max")),
        ]
        for name, row in rows.items()
        if "missing" not in row
    }
    return "\n\n".join(t for t in (tables.with_reasons(header, cells, rows), tables.ratios(rows)) if t)


def _accuracy_table(rows: Mapping[str, Mapping]) -> str:
    header = ["method", "ellipsoids L2", "worst pose", "max", "Gaussians L2", "worst pose", "max"]
    cells = {
        name: [
            tables.error(value)
            for phantom in PHANTOMS
            for value in (row[phantom]["l2"], max(row[phantom]["l2_of_views"]), row[phantom]["max"])
        ]
        for name, row in rows.items()
        if "missing" not in row
    }
    return tables.with_reasons(header, cells, rows)


def measure_views(scene: Scene, methods: list[Method], setting: Setting) -> Rows:
    """All views of one volume in one call against one call for each: seconds for all of them."""
    rows: Rows = {}
    runs: dict[str, Callable] = {}
    volume = scene.volumes[TIMED_PHANTOM]
    for method in methods:
        row = rows[method.name] = {}
        with or_missing(row):
            together = method.runner(scene.case, volume, setting)
            singles = [
                method.runner(scene.case.with_views((view,)), volume, setting) for view in scene.case.views
            ]
            one_by_one = np.concatenate([as_array(single()[0]) for single in singles])
            row["difference_l2"] = errors(as_array(together()[0]), one_by_one)[0]
            runs[f"{method.name}{_TOGETHER}"] = together
            runs[f"{method.name}{_ONE_BY_ONE}"] = _each(singles)
    figures = as_rows(interleave(runs, setting.rounds, setting.device, setting.report))
    for row_name, row in rows.items():
        if "missing" not in row:
            together, singles = (figures[f"{row_name}{how}"] for how in (_TOGETHER, _ONE_BY_ONE))
            row |= {"together": together, "one_by_one": singles}
            row["gain"] = together["faster_than"][f"{row_name}{_ONE_BY_ONE}"]
    return rows


def _each(singles: list[Callable]) -> Callable:
    return lambda: ([single()[0] for single in singles], None)


def views_table(rows: Mapping[str, Mapping], views: int, device: str) -> str:
    """Time per view, together and one by one."""
    unit = tables.unit(device)
    header = ["method", f"{unit} per view, {views} in one call", f"{unit} per view, one by one", "gain"]
    header.append("difference L2")
    cells = {
        name: [
            *(tables.seconds(row[how]["median_s"] / views, device) for how in ("together", "one_by_one")),
            tables.times(row["gain"]),
            tables.error(row["difference_l2"]),
        ]
        for name, row in rows.items()
        if "missing" not in row
    }
    return tables.with_reasons(header, cells, rows)
