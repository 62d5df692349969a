"""A spine from radiographs, vertebra by vertebra: each is reconstructed about its own middle, then all are
put together into one volume.

Source: Tan et al. (EAR), sections 3.1 and 5 (figure 5). The middles are given: in a radiograph they are
picked by the user, in a test they come from the CT's label map (`xrecon vertebrae prepare`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from xrecon.io.atomic import atomic_write_text
from xrecon.io.folder import output_folder
from xrecon.io.table import read_rows
from xrecon.outcome import Outcome, ProgressCallback
from xrecon.pipelines import NOT_FOR_DIAGNOSIS, Reconstruction, reconstruct
from xrecon.preprocess.ct import AIR_HU, resample
from xrecon.progress import json_text
from xrecon.volume import InputError, Quantity, Radiograph, Volume

Point = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Spine:
    """Vertebrae in one volume.

    volume: HU; inside a vertebra the numbers of its own reconstruction, elsewhere the mean of those that
    reach there, air where none does. labels: 1 the first of `names`, and so on.
    """

    volume: Volume
    labels: Volume
    names: tuple[str, ...]
    warnings: list[str]


def reconstruct_spine(
    radiographs: Sequence[Radiograph],
    model: str | Path,
    centers: Mapping[str, Point],
    device: str = "auto",
    progress: ProgressCallback | None = None,
) -> Spine:
    """The vertebrae whose middles are given, each reconstructed on its own, in one volume.

    radiographs: of one position, with geometry. model: one that gives the class of the vertebra in its
    middle (recipe `ear-vertebrae`). centers: LPS mm (x, y, z) by name.
    Raises InputError as `pipelines.reconstruct`, and for a model without classes or no centers.
    """
    if not centers:
        raise InputError("expected the middles of one or more vertebrae, got none")
    parts, warnings = {}, []
    for number, (name, center) in enumerate(centers.items()):
        if progress:
            progress("vertebrae", number / len(centers), name)
        about = [
            r if r.geometry is None else replace(r, geometry=replace(r.geometry, isocenter=tuple(center)))
            for r in radiographs
        ]
        part = reconstruct(about, model, device)
        if part.labels is None:
            raise InputError(
                "expected a model that gives the class of the vertebra in its middle, "
                f"got {part.model}, which gives none"
            )
        parts[name] = part
        warnings += [w for w in part.warnings if w not in warnings]
    return compose(parts, warnings)


def compose(parts: Mapping[str, Reconstruction], warnings: Sequence[str] = ()) -> Spine:
    """Reconstructions about several middles, with classes, as one volume along LPS.

    Where two vertebrae claim a voxel, the one with the nearer middle gets it.
    """
    grid = _common_grid([part.volume for part in parts.values()])
    total, count = np.zeros(grid.shape, np.float32), np.zeros(grid.shape, np.float32)
    inside, own = np.zeros(grid.shape, np.uint16), np.zeros(grid.shape, np.float32)
    nearest = np.full(grid.shape, np.inf, np.float32)
    for number, part in enumerate(parts.values(), start=1):
        box = _box_of(part.volume, grid)
        where = _cut(grid, box)
        hu = resample(part.volume, where.shape, where.spacing, where.center, fill=AIR_HU).array
        classes = resample(part.labels, where.shape, where.spacing, where.center, fill=0, order=0).array
        distance = _distance(where, part.volume.center)
        total[box] += hu
        count[box] += 1
        claimed = (classes == 1) & (distance < nearest[box])
        nearest[box][claimed] = distance[claimed]
        inside[box][claimed] = number
        own[box][claimed] = hu[claimed]
    mean = np.where(count > 0, total / np.maximum(count, 1), AIR_HU)
    hu = np.where(inside > 0, own, mean).astype(np.float32)
    first = next(iter(parts.values())).volume
    volume = replace(grid, array=hu, meta={**first.meta, "vertebrae": ", ".join(parts)})
    labels = replace(grid, array=inside.astype(np.uint8), quantity=Quantity.LABEL)
    missing = [f"{name}: the model found no vertebra there" for name in _unseen(parts, inside)]
    return Spine(volume, labels, tuple(parts), [*warnings, *missing])


def _unseen(parts: Mapping[str, Reconstruction], inside: np.ndarray) -> list[str]:
    present = set(np.unique(inside).tolist())
    return [name for number, name in enumerate(parts, start=1) if number not in present]


def _common_grid(volumes: Sequence[Volume]) -> Volume:
    """An empty volume along LPS, with the voxels of the first, that covers all."""
    spacing = np.array(volumes[0].spacing[::-1])
    low = np.min([v.origin for v in volumes], axis=0)
    high = np.max([v.index_to_world(np.array(v.shape[::-1]) - 1.0) for v in volumes], axis=0)
    shape = np.ceil((high - low) / spacing - 1e-6).astype(int) + 1
    empty = np.zeros(tuple(shape[::-1]), np.float32)
    return Volume(empty, volumes[0].spacing, tuple(low), quantity=Quantity.HU)


def _box_of(volume: Volume, grid: Volume) -> tuple[slice, ...]:
    """The voxels of `grid` (z, y, x) whose middles lie within those of `volume`."""
    last = volume.index_to_world(np.array(volume.shape[::-1]) - 1.0)
    ends = grid.world_to_index(np.stack([np.array(volume.origin), last]))[:, ::-1]
    first, stop = np.ceil(ends[0] - 1e-6).astype(int), np.floor(ends[1] + 1e-6).astype(int) + 1
    return tuple(slice(a, b) for a, b in zip(first, stop, strict=True))


def _cut(grid: Volume, box: tuple[slice, ...]) -> Volume:
    origin = grid.index_to_world(np.array([s.start for s in box])[::-1])
    return replace(grid, array=grid.array[box], origin=tuple(origin))


def _distance(grid: Volume, point: np.ndarray) -> np.ndarray:
    """Distance of each voxel's middle from a point in LPS mm, (z, y, x)."""
    axes = [np.arange(n) * s + o for n, s, o in zip(grid.shape, grid.spacing, grid.origin[::-1], strict=True)]
    squares = [(axis - p) ** 2 for axis, p in zip(axes, np.asarray(point)[::-1], strict=True)]
    return np.sqrt(squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :])


