"""X-Recon's generator against the plain composition of the tests: arithmetic, time, memory, precision.

    python Testing/Benchmarks/xrecon_network.py                     # side 224, CPU; the plain one needs 8 GiB
    python Testing/Benchmarks/xrecon_network.py --side 128 --device cuda
    python Testing/Benchmarks/xrecon_network.py --parts work training

Parts: work (FLOPs), inference (time and peak memory, each network in a fresh process, all in one
run), precision (half against float32), training (what the forward pass keeps for the gradients).
Weights are random, N(0, 2 / fan-in). The plain composition runs with torch's own instance norm,
which is faster than the literal one of the tests.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "XReconSlicer"), str(HERE.parent / "Python")]
GIB = 2**30
PARTS = ("work", "inference", "precision", "training")


def peak_rss() -> float:
    """Largest resident memory of this process so far, GiB (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB


def make_generator(side: int, device: str = "cpu", **options: Any):
    """The full network in eval mode with random weights."""
    import torch
    from xrecon.nets.xrecon_generator import XReconGenerator

    with torch.device("meta"):
        network = XReconGenerator(side, dead_branches=True, **options)
    network = network.to_empty(device="cpu").eval()
    torch.manual_seed(0)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, 0.0, 0.05)
            continue
        # a transposed convolution has its inputs first
        transposed = ("rises" in name) and (name.endswith(".2.conv.weight") or ".4.0." in name)
        inputs = parameter[:, 0] if transposed else parameter[0]
        torch.nn.init.normal_(parameter, 0.0, (2.0 / inputs.numel()) ** 0.5)
    return network.to(device)


def make_plain(side: int, device: str) -> Callable[[Any], Any]:
    """The plain composition with the same weights."""
    import reference_xrecon as reference
    import torch
    from xrecon.nets.xrecon_published import published_names

    reference.norm = torch.nn.functional.instance_norm
    names = published_names()
    state = {names[name]: value for name, value in make_generator(side, device).state_dict().items()}
    return lambda images: reference.generator(state, images)[2]


# -- children: one measurement each, in a process of its own ---------------------------------------
def child_inference(which: str, side: int, device: str, rounds: int) -> dict[str, Any]:
    """Seconds of each round and peak memory of one network."""
    interpreter = peak_rss()
    import torch

    imported = peak_rss()
    if which == "plain":
        network = make_plain(side, device)
    else:
        network = make_generator(side, device, precision="float32" if which == "float32" else "auto")
        network.low_memory = which == "low memory"
    images = torch.rand(1, 2, side, side, device=device)
    seconds = []
    with torch.inference_mode():
        for _ in range(rounds):
            start = time.perf_counter()
            result = network(images)
            if device == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
    found = {"seconds": seconds, "mean": result.mean().item(), "deviation": result.std().item()}
    if device == "cuda":
        return found | {"allocated": torch.cuda.max_memory_allocated() / GIB}
    return found | {"above interpreter": peak_rss() - interpreter, "above torch": peak_rss() - imported}


def child_precision(which: str, side: int, device: str, rounds: int) -> dict[str, Any]:
    """PSNR (dB, range 1, clipped to it as in use) of half precision against float32."""
    import torch

    network = make_generator(side, device, precision="float32")
    images = torch.rand(1, 2, side, side, device=device)
    with torch.inference_mode():
        exact = network(images)
        network.precision = which
        half = network(images)
    error = (half.clamp(0, 1) - exact.clamp(0, 1)).square().mean()
    return {"psnr": -10 * torch.log10(error).item(), "unclipped error": (half - exact).abs().max().item()}


def child_step(which: str, side: int, device: str, rounds: int) -> dict[str, Any]:
    """Measured: what forward keeps, and the peak of forward and backward, at the side given."""
    import torch

    network = make_generator(side, device, checkpointing=which == "checkpointing").train()
    images = torch.rand(1, 2, side, side, device=device)
    before = peak_rss()
    kept = kept_for_gradients(lambda: network(images), network)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    network(images).square().mean().backward()
    peak = torch.cuda.max_memory_allocated() / GIB if device == "cuda" else peak_rss() - before
    return {"kept": kept, "peak": peak, "seconds": time.perf_counter() - start}


CHILDREN = {"inference": child_inference, "precision": child_precision, "step": child_step}


