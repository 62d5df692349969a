"""Throughput of `xrecon drr` over a folder of CTs with one and two processes.

    python Testing/Benchmarks/generation.py --data ../shared/data --output /tmp/generation

Every row projects the same CTs into a fresh store. "in process" is the command without Dask, with all
threads that torch takes; the workers of Dask compute with one thread each. The time is that of the whole
command: start, reading, projection, compression and hashing. Then the last command is given again, to
show what a run that finds everything done costs. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

CTS = ("lidc_0001", "lidc_0003", "lidc_0006", "lidc_0314", "lungdx_a0001", "lungdx_a0002")


def link_cts(data: Path, folder: Path, count: int) -> Path:
    """A folder of links to the first CTs."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in CTS[:count]:
        link = folder / f"{name}.nii.gz"
        if not link.is_symlink():
            link.symlink_to((data / link.name).resolve())
    return folder


def seconds_of(data: Path, output: Path, *options: object) -> float:
    """Wall-clock time of the command."""
    command = [
        sys.executable,
        "-m",
        "xrecon",
        "drr",
        "--data",
        data,
        "--output",
        output,
        "--formats",
        "store",
    ]
    started = time.perf_counter()
    subprocess.run([str(part) for part in (*command, "--progress", "none", *options)], check=True)
    return time.perf_counter() - started


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--cts", type=int, default=len(CTS))
    options = parser.parse_args()
    data = link_cts(options.data, options.output / "cts", options.cts)
    print(f"{options.cts} CTs, {os.cpu_count()} cores\n\n| | seconds | CTs a minute |\n|---|---|---|")
    rows = [("in process", ()), ("2 processes", ("--workers", 2))]
    for title, more in rows:
        shutil.rmtree(options.output / "drrs", ignore_errors=True)
        seconds = seconds_of(data, options.output / "drrs", *more)
        print(f"| {title} | {seconds:.0f} | {60 * options.cts / seconds:.1f} |", flush=True)
    seconds = seconds_of(data, options.output / "drrs", *rows[-1][1])
    print(f"| the same again, all done | {seconds:.0f} | {60 * options.cts / seconds:.1f} |")


if __name__ == "__main__":
    main()
