"""From radiographs as they are read to radiographs that a network, trained on projected CTs, can take.

Steps, each of which can be left out and says in the history what it did:

mask        collimation borders and markers found and filled from their surroundings (`covered`); they
            are remembered as `Radiograph.covered`, so that no score or fit counts what was filled in
linearise   where the file says that values follow the beam's intensity: its -log over the open beam; where
            they are its logarithm: less the open beam's (`signal`)
match       else: grey values brought to the domain of projected CTs by background and histogram (`signal`)
scale       both views brought to one scale by the height of the lungs, where a pixel size was assumed
place       the field of view put on the lungs, where the place of the isocentre was assumed; along the
            patient all views together, unless their lungs lie too far apart for that

They act on grey values for display alone: line integrals and log signals are what networks want. Where the
lungs are is found by correlation with the mean chest (`thorax`), to about 15 mm and a tenth of their height,
from front to back to 35 mm; what is nearer than twice that is left as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from xrecon.preprocess.covered import Covered, find_border, find_markers, uncovered
from xrecon.preprocess.radiograph import canonical
from xrecon.preprocess.signal import log_signal, matched
from xrecon.preprocess.thorax import Thorax, find_thorax
from xrecon.preprocess.views import FRONTAL, LATERAL, view_kind
from xrecon.volume import InputError, Quantity, Radiograph

STEPS = ("mask", "linearise", "match", "scale", "place")
# Both errors of height together are about 0.15; below this ratio two heights are the same.
SAME_HEIGHT = 1.25
# The middle of the lungs is found to 15 mm, from front to back to 35 mm (standard deviations on projections
# of six CTs, each with the mean chest of the other five). What is nearer than about twice that is no error.
LEAST_ALONG_MM = 30.0
LEAST_ACROSS_MM = {FRONTAL: 30.0, LATERAL: 60.0}
# Of two views that agree, the heights at which the lungs are found differ by 15 mm times the square root of
# 2; views that differ by nearly three times as much do not agree.
APART_MM = 60.0
TO_THE_FEET = (0.0, 0.0, -1.0)
# Height of the lungs in the mean chest, at the isocentre.
USUAL_HEIGHT_MM = 240.0
# Pictures of lungs smaller or taller than this, at the isocentre, are of another scale.
PLAUSIBLE_HEIGHT_MM = (130.0, 380.0)


@dataclass(frozen=True, eq=False)
class _View:
    """A radiograph on its way: which pixels show something, and where its lungs are, if that is known."""

    radiograph: Radiograph
    valid: np.ndarray
    thorax: Thorax | None

    @property
    def name(self) -> str:
        return self.radiograph.view

    @property
    def height_mm(self) -> float:
        """Height of the lungs in the plane of the isocentre."""
        geometry = self.radiograph.geometry
        return self.thorax.size[0] * geometry.pixel_spacing[0] / geometry.magnification


def take_in(
    radiographs: Sequence[Radiograph], skip: Collection[str] = ()
) -> tuple[list[Radiograph], list[str]]:
    """The radiographs for `pipelines.reconstruct`, and what the user should know, a sentence each.

    skip: names out of `STEPS`. Radiographs without geometry, of neither frontal nor lateral view, or that
    hold line integrals or log signals keep their numbers, as all that no step touches does. Their assumed
    isocentre is moved along the patient with that of the others, so that all views still show one patient.
    Raises InputError for an unknown step, or pixels that are not finite.
    """
    unknown = sorted(set(skip) - set(STEPS))
    if unknown:
        raise InputError(f"expected steps out of {', '.join(STEPS)} to skip, got {', '.join(unknown)}")
    notes: list[str] = []
    views = [_prepared(radiograph, skip, notes) for radiograph in radiographs]
    if "scale" not in skip:
        views = _scaled(views, notes)
    if "place" not in skip:
        views = _placed(views, notes)
    return [_with_lungs(view) for view in views], notes


def _prepared(radiograph: Radiograph, skip: Collection[str], notes: list[str]) -> _View:
    """One radiograph masked and brought towards line integrals."""
    kind = view_kind(radiograph.view)
    wanted = kind in (FRONTAL, LATERAL) and radiograph.quantity is Quantity.DISPLAY
    if not wanted or radiograph.geometry is None:
        return _View(radiograph, np.ones(radiograph.array.shape, dtype=bool), None)
    radiograph = canonical(radiograph.require_finite(f"the {radiograph.view} radiograph"))
    spacing = radiograph.geometry.pixel_spacing
    border, sides = find_border(radiograph.array)
    nothing = np.zeros(border.shape, dtype=bool)
    without = uncovered(radiograph.array, Covered(border, nothing, sides, 0))
    thorax = find_thorax(without, kind, spacing)
    if thorax is None:
        notes.append(
            f"{radiograph.view}: nothing like the lungs of an upright chest was found in the picture"
        )
    kept = thorax.slices(border.shape) if thorax else None
    markers, count = find_markers(radiograph.array, border, kept)
    covered = Covered(border, markers, sides, count)
    valid = radiograph.seen & ~(covered.border | covered.markers)
    if "mask" not in skip and covered.anything:
        note = f"filled from around: {covered.note()}"
        radiograph = radiograph.with_array(uncovered(radiograph.array, covered), note, covered=~valid)
        notes.append(f"{radiograph.view}: {note}")
    return _View(_towards_integrals(radiograph, kind, thorax, valid, skip), valid, thorax)


def _towards_integrals(
    radiograph: Radiograph, kind: str, thorax: Thorax | None, valid: np.ndarray, skip: Collection[str]
) -> Radiograph:
    linear = log_signal(radiograph, valid) if "linearise" not in skip else None
    if linear is not None:
        return linear
    if "match" in skip or thorax is None:
        return radiograph
    return matched(radiograph, kind, thorax, valid)


# -- scale -------------------------------------------------------------------------------------
def _scaled(views: list[_View], notes: list[str]) -> list[_View]:
    """The views with pixel sizes that make the lungs as tall in the first frontal as in the first lateral."""
    pair = [
        next((i for i, v in enumerate(views) if v.thorax and view_kind(v.name) == kind), None)
        for kind in (FRONTAL, LATERAL)
    ]
    if None in pair:
        return views
    heights = [views[i].height_mm for i in pair]
    if max(heights) < SAME_HEIGHT * min(heights):
        return views
    told = (
        f"the lungs are {heights[0]:.0f} mm tall in {views[pair[0]].name} and {heights[1]:.0f} mm in "
        f"{views[pair[1]].name}"
    )
    free = [
        n for n, i in enumerate(pair) if views[i].radiograph.meta.get("pixel_spacing_mm.origin") == "assumed"
    ]
    if not free:
        notes.append(f"{told}: one of the recorded pixel sizes or distances seems wrong")
        return views
    # of two assumed sizes that of the less usual lungs is changed
    changed = max(free, key=lambda n: abs(np.log(heights[n] / USUAL_HEIGHT_MM)))
    view, factor = views[pair[changed]], heights[1 - changed] / heights[changed]
    low, high = PLAUSIBLE_HEIGHT_MM
    if not low <= heights[1 - changed] <= high:
        notes.append(f"{told}: neither is plausible enough to scale the other one by")
        return views
    note = f"assumed pixel size times {factor:.3f}: {told}"
    notes.append(f"{view.name}: {note}")
    scaled = list(views)
    scaled[pair[changed]] = replace(view, radiograph=_with_spacing(view.radiograph, factor, note))
    return scaled


def _with_spacing(radiograph: Radiograph, factor: float, note: str) -> Radiograph:
    spacing = tuple(s * factor for s in radiograph.geometry.pixel_spacing)
    meta = {
        **radiograph.meta,
        "pixel_spacing_mm": " ".join(f"{s:.10g}" for s in spacing),
        "pixel_spacing_mm.origin": "lungs of the other view",
    }
    geometry = replace(radiograph.geometry, pixel_spacing=spacing)
    return replace(radiograph, geometry=geometry, meta=meta, history=(*radiograph.history, note))


# -- place -------------------------------------------------------------------------------------
def _placed(views: list[_View], notes: list[str]) -> list[_View]:
    """The views with their detectors moved so that the isocentre lies in the middle of the lungs."""
    moves = _moves_along(views)
    return [_moved(view, down, notes) for view, down in zip(views, moves, strict=True)]


def _moves_along(views: Sequence[_View]) -> list[float]:
    """By how many mm at the isocentre each view's detector moves to the patient's feet.

    All views show one patient, so what moves one along it moves all, or views that agreed would contradict
    each other. Only views whose lungs lie too far apart for an error of finding them are moved singly: each
    onto its lungs, or onto those of the views whose isocentre is known.
    """
    found = [None if v.thorax is None else float(_offset_mm(v)[0]) for v in views]
    free = [_is_free(v) for v in views]
    lungs = [d for d, f in zip(found, free, strict=True) if f and d is not None]
    fixed = [v for v, f in zip(views, free, strict=True) if not f and v.radiograph.geometry is not None]
    middle = float(np.mean(lungs)) if lungs else 0.0
    if fixed:
        known = [d for d, f in zip(found, free, strict=True) if not f and d is not None]
        if not known:
            return [0.0] * len(views)
        there = float(np.mean(known))
        singly = [0.0 if d is None else d - there for d in found]
        return [d if f and abs(d) >= APART_MM else 0.0 for d, f in zip(singly, free, strict=True)]
    if lungs and max(lungs) - min(lungs) >= APART_MM:
        return [(middle if d is None else d) if f else 0.0 for d, f in zip(found, free, strict=True)]
    return [middle if f and abs(middle) >= LEAST_ALONG_MM else 0.0 for f in free]


def _is_free(view: _View) -> bool:
    radiograph = view.radiograph
    return radiograph.geometry is not None and radiograph.meta.get("isocenter.origin") == "assumed"


def _offset_mm(view: _View) -> np.ndarray:
    """From the middle of the lungs to the isocentre in the picture (down, across), mm at the isocentre."""
    geometry = view.radiograph.geometry
    pixels = geometry.project(np.array(geometry.isocenter)) - np.array(view.thorax.center)
    return pixels * np.array(geometry.pixel_spacing) / geometry.magnification


def _moved(view: _View, down: float, notes: list[str]) -> _View:
    """The view with its detector moved, by mm at the isocentre: down, and across onto its lungs if far."""
    if not _is_free(view):
        return view
    across = 0.0 if view.thorax is None else float(_offset_mm(view)[1])
    if abs(across) < LEAST_ACROSS_MM.get(view_kind(view.name), np.inf):
        across = 0.0
    if down == 0.0 and across == 0.0:
        return view
    radiograph = view.radiograph
    geometry = radiograph.geometry
    shift_mm = geometry.magnification * np.array([down, across])
    along = shift_mm[0] * np.array(TO_THE_FEET) + shift_mm[1] * np.array(geometry.column_direction)
    where = "with the other views" if view.thorax is None else "onto the lungs"
    note = (
        f"field of view moved by {0.0 - shift_mm[0]:+.0f} mm down and {0.0 - shift_mm[1]:+.0f} mm across on "
        f"the detector, {where}"
    )
    notes.append(f"{view.name}: {note}")
    origin = "lungs of the other views" if view.thorax is None else "lungs"
    meta = {**radiograph.meta, "isocenter.origin": origin}
    moved = replace(
        radiograph, geometry=geometry.shifted(along), meta=meta, history=(*radiograph.history, note)
    )
    return replace(view, radiograph=moved)


def _with_lungs(view: _View) -> Radiograph:
    """The radiograph with the box of its lungs in `meta`: middle and size in pixels (row, column), score."""
    if view.thorax is None:
        return view.radiograph
    thorax = view.thorax
    box = " ".join(f"{v:.1f}" for v in (*thorax.center, *thorax.size))
    found = {
        "lungs_box": box,
        "lungs_score": f"{thorax.score:.2f}",
        "lungs_height_mm": f"{view.height_mm:.0f}",
    }
    return replace(view.radiograph, meta={**view.radiograph.meta, **found})
