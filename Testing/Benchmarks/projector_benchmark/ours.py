"""XRecon's projector through its public class, in every mode this checkout offers."""

from __future__ import annotations

import inspect

import torch
from xrecon.physics.projector import Projector
from xrecon.physics.rays import moved_frames
from xrecon.volume import InputError

from projector_benchmark.cases import Case
from projector_benchmark.methods import NotAvailable, Operator


def xrecon(case: Case, device: str, **options) -> Operator:
    """`Projector(views, ...)` with keyword options; raises NotAvailable for those it does not know."""
    known = inspect.signature(Projector.__init__).parameters
    unknown = [name for name in options if name not in known]
    if unknown:
        raise NotAvailable(f"this checkout's Projector has no option {', '.join(unknown)}")
    try:
        projector = Projector(case.views, case.shape, case.spacing, device=device, **options)
    except InputError as error:
        raise NotAvailable(str(error)) from error
    return Operator(lambda x: projector(x)[0], _Posed(projector))


class _Posed:
    """The projector at poses given as tensors, through `frames`."""

    def __init__(self, projector: Projector) -> None:
        self.projector = projector
        centers = [view.isocenter for view in projector.views]
        self.centers = torch.tensor(centers, dtype=torch.float64)

    def __call__(self, x: torch.Tensor, rotation: torch.Tensor, translation: torch.Tensor) -> torch.Tensor:
        """As `Operator.posed`."""
        rotation, translation = (part.to("cpu", torch.float64) for part in (rotation, translation))
        try:
            frames = moved_frames(self.projector.frames, rotation, translation, self.centers)
            return self.projector(x, frames)[0]
        except InputError as error:  # a mode without gradients for the pose
            raise NotAvailable(str(error)) from error
