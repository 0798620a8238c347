from __future__ import annotations

import numpy as np
import pytest
from validation.models import FILES, MODELS, arrays

from ckpt_core import validate

RULES = {"slots_mu": "num_slots slot_dim", "layers/*": "count n_layer"}


def changed(kind: str) -> dict[str, np.ndarray]:
    flat = arrays(slots=32, depth=5)
    if kind == "prefix":
        return {f"wrapped/{name}": array for name, array in arrays().items()}
    if kind == "renamed":
        return {name.replace("head", "haed"): array for name, array in arrays().items()}
    if kind == "dtype":
        return {name: array.astype(np.float16) for name, array in arrays().items()}
    return flat


@pytest.mark.parametrize("kind", ["sizes", "prefix", "renamed", "dtype"])
def test_one_mismatch_has_one_report_everywhere(kind, tmp_path):
    reports = {}
    for container, (name, write) in FILES.items():
        path = tmp_path / name
        write(path, changed(kind))
        for framework, make in MODELS.items():
            report = validate(path, make(), rules=RULES)
            assert not report.ok
            reports[container, framework] = str(report).replace(str(path), "PATH").splitlines()
    first = reports["torch", "torch"]
    assert len(first) > 1
    for combination, lines in reports.items():
        assert sorted(lines) == sorted(first), combination


@pytest.mark.parametrize("framework", MODELS)
@pytest.mark.parametrize("container", FILES)
def test_what_fits_fits_everywhere(container, framework, tmp_path):
    name, write = FILES[container]
    write(tmp_path / name, arrays())
    report = validate(tmp_path / name, MODELS[framework]())
    assert report.ok, str(report)
    assert report.matched == len(arrays())
    assert report.raise_if_failed() is report
