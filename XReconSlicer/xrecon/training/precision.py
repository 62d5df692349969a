"""Whether a device computes fast in the precision that is asked for."""

from __future__ import annotations

import torch


def usable_precision(precision: str, device: str) -> tuple[str, list[str]]:
    """The precision to train in on "cpu" or "cuda", and a note when it is not the one asked for.

    bfloat16 needs a device that has it: a CPU without AVX-512 emulates it a hundred times slower than
    float32, as do GPUs before the Ampere generation to a lesser degree.
    """
    if precision != "bfloat16" or _has_bfloat16(device):
        return precision, []
    return "float32", [f"this {device.upper()} has no fast bfloat16; float32 is used"]


def _has_bfloat16(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # what torch's own tests and compiler ask; taken for granted where a build of torch cannot tell
    check = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return True if check is None else bool(check())
