"""Which view a radiograph shows, where nothing else tells it: the bundled view classifier's answer.

The classifier tells frontal, lateral and neither apart. PA and AP look the same to it, so that a frontal
picture is called PA, as most are. A lateral is called left or right by the side that the patient faces,
which holds for pictures that were neither mirrored nor hung the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from xrecon.evaluation.view_recognition import WARN_PROBABILITY, Recognition, recognise
from xrecon.physics.geometry import ViewGeometry
from xrecon.volume import Radiograph


@dataclass(frozen=True)
class ViewGuess:
    """What a picture seems to be.

    view: "PA", "LEFT LATERAL", "RIGHT LATERAL", or "" when it seems to be neither or is not clear.
    probability: of the kind of view and the layout that were found. inverted: dense tissue is dark.
    turned_deg: counter-clockwise, as the picture lies in its file.
    """

    view: str
    probability: float
    inverted: bool
    turned_deg: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "view": self.view,
            "probability": self.probability,
            "inverted": self.inverted,
            "turned_deg": self.turned_deg,
        }

    def text(self) -> str:
        """One line for people."""
        seen = self.view or "no clear frontal or lateral view"
        layout = ["inverted"] if self.inverted else []
        layout += [f"turned by {self.turned_deg} degrees"] if self.turned_deg else []
        return ", ".join([seen, *layout, f"{self.probability:.0%} sure"])


def guess_view(radiograph: Radiograph) -> ViewGuess:
    """What a radiograph shows, from its picture alone: its own view and geometry are not asked.

    Raises InputError for non-finite pixels.
    """
    found = recognise(_said(radiograph, "PA"))
    view = "PA"
    if found.kind == "lateral":
        found = recognise(_said(radiograph, "LEFT LATERAL"))
        view = "RIGHT LATERAL" if found.mirrored else "LEFT LATERAL"
    return ViewGuess(view if _is_clear(found) else "", found.probability, found.inverted, 90 * found.quarters)


def _is_clear(found: Recognition) -> bool:
    return found.kind != "neither" and found.probability >= WARN_PROBABILITY


def _said(radiograph: Radiograph, view: str) -> Radiograph:
    """The picture as if it were said to show `view`, as such a picture hangs."""
    geometry = ViewGeometry.preset(view, shape=radiograph.array.shape)
    return replace(radiograph, view=view, geometry=geometry)
