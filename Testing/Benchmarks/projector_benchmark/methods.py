"""The registry of methods: what is compared, under which name, on which device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module

import numpy as np

Runner = Callable[[], tuple[object, "float | None"]]


class NotAvailable(Exception):
    """The method cannot run here; the message says why and becomes the row of the table."""


@dataclass
class Operator:
    """A differentiable method set up for the views of a case.

    project: attenuation (1, 1, z, y, x) to line integrals (view, row, column).
    rays: the tensors (source, target) that `project` takes as second and third argument, for
        gradients of the pose; None where the method has its own way.
    """

    project: Callable
    rays: tuple | None = None

    def run(self, x) -> Runner:
        """A call without gradients on one volume."""
        import torch

        def call() -> tuple[object, None]:
            with torch.no_grad():
                return self.project(x), None

        return call


@dataclass(frozen=True)
class Method:
    """One row of the table.

    builder: "module:function" below projector_benchmark, imported when it is needed. devices: where
    it can run. torch: differentiable, builds an `Operator`; else it builds a `Runner` for one volume.
    slow: seconds per view at case A, so fewer rounds on larger ones.
    """

    name: str
    builder: str
    options: dict = field(default_factory=dict)
    devices: tuple[str, ...] = ("cpu", "cuda")
    torch: bool = True
    slow: bool = False
    gradient: bool = False

    def _function(self) -> Callable:
        module, name = self.builder.split(":")
        return partial(getattr(import_module(f"projector_benchmark.{module}"), name), **self.options)

    def operator(self, case, device: str) -> Operator:
        """Set up for the views of a case; raises NotAvailable."""
        return self._function()(case, device)

    def runner(self, case, volume: np.ndarray, device: str, threads: int) -> Runner:
        """Ready to project one volume; the time of a call is the method's time. Raises NotAvailable."""
        if not self.torch:
            return self._function()(case, volume, threads)
        import torch

        return self.operator(case, device).run(torch.as_tensor(volume, device=device)[None, None])


def _ours(name: str, **options) -> Method:
    return Method(f"xrecon {name}", "ours:xrecon", options, gradient=True)


METHODS = (
    _ours("Joseph eager", backend="eager"),
    _ours("Joseph compiled", backend="compiled"),
    Method("xrecon Joseph Triton", "ours:xrecon", {"backend": "triton"}, ("cuda",), gradient=True),
    _ours("Joseph presum 2 eager", backend="eager", presum=2),
    _ours("Joseph presum 2 compiled", backend="compiled", presum=2),
    Method("xrecon Joseph presum 2 Triton", "ours:xrecon", {"backend": "triton", "presum": 2}, ("cuda",)),
    _ours("Siddon", method="siddon"),
    Method(
        "DiffDRR Siddon", "torch_peers:diffdrr", {"renderer": "siddon"}, slow=True, gradient=True
    ),
    Method(
        "DiffDRR trilinear 500",
        "torch_peers:diffdrr",
        {"renderer": "trilinear", "n_points": 500},
        slow=True,
        gradient=True,
    ),
    Method(
        "nanodrr torch 500",
        "torch_peers:nanodrr",
        {"samples": 500, "backend": "torch"},
        slow=True,
        gradient=True,
    ),
    Method(
        "nanodrr Triton 500",
        "torch_peers:nanodrr",
        {"samples": 500, "backend": "triton"},
        ("cuda",),
        gradient=True,
    ),
    Method("RTK Joseph", "native_peers:rtk_joseph", devices=("cpu",), torch=False),
    Method("ITK ray cast", "native_peers:itk_ray_cast", devices=("cpu",), torch=False),
    Method(
        "plastimatch exact", "native_peers:plastimatch", {"algorithm": "exact"}, ("cpu",), torch=False
    ),
    Method(
        "plastimatch uniform", "native_peers:plastimatch", {"algorithm": "uniform"}, ("cpu",), torch=False
    ),
)


def chosen(methods: str | None, device: str) -> list[Method]:
    """The methods of a device whose name holds one of the comma-separated parts; None takes all."""
    parts = [part.strip().lower() for part in methods.split(",")] if methods else [""]
    return [
        method
        for method in METHODS
        if device in method.devices and any(part in method.name.lower() for part in parts)
    ]
