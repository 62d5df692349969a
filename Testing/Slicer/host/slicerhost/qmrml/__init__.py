"""Stand-ins for Slicer's own widgets (`slicer.qMRML*`, `slicer.qSlicer*`) on the real scene."""

from __future__ import annotations

import slicer
from qt._standins import registry


def install() -> None:
    """Put the stand-ins into the `slicer` package under their C++ names."""
    from ..modules import qSlicerScriptedLoadableModule
    from . import numbers, panels, segments, selectors, subject_hierarchy, tables  # noqa: F401  (they register)

    for name, cls in registry.items():
        if name.startswith(("qMRML", "qSlicer")):
            setattr(slicer, name, cls)
    slicer.qSlicerScriptedLoadableModule = qSlicerScriptedLoadableModule
