"""The registry of methods: what is compared, under which name, on which device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module

import numpy as np

# A call: (line integrals, the method's own count of its seconds or None).
Runner = Callable[[], tuple[object, float | None]]


class NotAvailable(Exception):
    """The method cannot run here; the message says why and goes below the table."""


def reason_of(failure: Exception) -> str:
    """One line for a method that broke."""
    lines = str(failure).strip().splitlines() or [""]
    return f"failed with {type(failure).__name__}: {lines[0][:200]}"


@contextmanager
def or_missing(row: dict) -> Iterator[None]:
    """What cannot run leaves its reason in the row: a broken peer must not end an unattended run."""
    try:
        yield
    except NotAvailable as reason:
        row["missing"] = str(reason)
    except Exception as failure:
        row["missing"] = reason_of(failure)


@dataclass(frozen=True)
class Setting:
    """How to measure. device: "cpu" or "cuda". report: takes lines of progress."""

    device: str
    threads: int
    rounds: int
    report: Callable[[str], None]


@dataclass
class Operator:
    """A differentiable method set up for the views of a case.

    project: attenuation (1, 1, z, y, x) to line integrals (view, row, column).
    posed: the same of (x, rotation, translation), both (view, 3), with gradients for the latter:
        source and detector are turned about the view's isocentre by axis times angle in rad about
        the LPS axes, then shifted by LPS mm. Raises NotAvailable where a method cannot.
    """

    project: Callable
    posed: Callable

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
    slow: takes seconds per view on the CPU, where timing it over many views is not worth the wait.
    """

    name: str
    builder: str
    options: dict = field(default_factory=dict)
    devices: tuple[str, ...] = ("cpu", "cuda")
    torch: bool = True
    slow: bool = False

    def _function(self) -> Callable:
        module, name = self.builder.split(":")
        return partial(getattr(import_module(f"projector_benchmark.{module}"), name), **self.options)

    def operator(self, case, device: str) -> Operator:
        """Set up for the views of a case; raises NotAvailable."""
        return self._function()(case, device)

    def runner(self, case, volume: np.ndarray, setting: Setting) -> Runner:
        """Ready to project one volume; the time of a call is the method's time. Raises NotAvailable."""
        if not self.torch:
            return self._function()(case, volume, setting.threads)
        import torch

        x = torch.as_tensor(volume, device=setting.device)[None, None]
        return self.operator(case, setting.device).run(x)


def _ours(name: str, devices: tuple[str, ...] = ("cpu", "cuda"), **options) -> Method:
    return Method(f"xrecon {name}", "ours:xrecon", options, devices)


def _torch(name: str, builder: str, devices: tuple[str, ...] = ("cpu", "cuda"), **options) -> Method:
    return Method(name, f"torch_peers:{builder}", options, devices, slow=True)


def _native(name: str, builder: str, **options) -> Method:
    return Method(name, f"native_peers:{builder}", options, ("cpu",), torch=False)


METHODS = (
    _ours("Joseph eager", backend="eager"),
    _ours("Joseph compiled", backend="compiled"),
    _ours("Joseph Triton", ("cuda",), backend="triton"),
    _ours("presum 2 eager", backend="eager", presum=2),
    _ours("presum 2 compiled", backend="compiled", presum=2),
    _ours("presum 4 eager", backend="eager", presum=4),
    _ours("presum 4 compiled", backend="compiled", presum=4),
    _ours("presum 2 Triton", ("cuda",), backend="triton", presum=2),
    _ours("Siddon", method="siddon"),
    _torch("DiffDRR Siddon", "diffdrr", renderer="siddon"),
    _torch("DiffDRR trilinear 500", "diffdrr", renderer="trilinear", n_points=500),
    _torch("nanodrr torch 500", "nanodrr", samples=500, backend="torch"),
    _torch("nanodrr torch 256", "nanodrr", ("cpu",), samples=256, backend="torch"),
    _torch("nanodrr Triton 500", "nanodrr", ("cuda",), samples=500, backend="triton"),
    _torch("nanodrr Triton 256", "nanodrr", ("cuda",), samples=256, backend="triton"),
    _native("RTK Joseph", "rtk_joseph"),
    _native("ITK ray cast", "itk_ray_cast"),
    _native("plastimatch exact", "plastimatch", algorithm="exact"),
    _native("plastimatch uniform", "plastimatch", algorithm="uniform"),
)


def chosen(parts: str | None, device: str) -> list[Method]:
    """The methods of a device whose name holds one of the comma-separated parts; None takes all."""
    wanted = [part.strip().lower() for part in parts.split(",")] if parts else [""]
    return [
        method
        for method in METHODS
        if device in method.devices and any(part in method.name.lower() for part in wanted)
    ]
