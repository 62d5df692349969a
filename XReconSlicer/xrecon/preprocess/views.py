"""Which radiograph is which view: the order a model wants, and refusal of the same view twice."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from xrecon.preprocess.radiograph import normalize
from xrecon.volume import InputError, Radiograph

if TYPE_CHECKING:
    from xrecon.physics.geometry import ViewGeometry

FRONTAL, LATERAL = "frontal", "lateral"
_KINDS = {"PA": FRONTAL, "AP": FRONTAL, "LEFT LATERAL": LATERAL, "RIGHT LATERAL": LATERAL}
# Two radiographs whose central rays (taken as lines) lie within this angle show the same view.
SAME_VIEW_DEGREES = 30.0
# Views nearer to each other than this add little; of networks for any views it is told, not refused.
NEAR_VIEW_DEGREES = 10.0
# Small copies of two pictures that correlate more (or are each other's negative) are one picture,
# stored twice. A frontal and a lateral view of one patient correlate 0.55 to 0.8.
SAME_PICTURE_CORRELATION = 0.97
SMALL_PIXELS = 64
# Views nearer to each other than this may correlate as much: of two CTs and a phantom 0.90 to 0.97 at 30
# degrees, 0.97 to 0.994 at 15. There only what is a copy for certain counts as one.
UNLIKE_VIEW_DEGREES = 45.0
COPIED_PICTURE_CORRELATION = 0.9995
# Views of one patient position must turn about one point.
ISOCENTER_TOLERANCE_MM = 1.0


def view_kind(view: str) -> str:
    """"frontal" for PA and AP, "lateral" for both laterals, any other name as it is."""
    return _KINDS.get(view, view)


def order_views(
    radiographs: Sequence[Radiograph], views: Sequence[str]
) -> tuple[list[Radiograph], list[str]]:
    """The radiographs in the order of a card's views, and warnings.

    A frontal place takes PA or AP, a lateral place left or right. Raises InputError when the
    number differs, a radiograph has no geometry or no known view, or a view is there twice.
    """
    expected = ", ".join(views)
    if len(radiographs) != len(views):
        raise InputError(f"expected {len(views)} radiographs ({expected}), got {len(radiographs)}")
    for number, radiograph in enumerate(radiographs, 1):
        radiograph.require_finite(f"radiograph {number}{f' ({radiograph.view})' if radiograph.view else ''}")
        if radiograph.geometry is None or not radiograph.view:
            raise InputError(f"expected radiograph {number} with a known view ({expected}), got none")
    _refuse_same_view(radiographs)
    waiting, ordered, warnings = list(radiographs), [], []
    for view in views:
        match = next((r for r in waiting if r.view == view), None) or next(
            (r for r in waiting if view_kind(r.view) == view_kind(view)), None
        )
        if match is None:
            got = ", ".join(r.view for r in radiographs)
            raise InputError(f"expected the views {expected}, got {got}")
        waiting = [r for r in waiting if r is not match]
        ordered.append(match)
        if match.view != view:
            warnings.append(f"the model was made for a {view} view and got {match.view}")
    return ordered, warnings


def take_views(
    radiographs: Sequence[Radiograph],
    views: Sequence[str],
    count: tuple[int, int] | None,
    any_direction: bool,
) -> tuple[list[Radiograph], list[str]]:
    """The radiographs as a card's input takes them, and warnings.

    count: least and most radiographs at once, in any order; None: exactly `views`, as `order_views`.
    any_direction: from any side of the patient; otherwise each is one of `views`, PA for AP and left for
    right. Raises InputError, naming what can be taken, for another number or view, for a radiograph
    without geometry, and for one picture twice.
    """
    if count is None:
        return order_views(radiographs, views)
    least, most = count
    named = ", ".join(views)
    takes = f"{least} to {most} radiographs" if least < most else f"{least} radiographs"
    takes += f" from any side of the patient (trained on {named})" if any_direction else f" out of {named}"
    if not least <= len(radiographs) <= most:
        raise InputError(f"expected {takes}, got {len(radiographs)}")
    kinds = {view_kind(view) for view in views}
    for number, radiograph in enumerate(radiographs, 1):
        radiograph.require_finite(f"radiograph {number}{f' ({radiograph.view})' if radiograph.view else ''}")
        if radiograph.geometry is None or not radiograph.view:
            raise InputError(f"expected {takes}, got none known for radiograph {number}")
        if not any_direction and view_kind(radiograph.view) not in kinds:
            raise InputError(f"expected {takes}, got {radiograph.view}")
    if not any_direction:
        _refuse_same_view(radiographs)
    return list(radiographs), _too_near(radiographs)


def _too_near(radiographs: Sequence[Radiograph]) -> list[str]:
    """Warnings of views that see almost the same; InputError for one picture twice."""
    limit, warnings = np.cos(np.radians(NEAR_VIEW_DEGREES)), []
    for first, second in combinations(radiographs, 2):
        along = abs(float(_central_ray(first.geometry) @ _central_ray(second.geometry)))
        is_far = along < np.cos(np.radians(UNLIKE_VIEW_DEGREES))
        alike = SAME_PICTURE_CORRELATION if is_far else COPIED_PICTURE_CORRELATION
        if same_picture(first.array, second.array, alike):
            raise InputError(
                f"expected different radiographs, got one picture twice (as {first.view} and {second.view})"
            )
        if along > limit:
            warnings.append(
                f"{first.view} and {second.view} look along nearly the same line, which tells little more "
                "than one of them"
            )
    return warnings


def _refuse_same_view(radiographs: Sequence[Radiograph]) -> None:
    limit = np.cos(np.radians(SAME_VIEW_DEGREES))
    for i, first in enumerate(radiographs):
        for second in radiographs[i + 1 :]:
            both = f"{first.view} and {second.view}"
            if view_kind(first.view) == view_kind(second.view):
                raise InputError(f"expected two different views, got the same view twice ({both})")
            if abs(float(_central_ray(first.geometry) @ _central_ray(second.geometry))) > limit:
                raise InputError(
                    f"expected views from different directions, got {both} with central rays less than "
                    f"{SAME_VIEW_DEGREES:g} degrees apart"
                )
            if same_picture(first.array, second.array):
                raise InputError(f"expected two different radiographs, got one picture twice (as {both})")


def same_picture(
    first: np.ndarray, second: np.ndarray, correlation: float = SAME_PICTURE_CORRELATION
) -> bool:
    """Whether two arrays (row, column) show one picture: rescaled, compressed, with other grey values
    or reversed ones. Both are normalised and averaged to a small picture, then correlated."""
    if first.shape == second.shape and np.array_equal(first, second):
        return True
    small = [_small(picture) for picture in (first, second)]
    if min(picture.std() for picture in small) == 0:
        return False
    return abs(float(np.corrcoef(small[0].ravel(), small[1].ravel())[0, 1])) > correlation


def _small(picture: np.ndarray) -> np.ndarray:
    from PIL import Image

    image = Image.fromarray(normalize(picture))
    return np.asarray(image.resize((SMALL_PIXELS, SMALL_PIXELS), Image.Resampling.BOX), dtype=np.float64)


def _central_ray(geometry: ViewGeometry) -> np.ndarray:
    ray = np.array(geometry.detector_center) - np.array(geometry.source)
    return ray / np.linalg.norm(ray)


def common_isocenter(radiographs: Sequence[Radiograph]) -> np.ndarray:
    """LPS mm (x, y, z) of the point all views turn about. Raises InputError when they differ."""
    points = np.array([r.geometry.isocenter for r in radiographs])
    apart = float(np.linalg.norm(points - points[0], axis=1).max())
    if apart > ISOCENTER_TOLERANCE_MM:
        raise InputError(
            f"expected views about one isocentre, got isocentres {apart:.1f} mm apart: "
            "take all radiographs from one source"
        )
    return points[0]
