from __future__ import annotations

import numpy as np
import pytest
from validation.models import FILES, MODELS, arrays

from ckpt_core import restore, validate

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
        assert lines == first, combination


@pytest.mark.parametrize("framework", MODELS)
@pytest.mark.parametrize("container", FILES)
def test_what_fits_fits_everywhere(container, framework, tmp_path):
    name, write = FILES[container]
    write(tmp_path / name, arrays())
    report = validate(tmp_path / name, MODELS[framework]())
    assert report.ok, str(report)
    assert report.matched == len(arrays())
    assert report.raise_if_failed() is report


def test_the_argument_that_a_report_names_lets_everything_through(tmp_path):
    name, write = FILES["torch"]
    changed = {**arrays(), "head/bias": np.zeros(9, np.float32), "head/scale": np.zeros(2, np.float32)}
    changed["slots_mu"] = np.zeros((9, 4), np.float16)
    write(tmp_path / name, changed)
    model = MODELS["torch"]()
    (way,) = validate(tmp_path / name, model).remedies
    assert way == "restore(..., partial=['head/**', 'slots_mu']) leaves these as they are"
    assert restore(tmp_path / name, model, partial=["head/**", "slots_mu"]).report.ok
    write(tmp_path / name, {**changed, "slots_mu": np.zeros((7, 4), np.float16)})
    (way,) = validate(tmp_path / name, model).remedies
    assert way.startswith(
        "restore(..., dtypes=\"cast\", partial=['head/**']) casts to the model's dtypes, and leaves"
    )
    assert restore(tmp_path / name, model, dtypes="cast", partial=["head/**"]).report.ok


def test_a_model_of_other_sizes_altogether_is_not_left_as_it_is(tmp_path):
    name, write = FILES["torch"]
    write(tmp_path / name, arrays(slots=9, width=8))
    assert not [way for way in validate(tmp_path / name, MODELS["torch"]()).remedies if "partial" in way]
