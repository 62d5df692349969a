"""One bar for a job of several stages, and how long it will still take."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from slicer.i18n import tr as _

# Stages of `xrecon reconstruct` and their shares of its time.
RECONSTRUCTION_STAGES = {
    "read": 0.04, "check": 0.03, "load": 0.18, "prepare": 0.1, "reconstruct": 0.25, "uncertainty": 0.05,
    "refine": 0.1, "reproject": 0.1, "calibrate": 0.05, "write": 0.1,
}  # fmt: skip
# Stages of `xrecon segment`.
SEGMENTATION_STAGES = {"read": 0.03, "lungs": 0.47, "ptx-seg": 0.3, "measure": 0.12, "write": 0.08}
# The same with intervals from the expected error: everything but the reading a dozen times more.
INTERVAL_STAGES = {
    "read": 0.01, "lungs": 0.05, "ptx-seg": 0.03, "measure": 0.01, "intervals": 0.88, "write": 0.02,
}  # fmt: skip
# Before, a guess from what has passed is worth nothing.
TELL_AFTER_SECONDS, TELL_AFTER_SHARE = 3.0, 0.05


class OverallProgress:
    """Stages in order with shares of the whole; a stage without a share stands for the whole itself."""

    def __init__(self, shares: Mapping[str, float], clock: Callable[[], float] = time.monotonic) -> None:
        self._shares, self._clock = dict(shares), clock
        self._started = clock()
        self._part, self._parts = 0, 1
        self.fraction = 0.0

    def startPart(self, part: int, parts: int) -> None:
        """What is updated from now on is the one numbered `part`, from 0, of several equal parts."""
        self._part, self._parts = part, parts
        self.fraction = part / parts

    def update(self, stage: str, fraction: float) -> float:
        """The share of the whole job that is done; within a job of known stages it never goes back."""
        if stage not in self._shares:
            self.fraction = (self._part + fraction) / self._parts
            return self.fraction
        before = 0.0
        for name, share in self._shares.items():
            if name == stage:
                break
            before += share
        done = (before + self._shares[stage] * fraction) / sum(self._shares.values())
        self.fraction = max(self.fraction, (self._part + done) / self._parts)
        return self.fraction

    @property
    def secondsLeft(self) -> float | None:
        """Guessed from the time that has passed; None when it is too early."""
        passed = self._clock() - self._started
        if passed < TELL_AFTER_SECONDS or self.fraction < TELL_AFTER_SHARE:
            return None
        return passed * (1.0 - self.fraction) / self.fraction

    @property
    def text(self) -> str:
        """ "about 2 min left", or "" when it is too early or over."""
        left = self.secondsLeft
        if left is None or self.fraction >= 1.0:
            return ""
        if left >= 3600:
            return _("about {hours:.1f} h left").format(hours=left / 3600)
        if left >= 90:
            return _("about {minutes:.0f} min left").format(minutes=left / 60)
        return _("about {seconds:.0f} s left").format(seconds=max(left, 1.0))
