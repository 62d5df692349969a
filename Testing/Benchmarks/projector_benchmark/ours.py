"""XRecon's projector through its public class, in every mode this checkout offers."""

from __future__ import annotations

import inspect

import torch
from xrecon.physics.projector import Projector

from projector_benchmark.cases import Case
from projector_benchmark.methods import NotAvailable, Operator


def xrecon(case: Case, device: str, **options) -> Operator:
    """`Projector(views, ...)` with keyword options; raises NotAvailable for those it does not know."""
    known = inspect.signature(Projector.__init__).parameters
    unknown = [name for name in options if name not in known]
    if options.get("backend") == "eager" and unknown == ["backend"]:
        options, unknown = {}, []  # before there was a choice, eager was all there was
    if unknown:
        raise NotAvailable(f"this checkout's Projector has no option {', '.join(unknown)}")
    projector = Projector(case.views, case.shape, case.spacing, device=device, **options)

    def project(x: torch.Tensor) -> torch.Tensor:
        return projector(x)[0]

    def posed(x: torch.Tensor, rotation: torch.Tensor, translation: torch.Tensor) -> torch.Tensor:
        if "rotation" not in inspect.signature(Projector.__call__).parameters:
            raise NotAvailable("this checkout's Projector has no gradients for the pose")
        return projector(x, rotation=rotation, translation=translation)[0]

    return Operator(project, posed)
