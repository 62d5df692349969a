"""Greatest extra memory of a forward and of a forward-and-backward pass, in a process of its own.

On Linux: the rise of the process's high-water mark (VmHWM) over its resident memory with the volume
and the ready-made operator in place, at the second pass, after the first was freed and handed back,
so that compilation and one-time pools do not count. On a GPU: what torch allocated at most.
"""

from __future__ import annotations

import ctypes
import gc
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from projector_benchmark import environment
from projector_benchmark.methods import METHODS, Setting

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): sets VmHWM to the present resident size
# Blocks from this size on are returned to the system as soon as they are freed.
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
NOTHING = {"forward_bytes": None, "gradient_bytes": None}


def of_method(name: str, setting: Setting) -> dict[str, int | None]:
    """Measures one method in a child process; None where the system cannot tell."""
    if setting.device == "cpu" and not CLEAR.exists():
        return NOTHING
    script = Path(__file__).resolve().parents[1] / "projector.py"
    command = [sys.executable, script, "--here", "--memory-of", name]
    command += ["--device", setting.device, "--threads", str(setting.threads)]
    done = subprocess.run(
        command,
        env=environment.variables(setting.threads) | _MALLOC,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        setting.report(f"the memory of {name} could not be measured")
        return NOTHING
    return json.loads(done.stdout.splitlines()[-1])


def measure_here(name: str, case, device: str) -> dict[str, int]:
    """What `of_method` reports, measured in this process."""
    import torch

    from projector_benchmark.gradients import VOLUME_PHANTOM, volume_gradient

    method = next(method for method in METHODS if method.name == name)
    operator = method.operator(case, device)
    x = torch.as_tensor(case.volume(VOLUME_PHANTOM), device=device)[None, None]
    passes = {
        "forward_bytes": lambda: operator.run(x)()[0],
        "gradient_bytes": lambda: volume_gradient(operator, x),
    }
    peak = _peak_cuda if device == "cuda" else _peak_cpu
    return {key: peak(one_pass) for key, one_pass in passes.items()}


def _peak_cpu(one_pass: Callable[[], object]) -> int:
    one_pass()
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    CLEAR.write_text(_RESET_PEAK)
    before = _status_bytes("VmRSS")
    kept = one_pass()
    after = _status_bytes("VmHWM")
    del kept
    return max(0, after - before)


def _peak_cuda(one_pass: Callable[[], object]) -> int:
    import torch

    one_pass()
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    kept = one_pass()
    torch.cuda.synchronize()
    del kept
    return torch.cuda.max_memory_allocated() - before


def _status_bytes(field: str) -> int:
    lines = STATUS.read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1]) * 1024