def in_child(part: str, which: str, side: int, device: str, rounds: int) -> dict[str, Any]:
    """Runs one of `CHILDREN` in a fresh process; {"failed": why} when it ends badly."""
    call = [sys.executable, __file__, "--child", part, which, "--side", str(side), "--device", device]
    done = subprocess.run([*call, "--rounds", str(rounds)], capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        return {"failed": last}
    return json.loads(done.stdout.splitlines()[-1])


# -- parts -----------------------------------------------------------------------------------------
def kept_for_gradients(forward: Callable[[], Any], network: Any) -> float:
    """GiB of distinct tensors that a forward pass keeps for the gradients, parameters left out."""
    import torch

    seen = {p.untyped_storage()._cdata for p in network.parameters()}
    kept = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in seen:
            seen.add(storage._cdata)
            kept.append(storage)  # held, so that no other storage takes its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()
    total = sum(storage.nbytes() for storage in kept)
    del result
    return total / GIB


def show_work(options: argparse.Namespace) -> None:
    """FLOPs by torch's counter, on tensors without data."""
    import reference_xrecon as reference
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from xrecon.nets.xrecon_generator import XReconGenerator

    def count(compute: Callable[[], Any]) -> float:
        with FlopCounterMode(display=False) as counter:
            compute()
        return counter.get_total_flops() / 1e9

    with torch.device("meta"):
        network, images = XReconGenerator(options.side).eval(), torch.zeros(1, 2, options.side, options.side)
        state = {n: torch.empty(s) for n, s in reference.generator_shapes(options.side).items()}
    print(f"\nGFLOP forward at side {options.side}")
    print(f"  plain composition        {count(lambda: reference.generator(state, images)):8.1f}")
    print(f"  generator                {count(lambda: network(images)):8.1f}")
    for low_memory in (False, True):
        network.low_memory = low_memory
        with torch.no_grad():
            work = count(lambda: network(images))
        print(f"  {'with low memory' if low_memory else 'without gradients':24} {work:8.1f}")


def show_inference(options: argparse.Namespace) -> None:
    """Time and memory of each network, each in a fresh process."""
    print(f"\nInference at side {options.side} on {options.device}, best of {options.rounds}")
    kinds = ("generator", "low memory", *(("float32",) if options.device == "cuda" else ()), "plain")
    results = {k: in_child("inference", k, options.side, options.device, options.rounds) for k in kinds}
    plain = results["plain"].get("seconds")
    for kind, found in results.items():
        if "failed" in found:
            print(f"  {kind:12} {found['failed']}")
            continue
        best = min(found["seconds"])
        ratio = f"{min(plain) / best:5.2f} x plain's speed" if plain else ""
        memory = ", ".join(
            f"{found[k]:.2f} GiB {k}" for k in ("allocated", "above interpreter", "above torch") if k in found
        )
        print(f"  {kind:12} {best:8.2f} s  {ratio}  {memory}  (output {found['mean']:.6f} "
              f"+- {found['deviation']:.6f})")  # fmt: skip


def show_precision(options: argparse.Namespace) -> None:
    """PSNR of half precision."""
    side = options.side if options.device == "cuda" else min(options.side, 128)
    print(f"\nHalf precision against float32 at side {side} on {options.device}")
    for which in ("float16", "bfloat16"):
        print(f"  {which:9} {in_child('precision', which, side, options.device, 1)}")


def show_training(options: argparse.Namespace) -> None:
    """What forward keeps for backward: counted at three sides, measured at 128."""
    import torch
    from xrecon.nets.xrecon_discriminator import XReconDiscriminator
    from xrecon.nets.xrecon_generator import XReconGenerator

    print("\nKept for the gradients, GiB, counted on tensors without data (batch 1)")
    print(f"  {'side':>4} {'type':9} {'plain way':>10} {'checkpointing':>14} {'discriminator':>14}")
    for side in sorted({64, 128, options.side}):
        for dtype in (torch.float32, torch.bfloat16):
            with torch.device("meta"):
                network, critic = XReconGenerator(side).to(dtype), XReconDiscriminator().to(dtype)
                images = torch.zeros(1, 2, side, side, dtype=dtype)
                volume = torch.zeros(1, 1, side, side, side, dtype=dtype, requires_grad=True)
            kept = []
            for network.checkpointing in (False, True):
                kept.append(kept_for_gradients(lambda n=network, x=images: n(x), network))
            judged = kept_for_gradients(lambda c=critic, v=volume, x=images: c(v, x), critic)
            name = str(dtype).removeprefix("torch.")
            print(f"  {side:4} {name:9} {kept[0]:10.2f} {kept[1]:14.2f} {judged:14.2f}")
    side = options.side if options.device == "cuda" else min(options.side, 128)
    print(f"\nMeasured at side {side}, float32, {options.device}: kept, peak of forward and backward, time")
    for which in ("all kept", "checkpointing"):
        found = in_child("step", which, side, options.device, 1)
        if "failed" in found:
            print(f"  {which:14} {found['failed']}")
        else:
            print(f"  {which:14} {found['kept']:.2f} GiB, {found['peak']:.2f} GiB, {found['seconds']:.1f} s")


SHOW = {
    "work": show_work,
    "inference": show_inference,
    "precision": show_precision,
    "training": show_training,
}


def main() -> None:
    """Reads the options, runs one child or the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=1, help="forward passes of each network")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        part, which = options.child
        print(json.dumps(CHILDREN[part](which, options.side, options.device, options.rounds)))
        return
    for part in options.parts:
        SHOW[part](options)


if __name__ == "__main__":
    main()
