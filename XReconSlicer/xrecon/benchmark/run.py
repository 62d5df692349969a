"""One method from training to figures, in a process of its own, and the benchmark over all methods.

A process for each method makes its peak memory measurable, frees it afterwards, and keeps a method that
fails or is killed from stopping the others. What a method gave is stored when it ends; a benchmark that
was stopped goes on with the others.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xrecon.benchmark.cases import load_cases
from xrecon.benchmark.methods import kind_of, reconstruction_recipes, untrained, weights_digest
from xrecon.benchmark.plan import Plan, read_plan
from xrecon.evaluation.methods import list_methods
from xrecon.io.atomic import atomic_write_text
from xrecon.progress import json_text
from xrecon.volume import InputError

METHODS, RESULT = "methods", "result.json"
# Of the stored figures: what another version gave is measured again.
VERSION = 4
Progress = Callable[[str, float, str], None]


def result_path(folder: Path, name: str) -> Path:
    """Where a method's figures are stored.

    Every run of `xrecon train` exports into a folder "model", which may be trained anew: a model's
    place is called after its folder, and after the SHA-256 of its whole name and its weights.
    """
    if name in list_methods() or name in reconstruction_recipes():
        return folder / METHODS / name / RESULT
    digest = hashlib.sha256(f"{name}\0{weights_digest(name)}".encode()).hexdigest()
    return folder / METHODS / f"{Path(name).name}-{digest[:12]}" / RESULT


def read_result(folder: Path, name: str) -> dict[str, Any] | None:
    """A method's stored figures; None when there are none of these weights and of this version."""
    path = result_path(folder, name)
    if not path.is_file():
        return None
    result = json.loads(path.read_text(encoding="utf-8"))
    wanted = _identity(name)
    return result if {key: result.get(key) for key in wanted} == wanted else None


def _identity(name: str) -> dict[str, Any]:
    """What a stored result must say to be that of a method."""
    return {"name": name, "sha256": weights_digest(name), "version": VERSION}


def run_in_process(folder: Path, name: str, progress: Progress) -> dict[str, Any]:
    """A method's figures, computed in a child process that ends with this call."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(folder, name, there), daemon=False)
    child.start()
    there.close()
    try:
        while True:
            try:
                progress(*here.recv())
            except EOFError:
                break
        child.join()
    finally:
        if child.is_alive():
            child.terminate()
            child.join()
    result = read_result(folder, name)
    if result is None:
        told = f"its process ended with code {child.exitcode} (killed, perhaps for its memory)"
        result = {"name": name, "error": told}
    return result


def _child(folder: Path, name: str, pipe: Any) -> None:
    def say(*what: object) -> None:
        try:
            pipe.send(what)
        except OSError as error:
            # nothing to compute on for, and no failure of the method that would be stored as such
            raise KeyboardInterrupt("the benchmark was killed") from error

    run_safely(folder, name, say)
    pipe.close()


def run_safely(folder: Path, name: str, progress: Progress) -> dict[str, Any]:
    """A method's figures, or why there are none, stored in the folder."""

    def say(stage: str, fraction: float, message: str) -> None:
        progress(stage, fraction, f"{name}: {message}")

    try:
        result = run_method(folder, name, say)
    except (InputError, MemoryError) as error:
        result = {"name": name, "error": str(error) or "not enough memory"}
    except Exception as error:  # told in the table; the others go on
        traceback.print_exc()
        result = {"name": name, "error": f"{type(error).__name__}: {error} (a bug in xrecon)"}
    _store(folder, name, result)
    return result


def run_method(folder: Path, name: str, progress: Progress) -> dict[str, Any]:
    """Trains or loads a method and measures it on the test cases of the folder's plan."""
    from xrecon.benchmark.measure import correlations, measure

    plan = read_plan(folder)
    about = {"name": name, "kind": kind_of(name)}
    method, more = _method(name, plan, folder, progress)
    cases = list(load_cases(folder, plan.test))
    if not cases:
        raise InputError("expected test cases, got none that could be projected")
    progress("measure", 0.0, f"{len(cases)} cases")
    rows, volumes = measure(method, cases)
    _write_volumes(folder, name, cases, volumes)
    return {**about, **more, "peak_gib": _peak_gib(), "cases": rows, "correlations": correlations(rows)}


def _method(name: str, plan: Plan, folder: Path, progress: Progress) -> tuple[Any, dict[str, Any]]:
    kind = kind_of(name)
    if kind == "untrained":
        return untrained(name, plan, folder), {}
    from xrecon.benchmark.trained import train_within
    from xrecon.methods import reconstruction_method

    if kind == "model":
        return reconstruction_method(name, device=plan.device), {"parameters": _parameters(name)}

    model, steps, minutes = train_within(name, plan, folder, progress)
    about = {"steps": steps, "train_minutes": minutes, "parameters": _parameters(model)}
    return reconstruction_method(model, device=plan.device), about


def _parameters(model: str | Path) -> int:
    from xrecon.nets.registry import load_model

    return sum(p.numel() for p in load_model(model)[0].parameters())


def _peak_gib() -> float | None:
    """Largest resident memory of this process so far, GiB; None on Windows, which has no `resource`."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _write_volumes(folder: Path, name: str, cases: list[Any], volumes: list[Any]) -> None:
    from xrecon.io.image import write_volume

    place = result_path(folder, name).parent
    place.mkdir(parents=True, exist_ok=True)
    for case, volume in zip(cases, volumes, strict=True):
        write_volume(volume, place / f"{case.name}.nrrd")


def _store(folder: Path, name: str, result: dict[str, Any]) -> None:
    path = result_path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, json_text({**result, **_identity(name)}))