# -- commands ------------------------------------------------------------------------------------
def prepare(
    data: Path, output: Path, structures: Path | None, field_mm: float, progress: ProgressCallback
) -> Outcome:
    """Subjects of single vertebrae from CTs with label maps; see `xrecon.training.vertebrae`."""
    from xrecon.training.vertebrae import CENTERS, VERSE_NAMES, read_names, write_vertebrae

    names = read_names(structures) if structures else VERSE_NAMES
    progress("prepare", 0.0, f"vertebrae of the CTs in {data}")
    made = write_vertebrae(data, output, names, field_mm)
    files = {"subjects": output / "subjects.csv", "centers": output / CENTERS}
    text = f"{len(made.subjects)} vertebrae: {', '.join(made.subjects)}"
    return Outcome(files, {"subjects": made.subjects}, text, made.notes)


def read_centers(path: Path, ct: str | None = None) -> dict[str, Point]:
    """Middles of vertebrae from a CSV with the columns name, x, y, z (LPS mm) and perhaps ct.

    ct: only the rows of this CT. Raises InputError for a table without them, with a number that is not
    finite, with a name twice, or that is not in UTF-8.
    """
    rows = [row for row in read_rows(path) if ct is None or row.get("ct") == ct]
    try:
        centers = {row["name"]: (float(row["x"]), float(row["y"]), float(row["z"])) for row in rows}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"expected columns name, x, y, z with numbers in {path}: {error}") from error
    for name, point in centers.items():
        if not np.isfinite(point).all():
            raise InputError(f"expected finite x, y, z of the vertebra {name!r} in {path}, got {point}")
    if not centers or len(centers) < len(rows):
        raise InputError(
            f"expected each vertebra once in {path}, got {[row['name'] for row in rows]}"
            + ("" if ct else ": for several CTs say which with --ct-name")
        )
    return centers


def reconstruct_files(
    radiographs: Sequence[Radiograph],
    centers: Mapping[str, Point],
    output: Path,
    model: str,
    device: str,
    progress: ProgressCallback,
) -> Outcome:
    """The spine of `reconstruct_spine` as files: volume, segmentation, summary."""
    from xrecon.io.image import write_volume
    from xrecon.io.segmentation import numbered_segments, write_segmentation

    with output_folder(output) as folder:
        spine = reconstruct_spine(radiographs, model, centers, device, progress)
        files = {"reconstruction": "spine.nrrd", "segmentation": "spine.seg.nrrd", "summary": "spine.json"}
        write_volume(spine.volume, folder / files["reconstruction"])
        segments = numbered_segments(spine.names)
        write_segmentation(spine.labels, folder / files["segmentation"], segments)
        sizes = [float((spine.labels.array == s.label).sum() * spine.labels.voxel_ml) for s in segments]
        numbers = {
            "model": str(model),
            "notice": NOT_FOR_DIAGNOSIS,
            "centers_lps_mm": {name: list(point) for name, point in centers.items()},
            "volumes_ml": dict(zip(spine.names, sizes, strict=True)),
        }
        atomic_write_text(folder / files["summary"], json_text({**numbers, "files": files}))
    text = "\n".join(f"{name}: {size:.1f} ml" for name, size in numbers["volumes_ml"].items())
    return Outcome({k: output / v for k, v in files.items()}, numbers, text, spine.warnings)
