"""From radiographs as they are read to radiographs that a network, trained on projected CTs, can take.

Steps, each of which can be left out and says in the history what it did:

mask        collimation borders and markers found and filled from their surroundings (`covered`); they
            are remembered as `Radiograph.covered`, so that no score or fit counts what was filled in
linearise   -log of the beam's intensity, where the file says that values are proportional to it (`signal`)
match       else: grey values brought to the domain of projected CTs by background and histogram (`signal`)
scale       both views brought to one scale by the height of the lungs, where a pixel size was assumed
place       the field of view put on the lungs, where the place of the isocentre was assumed

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
# of six CTs, each with the mean chest of the other five). Down and across: what is nearer is no error.
LEAST_SHIFT_MM = {FRONTAL: (30.0, 30.0), LATERAL: (30.0, 60.0)}
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
    hold line integrals or log signals come back as they are; so do all numbers that no step touches.
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
        views = [_placed(view, notes) for view in views]
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
    valid = ~(covered.border | covered.markers)
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
def _placed(view: _View, notes: list[str]) -> _View:
    """The view with its detector moved so that the isocentre lies in the middle of the lungs."""
    radiograph = view.radiograph
    if view.thorax is None or radiograph.meta.get("isocenter.origin") != "assumed":
        return view
    geometry = radiograph.geometry
    offset = geometry.project(np.array(geometry.isocenter)) - np.array(view.thorax.center)
    shift_mm = offset * np.array(geometry.pixel_spacing)
    far = np.abs(shift_mm / geometry.magnification) >= LEAST_SHIFT_MM[view_kind(view.name)]
    if not far.any():
        return view
    shift_mm = np.where(far, shift_mm, 0.0)
    along = shift_mm[0] * np.array(geometry.row_direction) + shift_mm[1] * np.array(geometry.column_direction)
    note = (
        f"field of view moved by {0.0 - shift_mm[0]:+.0f} mm down and {0.0 - shift_mm[1]:+.0f} mm across on "
        "the detector, onto the lungs"
    )
    notes.append(f"{view.name}: {note}")
    meta = {**radiograph.meta, "isocenter.origin": "lungs"}
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
