"""Which structures survive the way CT -> radiographs -> CT: nodules and air pockets planted into a CT.

Spheres of one HU are blended into a CT, at places in the lung, at its front wall and in soft tissue, their
shadows added to its radiographs (exact: line integrals are linear in the attenuation), and a model
reconstructs both sets. Of each kind and diameter it is reported

- recovered_contrast: the change of the reconstruction within the sphere by the change planted there on the
  same grid. 1 is all of it, 0 nothing.
- sensitivity: the share of the planted spheres that are found by this rule, which needs no second
  reconstruction: the mean within the sphere less the mean of a shell about it, in the direction of the
  contrast, is larger than the 95th percentile of the same number at places of the same tissue in the
  reconstruction of the CT without them.
- control_rate: the share "found" by the same rule at the same places where nothing was planted. The rule's
  own rate is 5 %; a sensitivity near the control rate is no detection at all.

A kind is preserved from the smallest diameter on from which all larger ones have a sensitivity of 75 %
and a fifth of their contrast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xrecon.evaluation.lesion_places import choose_places, places_of_tissue, tissue_maps
from xrecon.evaluation.lesion_planting import (
    Box,
    PlantedSphere,
    plant,
    planted_share,
    sphere_box,
    with_shadows,
)
from xrecon.volume import InputError, Radiograph, Volume

Progress = Callable[[str, float, str], None]
Reconstructor = Callable[[Sequence[Radiograph]], Volume]

DIAMETERS_MM = (10.0, 20.0, 30.0, 40.0)
NULL_PERCENTILE, NULL_PLACES = 95.0, 60
PRESERVED_SENSITIVITY, PRESERVED_CONTRAST = 0.75, 0.2
# The shell about a sphere that it is compared with: from its radius on, this many mm and half a radius more.
SHELL_MM = 6.0
RULE = (
    "found: mean in the sphere less mean in a shell about it exceeds the 95th percentile of the same at "
    f"{NULL_PLACES} places of that tissue without a lesion; preserved: {PRESERVED_SENSITIVITY:.0%} found and "
    f"{PRESERVED_CONTRAST:.0%} of the contrast, also of all larger ones"
)


@dataclass(frozen=True)
class LesionKind:
    """name: as people say it. hu: within the sphere. tissue: "lung", "pleura" (at the front wall of the
    lung) or "soft tissue", where it is put."""

    name: str
    hu: float
    tissue: str


PLEURAL_AIR = "air pocket at the front of the lung"
KINDS = (
    LesionKind("solid nodule in the lung", 40.0, "lung"),
    LesionKind("ground-glass nodule in the lung", -550.0, "lung"),
    LesionKind(PLEURAL_AIR, -1000.0, "pleura"),
    LesionKind("air pocket in soft tissue", -1000.0, "soft tissue"),
)


@dataclass(frozen=True, eq=False)
class LesionCase:
    """A CT in HU (table removed) and its radiographs as line integrals of `energy_kev`."""

    name: str
    volume: Volume
    radiographs: Sequence[Radiograph]
    energy_kev: float = 70.0


@dataclass(frozen=True)
class _Found:
    """What became of one planted sphere."""

    planted_hu: float
    recovered_hu: float
    detected: bool
    control: bool


def lesion_preservation(
    model: Reconstructor,
    cases: Iterable[LesionCase],
    kinds: Sequence[LesionKind] = KINDS,
    diameters_mm: Sequence[float] = DIAMETERS_MM,
    progress: Progress | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """What of planted lesions a model's reconstructions show; plain data for a card and for JSON.

    model: radiographs in, the volume in HU out, such as
        `lambda radiographs: pipelines.reconstruct(radiographs, name, device).volume`.
        It is called once for each case and once for each case, kind and diameter: the up to four places
        of a kind (right and left, upper and lower) are filled together.
    Keys: rule, cases, classes: for each kind its name, hu, tissue, smallest_preserved_mm (None: no size),
    and sizes: diameter_mm, places, planted_contrast_hu, recovered_contrast, sensitivity, control_rate.
    Raises InputError for no cases, or none with room for any lesion.
    """
    names: list[str] = []
    found: dict[tuple[int, float], list[_Found]] = {}
    for case in cases:
        names.append(case.name)
        for key, outcome in _of_case(model, case, kinds, diameters_mm, progress, seed):
            found.setdefault(key, []).extend(outcome)
    if not any(found.values()):
        raise InputError(f"expected CTs with room for lesions, got {names or 'no case'}")
    classes = []
    for number, kind in enumerate(kinds):
        sizes = [_row(d, found.get((number, d), [])) for d in sorted(diameters_mm)]
        classes.append(
            {
                "name": kind.name,
                "hu": kind.hu,
                "tissue": kind.tissue,
                "sizes": sizes,
                "smallest_preserved_mm": smallest_preserved(sizes),
            }
        )
    return {"rule": RULE, "cases": names, "classes": classes}


def smallest_preserved(sizes: Sequence[Mapping[str, Any]]) -> float | None:
    """The smallest diameter (sizes in rising order) from which all that were planted are preserved."""
    smallest = None
    for row in reversed([row for row in sizes if row["places"]]):
        if row["sensitivity"] < PRESERVED_SENSITIVITY or row["recovered_contrast"] < PRESERVED_CONTRAST:
            break
        smallest = row["diameter_mm"]
    return smallest


def lesion_lines(measured: Mapping[str, Any] | None) -> list[str]:
    """For panel and report: a sentence for each class that is not preserved at every size tested.

    measured: what `lesion_preservation` gave, from a card; None: nothing is known, which is told.
    """
    if not measured:
        return ["Not measured for this model: which lesions survive in its volumes."]
    lines = []
    for kind in measured["classes"]:
        tested = [row for row in kind["sizes"] if row["places"]]
        lost = [row for row in tested if (kind["smallest_preserved_mm"] or np.inf) > row["diameter_mm"]]
        if not lost:
            continue
        worst = lost[-1]
        limit = kind["smallest_preserved_mm"]
        largest = f"up to {worst['diameter_mm']:g} mm, the largest tested"
        below = f"less than {limit:g} mm" if limit else largest
        found, contrast = 100 * worst["sensitivity"], 100 * max(worst["recovered_contrast"], 0.0)
        lines.append(
            f"Likely missing: {kind['name']} of {below} ({worst['diameter_mm']:g} mm: {found:.0f} % found, "
            f"{contrast:.0f} % of the contrast)."
        )
    return lines


def _of_case(
    model: Reconstructor,
    case: LesionCase,
    kinds: Sequence[LesionKind],
    diameters_mm: Sequence[float],
    progress: Progress | None,
    seed: int,
) -> Iterable[tuple[tuple[int, float], list[_Found]]]:
    plain = model(case.radiographs)
    maps = tissue_maps(case.volume, plain)
    done, count = 0, len(kinds) * len(diameters_mm)
    for number, kind in enumerate(kinds):
        for diameter in diameters_mm:
            if progress is not None:
                progress("lesions", done / count, f"{case.name}: {kind.name}, {diameter:g} mm")
            done += 1
            centers = choose_places(maps, kind.tissue, diameter / 2.0, seed)
            if not len(centers):
                continue
            spheres = [PlantedSphere(tuple(c), diameter, kind.hu) for c in centers]
            shadowed = with_shadows(case.volume, case.radiographs, spheres, case.energy_kev)
            null = places_of_tissue(maps, kind.tissue, diameter / 2.0, NULL_PLACES, seed + 1)
            at_null = [v for c in null if (v := local_contrast(plain, c, diameter / 2.0)) is not None]
            yield (number, diameter), _judge(case.volume, plain, model(shadowed), spheres, at_null)


def _judge(
    ct: Volume, plain: Volume, changed: Volume, spheres: Sequence[PlantedSphere], at_null: Sequence[float]
) -> list[_Found]:
    """What became of each sphere, by the rule of the module. at_null: local contrasts without a lesion."""
    outcome = []
    for sphere in spheres:
        inside, planted = _grid_weights(ct, plain, sphere)
        if inside.sum() <= 0:
            continue
        planted_hu = float((planted * inside).sum() / inside.sum())
        sign = np.sign(planted_hu) or 1.0
        radius = sphere.diameter_mm / 2.0
        limit = np.percentile(sign * np.array(at_null), NULL_PERCENTILE) if len(at_null) else np.inf
        seen = [local_contrast(v, np.array(sphere.center), radius) for v in (changed, plain)]
        difference = changed.array.astype(np.float64) - plain.array
        outcome.append(
            _Found(
                planted_hu,
                float((difference * inside).sum() / inside.sum()),
                seen[0] is not None and sign * seen[0] > limit,
                seen[1] is not None and sign * seen[1] > limit,
            )
        )
    return outcome


def _grid_weights(
    ct: Volume, grid: Volume, sphere: PlantedSphere
) -> tuple[np.ndarray, np.ndarray]:
    """On a reconstruction's grid: share of each voxel in the sphere, and the change of HU planted."""
    from xrecon.preprocess.ct import resample_like

    inside = planted_share(grid, sphere)
    box, part = plant(ct, [sphere])[0]
    origin = ct.index_to_world(np.array([s.start for s in box][::-1], dtype=np.float64))
    change = Volume(part - ct.array[box], ct.spacing, tuple(origin), ct.direction)
    return inside, resample_like(change, grid, fill=0.0).array


