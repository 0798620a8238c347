from __future__ import annotations

import copy

import pytest
import torch

from ckpt_core import restore, validate
from ckpt_core.errors import MismatchError, UsageError


def net(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))


def train(model, optimizer, steps=2):
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(2, 3)).square().sum().backward()
        optimizer.step()


def save(path, model, optimizer):
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)


def same(a, b):
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


def decayed(model, **settings):
    """Two groups, as trainers make them: matrices decay, vectors do not."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, **settings)


MAKERS = {
    "sgd": lambda m: torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9),
    "adam": lambda m: torch.optim.Adam(m.parameters(), lr=0.1, amsgrad=True),
    "adamw": lambda m: torch.optim.AdamW(m.parameters(), lr=0.1),
    "rmsprop": lambda m: torch.optim.RMSprop(m.parameters(), lr=0.1, momentum=0.5, centered=True),
    "adagrad": lambda m: torch.optim.Adagrad(m.parameters(), lr=0.1),
    "adadelta": lambda m: torch.optim.Adadelta(m.parameters()),
    "nadam": lambda m: torch.optim.NAdam(m.parameters()),
    "adafactor": lambda m: torch.optim.Adafactor(m.parameters()),
    "groups": decayed,
    "named": lambda m: torch.optim.AdamW(m.named_parameters(), lr=0.1),
    "reversed": lambda m: torch.optim.AdamW(list(m.parameters())[::-1], lr=0.1),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_every_optimizer_goes_on_as_torch_itself_would(kind, tmp_path):
    model = net()
    optimizer = MAKERS[kind](model)
    train(model, optimizer)
    save(tmp_path / "a.pth", model, optimizer)
    fresh = net(1)
    other = MAKERS[kind](fresh)
    assert restore(tmp_path / "a.pth", fresh, other).with_optimizer
    judge = net(2)
    judged = MAKERS[kind](judge)
    state = torch.load(tmp_path / "a.pth")
    judge.load_state_dict(state["model"])
    judged.load_state_dict(copy.deepcopy(state["optimizer"]))
    train(fresh, other)
    train(judge, judged)
    assert same(fresh, judge)


def test_names_bring_a_state_to_its_parameter_when_the_model_lists_them_in_another_order(tmp_path):
    class Model(torch.nn.Module):
        def __init__(self, order):
            super().__init__()
            for name in order:
                setattr(self, name, torch.nn.Linear(3, 3, bias=False))

        def forward(self, x):
            return self.c(self.b(self.a(x)))

    torch.manual_seed(0)
    model = Model("abc")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    train(model, optimizer)
    save(tmp_path / "a.pth", model, optimizer)
    fresh = Model("cba")
    other = torch.optim.Adam(fresh.parameters(), lr=0.1)
    restore(tmp_path / "a.pth", fresh, other)
    assert torch.equal(other.state[fresh.a.weight]["exp_avg"], optimizer.state[model.a.weight]["exp_avg"])
    train(model, optimizer)
    train(fresh, other)
    assert torch.equal(fresh.a.weight, model.a.weight)
    assert torch.equal(fresh.c.weight, model.c.weight)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: torch.optim.SGD(m.parameters(), lr=0.1), "adamw in the checkpoint, sgd in the model"),
        (decayed, "1 groups in the checkpoint, 2 groups in the model"),
        (
            lambda m: torch.optim.AdamW(list(m.parameters())[2:][::-1], lr=0.1),
            "6 parameters in the checkpoint, 4 parameters in the model",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_both_sides(make, message, tmp_path):
    model = net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    train(model, optimizer)
    save(tmp_path / "a.pth", model, optimizer)
    fresh = net(1)
    before = copy.deepcopy(fresh.state_dict())
    with pytest.raises(MismatchError, match=message) as caught:
        restore(tmp_path / "a.pth", fresh, make(fresh))
    assert {problem.kind for problem in caught.value.report.problems} == {"optimizer"}
    assert all(torch.equal(before[name], value) for name, value in fresh.state_dict().items())


def test_a_state_of_another_shape_is_refused(tmp_path):
    model = net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    train(model, optimizer)
    state = optimizer.state_dict()
    state["state"][2]["exp_avg"] = torch.zeros(3, 5)
    torch.save({"model": model.state_dict(), "optimizer": state}, tmp_path / "a.pth")
    with pytest.raises(
        MismatchError, match=r"float32\[3, 5\] in the checkpoint, float32\[3, 3\] in the model"
    ):
        restore(tmp_path / "a.pth", model, torch.optim.AdamW(model.parameters()))


def test_weights_alone_cannot_fill_an_optimizer(tmp_path):
    model = net()
    torch.save(model.state_dict(), tmp_path / "a.pth")
    with pytest.raises(
        MismatchError, match="optimizer: nothing in the checkpoint, adamw in use in the model"
    ):
        restore(tmp_path / "a.pth", model, torch.optim.AdamW(model.parameters()))


def test_an_optimizer_of_another_model_is_refused(tmp_path):
    model = net()
    save(tmp_path / "a.pth", model, torch.optim.AdamW(model.parameters()))
    with pytest.raises(
        UsageError, match="6 of the 6 parameters in group 0 of the optimizer are not the model's"
    ):
        restore(tmp_path / "a.pth", model, torch.optim.AdamW(net(1).parameters()))
    with pytest.raises(UsageError, match="is no torch optimizer"):
        restore(tmp_path / "a.pth", model, object())


def test_a_fresh_head_leaves_its_state_fresh(tmp_path):
    model = net()
    optimizer = torch.optim.AdamW(model.named_parameters(), lr=0.1)
    train(model, optimizer)
    save(tmp_path / "a.pth", model, optimizer)
    fresh = net(1)
    fresh[2] = torch.nn.Linear(3, 5)
    other = torch.optim.AdamW(fresh.named_parameters(), lr=0.1)
    restore(tmp_path / "a.pth", fresh, other, partial="2/**")
    assert fresh[2].weight not in other.state
    assert torch.equal(other.state[fresh[0].weight]["exp_avg"], optimizer.state[model[0].weight]["exp_avg"])
    train(fresh, other)


def test_one_of_several_optimizers_is_chosen_by_name(tmp_path):
    model = net()
    first, second = torch.optim.AdamW(model.parameters(), lr=0.1), torch.optim.SGD(model.parameters(), lr=0.5)
    train(model, first)
    state = {
        "model": model.state_dict(),
        "optimizer_G": first.state_dict(),
        "optimizer_D": second.state_dict(),
    }
    torch.save(state, tmp_path / "a.pth")
    other = torch.optim.AdamW(model.parameters())
    with pytest.raises(UsageError, match="holds 2 optimizers"):
        restore(tmp_path / "a.pth", model, other)
    restore(tmp_path / "a.pth", model, other, optimizer_name="optimizer_G")
    assert other.param_groups[0]["lr"] == 0.1


def test_validate_compares_the_optimizer_too(tmp_path):
    model = net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    train(model, optimizer)
    save(tmp_path / "a.pth", model, optimizer)
    assert validate(tmp_path / "a.pth", model, torch.optim.AdamW(model.parameters())).ok
    report = validate(tmp_path / "a.pth", model, decayed(model))
    assert [(p.kind, p.name) for p in report.problems] == [("optimizer", "optimizer/groups")]
    assert validate(tmp_path / "a.pth", model, decayed(model), partial="optimizer/**").ok
    with pytest.raises(UsageError, match="together with its live model"):
        validate(tmp_path / "a.pth", tmp_path / "a.pth", optimizer)
