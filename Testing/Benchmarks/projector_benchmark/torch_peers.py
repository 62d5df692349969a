"""Peers in PyTorch, with gradients: DiffDRR and nanodrr, given the rays of our views."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import torch

from projector_benchmark.cases import Case
from projector_benchmark.methods import NotAvailable, Operator

# Rays x samples above which DiffDRR is told to go patch by patch, so that it fits into memory.
PATCH_ABOVE_PIXELS = 300 * 300


def _affine(case: Case) -> np.ndarray:
    """4x4 from voxel index (x, y, z) to LPS mm."""
    spacing, count = np.array(case.spacing[::-1]), np.array(case.shape[::-1])
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -(count - 1) / 2 * spacing
    return affine


def rays(case: Case, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Sources (view, 1, 3) and pixel centres (view, pixel, 3), LPS mm."""
    source = np.stack([np.array(view.source)[None] for view in case.views])
    target = np.stack([view.pixel_positions().reshape(-1, 3) for view in case.views])
    return tuple(torch.as_tensor(p, dtype=torch.float32, device=device) for p in (source, target))


def _operator(case: Case, source: torch.Tensor, target: torch.Tensor, project: Callable) -> Operator:
    """From a function of (x, source, target). On the CPU views go one by one: memory, and no gain."""
    center = torch.tensor([[view.isocenter] for view in case.views], device=source.device)
    batch = 1 if source.device.type == "cpu" else len(case.views)

    def all_views(
        x: torch.Tensor, source: torch.Tensor = source, target: torch.Tensor = target
    ) -> torch.Tensor:
        parts = zip(source.split(batch), target.split(batch), strict=True)
        return torch.cat([project(x, *part) for part in parts])

    def posed(x: torch.Tensor, rotation: torch.Tensor, translation: torch.Tensor) -> torch.Tensor:
        a, b, c = rotation.unbind(-1)
        zero = torch.zeros_like(a)
        skew = torch.stack([zero, -c, b, c, zero, -a, -b, a, zero], -1).reshape(-1, 3, 3)
        turn, shift = torch.linalg.matrix_exp(skew).transpose(1, 2), center + translation[:, None]
        return all_views(x, (source - center) @ turn + shift, (target - center) @ turn + shift)

    return Operator(all_views, posed)


def diffdrr(case: Case, device: str, renderer: str, **options) -> Operator:
    """DiffDRR's `DRR.render`; renderer "siddon" or "trilinear" (500 points unless told otherwise)."""
    try:
        from diffdrr.drr import DRR
    except ImportError as error:
        raise NotAvailable(f"diffdrr is not installed ({error})") from error
    # What DRR reads of a torchio Subject; the density comes with each call.
    volume = SimpleNamespace(affine=_affine(case))
    density = SimpleNamespace(data=torch.zeros(1, 1, 1, 1))
    subject = SimpleNamespace(volume=volume, density=density, mask=None, reorient=torch.eye(4))
    (rows, columns), view = case.views[0].shape, case.views[0]
    patch = None
    if rows * columns > PATCH_ABOVE_PIXELS:
        patch = 64 if renderer == "siddon" else 128
    drr = DRR(
        subject,
        view.source_to_detector_mm,
        rows,
        view.pixel_spacing[1],
        columns,
        view.pixel_spacing[0],
        renderer=renderer,
        patch_size=patch,
    ).to(device)
    source, target = rays(case, device)

    def project(x: torch.Tensor, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        # (x, y, z) as a view of (z, y, x): what DiffDRR turns back before it samples
        image = drr.render(x[0, 0].permute(2, 1, 0), source, target, **options)
        return image.reshape(-1, rows, columns)

    return _operator(case, source, target, project)


def nanodrr(case: Case, device: str, samples: int, backend: str = "auto") -> Operator:
    """nanodrr's `render`; backend "torch" or, on CUDA, "triton"."""
    try:
        from nanodrr.data import Subject
        from nanodrr.drr import render
    except ImportError as error:
        raise NotAvailable(f"nanodrr is not installed ({error})") from error
    if backend == "triton" and not device.startswith("cuda"):
        raise NotAvailable("nanodrr's Triton kernel needs CUDA")
    affine = torch.as_tensor(_affine(case), dtype=torch.float64)
    empty = torch.zeros(1, 1, *case.shape)
    subject = Subject(
        empty,
        torch.zeros(1),
        affine.float(),
        affine.inverse().float(),
        Subject._make_voxel_to_grid(empty.shape),
        torch.zeros(3),
        max_label=0,
        convert_to_mu=False,
    ).to(device)
    source, target = rays(case, device)
    eye = torch.eye(4, device=device)
    rows, columns = case.views[0].shape
    # Rays are given in world coordinates, so that the camera matrices are those of the world.
    distance = torch.full((1,), case.views[0].source_to_detector_mm, device=device)

    def project(x: torch.Tensor, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        subject._image_hu = x
        count = len(source)
        camera, pose = eye[:3, :3].expand(count, 3, 3), eye.expand(count, 4, 4)
        image = render(
            subject,
            camera,
            pose,
            distance.expand(count),
            rows,
            columns,
            samples,
            src=source,
            tgt=target,
            backend=backend,
        )
        return image.reshape(-1, rows, columns)

    return _operator(case, source, target, project)
