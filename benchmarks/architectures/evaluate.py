"""Plan with no rules, apply, and compare bit for bit with the library's own conversion: the table of architectures."""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.architectures.table import architecture
from benchmarks.architectures.variants import VARIANTS, seed_of, untyped
from ckpt_core.framework import Template
from ckpt_core.live import tree_of
from ckpt_core.template import read_template
from ckpt_core.transfer.binding import bind
from ckpt_core.transfer.matching import plan_transfer


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


class Case:
    """One architecture: both templates and the values on both sides."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self.torch, self.flax = read_template(folder / "torch.json"), read_template(folder / "flax.json")
        values = arrays_of(folder / "torch.npz")
        self.torch_values = {slot.name: values[".".join(slot.path)] for slot in self.torch.slots}
        self.flax_values = arrays_of(folder / "flax.npz")
        back = json.loads((folder / "back.json").read_text())
        self.back = {
            slot.name: values[".".join(slot.path)]
            for slot in self.torch.slots
            if ".".join(slot.path) in back["filled"] and slot.spec.dtype.startswith("float")
        }


def judged(
    source: Template, values: dict[str, np.ndarray], target: Template, truth: dict[str, np.ndarray]
) -> dict[str, list[str]]:
    """Plan and apply; return the slots that are exact, wrong, open though they have a source, and extra."""
    plan = plan_transfer(source, target)
    slots = target.by_name()
    lazy = tree_of({name: values[name] for name in values})
    bound = bind(plan, {name: array.spec for name, array in lazy.items()}, slots)
    made: dict[str, Any] = {}
    for step in bound.steps:
        arrays = tuple(lazy[name] for name in step.sources)
        for op in step.rule.ops:
            arrays = op.apply(arrays)
        made.update(zip(step.targets, (np.asarray(array) for array in arrays), strict=False))
    for slot in target.slots:
        if slot.tied and slot.name not in made and "/".join(slot.tied) in made:
            made[slot.name] = made["/".join(slot.tied)]
    found: dict[str, list[str]] = {"exact": [], "wrong": [], "open": [], "extra": []}
    for name in slots:
        if name in made and name not in truth:
            found["extra"].append(name)
        elif name in made:
            same = made[name].shape == truth[name].shape and made[name].tobytes() == truth[name].tobytes()
            found["exact" if same else "wrong"].append(name)
        elif name in truth:
            found["open"].append(name)
    return found


def run(
    folder: Path, variant: str, direction: str, types: bool, only: str
) -> dict[str, dict[str, list[str]]]:
    results = {}
    for path in sorted(folder.iterdir()):
        if only not in path.name or not (path / "back.json").exists():
            continue
        case = Case(path)
        sides = [case.torch, case.flax] if direction == "flax" else [case.flax, case.torch]
        values, truth = (
            (case.torch_values, case.flax_values) if direction == "flax" else (case.flax_values, case.back)
        )
        target, back = VARIANTS[variant](sides[1], seed_of(case.name))
        new = {old: name for name, old in back.items()}
        truth = {new[name]: array for name, array in truth.items()}
        source = sides[0] if types else untyped(sides[0])
        source = Template(tuple(slot for slot in source.slots if slot.name in values), source.framework)
        results[case.name] = judged(source, values, target if types else untyped(target), truth)
    return results


def crossed(folder: Path, variant: str, only: str) -> dict[str, dict[str, list[str]]]:
    """From each model into the others of its architecture: what only one of the two has goes nowhere."""
    cases = [
        Case(path) for path in sorted(folder.iterdir()) if only in path.name and (path / "back.json").exists()
    ]
    results = {}
    for one in cases:
        for other in cases:
            shared = _shared(one.flax_values, other.flax_values)
            if (
                one is other
                or architecture(one.name) != architecture(other.name)
                or len(shared) < 0.6 * min(len(one.flax_values), len(other.flax_values))
            ):
                continue
            target, back = VARIANTS[variant](other.flax, seed_of(one.name + other.name))
            new = {old: name for name, old in back.items()}
            truth = {new[name]: one.flax_values[source] for name, source in shared.items()}
            results[f"{one.name} -> {other.name}"] = judged(
                untyped(one.torch), one.torch_values, untyped(target), truth
            )
    return results


def _shared(mine: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> dict[str, str]:
    """The names of both, the target's first, when a prefix that all of one side's body has is left out."""
    found: dict[str, str] = {}
    for strip_mine in (False, True):
        for strip_theirs in (False, True):
            a = {_stripped(name) if strip_mine else name: name for name in mine}
            b = {_stripped(name) if strip_theirs else name: name for name in theirs}
            both = {
                b[name]: a[name] for name in b if name in a and theirs[b[name]].shape == mine[a[name]].shape
            }
            found = max(found, both, key=len)
    return found


def _stripped(name: str) -> str:
    return name.partition("/")[2] or name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dumps", type=Path)
    parser.add_argument("--variant", action="append")
    parser.add_argument("--to", action="append")
    parser.add_argument("--types", choices=["yes", "no", "both"], default="both")
    parser.add_argument("--only", default="")
    parser.add_argument("-v", action="store_true")
    parser.add_argument("--results", type=Path, help="a JSON file that the counts are added to")
    parser.add_argument("--crossed", action="store_true")
    args = parser.parse_args()
    if args.crossed:
        for variant in args.variant or ["plain", "everything"]:
            report(f"crossed  {variant:11} names", crossed(args.dumps, variant, args.only), args.v)
        return
    for direction in args.to or ["flax", "torch"]:
        for variant in args.variant or VARIANTS:
            for types in {"yes": [True], "no": [False], "both": [True, False]}[args.types]:
                start = time.perf_counter()
                results = run(args.dumps, variant, direction, types, args.only)
                report(f"to {direction:5} {variant:11} {'types' if types else 'names':5}", results, args.v)
                print(f"    {time.perf_counter() - start:.1f} s", flush=True)
                if args.results:
                    remember(
                        args.results, f"{direction}, {variant}{'' if types else ', names alone'}", results
                    )


def remember(path: Path, title: str, results: dict[str, dict[str, list[str]]]) -> None:
    """Add counts to a file of results."""
    known = json.loads(path.read_text()) if path.exists() else {}
    known[title] = {name: {kind: len(found) for kind, found in r.items()} for name, r in results.items()}
    path.write_text(json.dumps(known, indent=1))


def report(title: str, results: dict[str, dict[str, list[str]]], verbose: bool) -> None:
    total: Counter[str] = Counter()
    bad = {k: r for k, r in results.items() if r["wrong"] or r["open"] or r["extra"]}
    for result in results.values():
        total.update({kind: len(names) for kind, names in result.items()})
    print(
        f"{title}: {len(results) - len(bad)} of {len(results)} exact; leaves: {total['exact']} exact,"
        f" {total['open']} open, {total['wrong']} wrong, {total['extra']} extra",
        flush=True,
    )
    for name, result in bad.items() if verbose else ():
        for kind in ("wrong", "extra", "open"):
            if result[kind]:
                print("   ", name, kind, len(result[kind]), result[kind][:6])


if __name__ == "__main__":
    main()
