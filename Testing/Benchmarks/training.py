"""Ten minutes of `xrecon train` on real CTs, scored on patients that it never saw.

    python Testing/Benchmarks/training.py --data ../shared/data --output /tmp/ten-minutes --minutes 10

Writes the split first, trains with the command line (preparation of the CTs included in the time), and
scores the exported model on the held-out patients: against the mean training volume, and with the
radiographs exchanged between the patients. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import time
from pathlib import Path

TRAIN = (
    "lidc_0001", "lidc_0003", "lidc_0006", "lidc_0314", "nsclc_radiogenomics_r01-001", "fourdlung_113",
    "lungdx_a0001", "lungdx_a0002",
)  # fmt: skip
HELD_OUT = ("lidc_0002", "lidc_0023")  # the fixed test patients of the data's README
PILOT_STEPS = 40  # the log has a row every 20 steps
# Of the time given: for the start, the mean volume, the export, and a machine that slows down.
RESERVE_SECONDS = 45.0


def write_split(data: Path, folder: Path) -> Path:
    """A folder with links to the CTs and a subjects.csv that says who is held out."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [(f"{name}.nii.gz", "train") for name in TRAIN] + [(f"{name}.nii.gz", "test") for name in HELD_OUT]
    for name, _ in rows:
        link = folder / name
        if not link.is_symlink():
            link.symlink_to((data / name).resolve())
    with (folder / "subjects.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("path", "split"), *rows])
    return folder


def run_training(data: Path, run: Path, recipe: str, settings: dict[str, str]) -> float:
    """Seconds that `xrecon train` took, from start to exported model."""
    options = [f"--set={name}={value}" for name, value in settings.items()]
    command = [sys.executable, "-m", "xrecon", "train", "--data", data, "--output", run, "--recipe", recipe]
    started = time.perf_counter()
    subprocess.run([*map(str, command), "--progress", "plain", *options], check=True)
    return time.perf_counter() - started


def steps_within(run: Path, pilot_seconds: float, seconds: float) -> int:
    """Steps for which the time suffices, from a pilot run that prepared the same CTs."""
    rows = list(csv.DictReader((run / "log.csv").open()))
    # the first steps are slower
    first, last = rows[0], rows[-1]
    each = (float(last["seconds"]) - float(first["seconds"])) / (int(last["step"]) - int(first["step"]))
    start = pilot_seconds - float(last["seconds"])
    print(f"pilot: {each:.2f} s a step, {start:.0f} s for start, preparation and export", flush=True)
    return int((seconds - start - RESERVE_SECONDS) / each)


def score(data: Path, run: Path) -> dict[str, float]:
    """Means over the held-out patients of the exported model, the mean volume, and exchanged radiographs."""
    import json

    from xrecon.nets.registry import load_model
    from xrecon.training.config import parse_config
    from xrecon.training.datasets import ProjectedPairs
    from xrecon.training.prepared import MemoryCache, PreparedSubjects
    from xrecon.training.reconstruction import ReconstructionTask
    from xrecon.training.subjects import find_subjects

    config = parse_config(json.loads((run / "config.json").read_text()) | {"precision": "float32"})
    subjects, cache = find_subjects(data), MemoryCache(4e9)
    pairs = [
        ProjectedPairs(
            PreparedSubjects([s for s in subjects if s.split == split], config, run / "prepared", cache),
            config,
        )
        for split in ("train", "test")
    ]
    task = ReconstructionTask(*pairs, config, "cpu")
    network, _ = load_model(run / "model")
    return {**task.validate(network), **task.validate_shuffled(network)}


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--recipe", default="lifting")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    settings = {"pneumothorax_variants": "1", **dict(text.split("=", 1) for text in options.set)}
    data = write_split(options.data, options.output / "data")
    every = {"sample_every_epochs": "0"}
    pilot = options.output / "pilot"
    pilot_seconds = run_training(
        data, pilot, options.recipe, {**settings, **every, "steps": str(PILOT_STEPS)}
    )
    steps = steps_within(pilot, pilot_seconds, options.minutes * 60)
    rare = {"validate_every": str(steps), "steps": str(steps)}
    seconds = run_training(data, options.output / "run", options.recipe, {**settings, **rare})
    figures = score(data, options.output / "run")
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    print(f"\n{steps} steps in {seconds / 60:.1f} min, {threads} threads; held out: {', '.join(HELD_OUT)}\n")
    print("| | PSNR (dB) | SSIM |\n|---|---|---|")
    for title, suffix in (
        ("network", ""),
        ("mean training volume", "_mean_volume"),
        ("network, radiographs exchanged", "_shuffled"),
    ):
        print(f"| {title} | {figures['psnr' + suffix]:.2f} | {figures['ssim' + suffix]:.3f} |")


if __name__ == "__main__":
    main()