def local_contrast(volume: Volume, center: np.ndarray, radius_mm: float) -> float | None:
    """Mean within a sphere (LPS mm) less mean of the shell about it, HU; None where no voxel is in one."""
    box = sphere_box(volume, PlantedSphere(tuple(center), 3.0 * radius_mm + 2.0 * SHELL_MM, 0.0))
    distance = _distance(volume, center, box)
    sphere, shell = distance <= max(radius_mm, 0.6 * max(volume.spacing)), _shell(distance, radius_mm)
    if not sphere.any() or not shell.any():
        return None
    part = volume.array[box]
    return float(part[sphere].mean() - part[shell].mean())


def _distance(volume: Volume, center: np.ndarray, box: Box) -> np.ndarray:
    """mm from a point (LPS) to each voxel centre of a box; the axes of the volume are orthonormal."""
    index = volume.world_to_index(center)[::-1]
    grids = np.ogrid[box]
    return np.sqrt(sum(((g - i) * s) ** 2 for g, i, s in zip(grids, index, volume.spacing, strict=True)))


def _shell(distance: np.ndarray, radius_mm: float) -> np.ndarray:
    return (distance > radius_mm) & (distance <= 1.5 * radius_mm + SHELL_MM)


def _row(diameter_mm: float, found: Sequence[_Found]) -> dict[str, Any]:
    if not found:
        return {"diameter_mm": diameter_mm, "places": 0, "planted_contrast_hu": None,
                "recovered_contrast": None, "sensitivity": None, "control_rate": None}  # fmt: skip
    planted = np.array([f.planted_hu for f in found])
    return {
        "diameter_mm": float(diameter_mm),
        "places": len(found),
        "planted_contrast_hu": float(planted.mean()),
        "recovered_contrast": float(np.sum([f.recovered_hu for f in found]) / planted.sum()),
        "sensitivity": float(np.mean([f.detected for f in found])),
        "control_rate": float(np.mean([f.control for f in found])),
    }
