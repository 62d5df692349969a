"""The terminology that the extension brings along: pneumothorax is in none of Slicer's own."""

from __future__ import annotations

from pathlib import Path

import slicer

CONTEXT = "Segmentation category and type - XRecon"
FILE = (
    Path(__file__).resolve().parent.parent / "Resources" / "SegmentationCategoryTypeModifier-XRecon.term.json"
)


def loadTerminology() -> None:
    """Makes Slicer know pneumothorax; does nothing when it does already."""
    logic = slicer.modules.terminologies.logic()
    if not logic.IsTerminologyContextLoaded(CONTEXT):
        logic.LoadTerminologyFromFile(str(FILE))
