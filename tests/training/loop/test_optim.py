"""The optimizers, and the choice of parameters to which weight decay applies."""

from __future__ import annotations

import copy
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from app.training.loop import optim
from models.tasks import build
from tests.training.loops import settled


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_weight_decay_applies_to_matrices_only(optimizer: str) -> None:
    network = build(settled().config)
    names = {parameter: name for name, parameter in network.named_parameters()}
    decayed, kept = optim.build(network, settled(optimizer=optimizer)).groups
    assert (decayed.weight_decay, kept.weight_decay) == (0.3, 0.0)
    matrices, rest = ({names[parameter] for parameter in group.parameters} for group in (decayed, kept))
    assert matrices | rest == set(names.values())
    assert "head.weight" in matrices and any(name.endswith("attention.qkv.weight") for name in matrices)
    assert "input.embedding.weight" in rest and "head.bias" in rest and any("norm" in name for name in rest)
    assert not any("norm" in name or name.endswith("bias") for name in matrices)
    network.input.requires_grad_(False)
    (decayed, kept) = optim.build(network, settled(optimizer=optimizer)).groups
    assert "input.embedding.weight" not in {names[p] for group in (decayed, kept) for p in group.parameters}


def test_the_head_has_a_learning_rate_of_its_own() -> None:
    torch.manual_seed(0)
    network = build(dataclasses.replace(settled().config, head_widths=(8,), head_norm=True))
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    optimizer = optim.build(network, settled(head_rate=10.0, weight_decay=0.0))
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step(1e-3)
    moved = {name: float((before[name] - p.detach()).mean()) for name, p in network.named_parameters()}
    assert {name for name, distance in moved.items() if distance > 5e-3} == {name for name in moved if "head" in name}
    assert moved["head.weight"] == pytest.approx(1e-2, rel=1e-3)
    assert moved["body.norm.weight"] == pytest.approx(1e-3, rel=1e-3)


def test_muon_takes_the_matrices_of_the_body() -> None:
    network = build(settled().config)
    names = {parameter: name for name, parameter in network.named_parameters()}
    matrices, others, kept = optim.build(network, settled(optimizer="muon")).groups
    assert {names[p].rpartition(".body.blocks.")[2].split(".", 3)[-1] for p in matrices.parameters} == {
        "attention.qkv.weight", "attention.out.weight", "mlp.up.weight", "mlp.down.weight",
    }  # fmt: skip
    blocks = dict(zip((names[p] for p in matrices.parameters), matrices.blocks or [], strict=True))
    assert {blocks[name] for name in blocks if "qkv" in name} == {3} and others.blocks is kept.blocks is None
    assert "head.weight" in {names[p] for p in others.parameters}


@pytest.mark.parametrize("blocks", [1, 4])
def test_a_step_of_muon_equals_that_of_torch(blocks: int) -> None:
    """The results agree within the precision of bfloat16, in which torch computes. Every block is a separate matrix."""
    torch.manual_seed(0)
    whole = nn.Parameter(torch.randn(64, 24))
    parts = [nn.Parameter(part.detach().clone()) for part in whole.chunk(blocks)]
    ours = optim.Muon([optim.Group([whole], 0.1, [blocks])])
    theirs = torch.optim.Muon(parts, lr=0.1, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        whole.grad = torch.randn_like(whole)
        for part, gradient in zip(parts, whole.grad.chunk(blocks), strict=True):
            part.grad = gradient.clone()
        theirs.step()
        ours.step(0.1)
    difference = whole - torch.cat([part.detach() for part in parts])
    assert difference.abs().max() < 0.02 and difference.norm() < 0.05 * 0.3 * 0.2 * 64**0.5 * 24**0.5


def of_torch(ours: optim.Optimizer, twins: dict[nn.Parameter, nn.Parameter]) -> torch.optim.Optimizer:
    groups = [
        {"params": [twins[p] for p in group.parameters], "weight_decay": group.weight_decay} for group in ours.groups
    ]
    if isinstance(ours, optim.SGD):
        return torch.optim.SGD(groups, lr=0.0, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), eps=1e-8, fused=True)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_step_equals_that_of_torch(optimizer: str) -> None:
    """The results are bit-identical, even after the moments are restored and if a parameter has no gradient."""
    network = build(settled().config)
    twin = copy.deepcopy(network)
    twins = dict(zip(network.parameters(), twin.parameters(), strict=True))
    ours = optim.build(network, settled(optimizer=optimizer))
    theirs = of_torch(ours, twins)
    for step in range(6):
        if step == 3:
            moments = {name: value.clone() for name, value in ours.moments().items()}
            ours = optim.build(network, settled(optimizer=optimizer))
            ours.restore(moments)
        torch.manual_seed(step)
        for place, (mine, other) in enumerate(twins.items()):
            mine.grad = None if step < 2 and place == 1 else torch.randn_like(mine)
            other.grad = None if mine.grad is None else mine.grad.clone()
        for group in theirs.param_groups:
            group["lr"] = 0.1 / (1 + step)
        theirs.step()
        ours.step(0.1 / (1 + step))
        assert all(torch.equal(mine, other) for mine, other in twins.items()), step
        assert all(mine.grad is None for mine in twins)
    state = theirs.state_dict()["state"]
    moments = ours.moments()
    assert len(moments) == sum(map(len, state.values()))
    assert all(torch.equal(moments[f"{i}.{name}"], state[i][name]) for i in state for name in state[i])


def test_torch_s_compiler_is_not_imported(tmp_path: Path) -> None:
    """Importing it would take more than a second and 70 MB in each trainer."""
    code = """
import sys
from pathlib import Path
from app.wire.trainer import Done
from tests.training import runs

for optimizer in ("adamw", "muon", "sgd"):
    training = {"max_steps": 2, "width": 8, "layers": 1, "optimizer": optimizer}
    run = runs.make(Path(sys.argv[1]) / optimizer, "rows.csv", runs.table(), "gru", training=training)
    assert isinstance(runs.train(run)[-1], Done)
sys.exit("torch._dynamo" in sys.modules)
"""
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root, timeout=240).returncode == 0


def test_the_branch_is_updated_by_adagrad_with_one_rate_per_row() -> None:
    torch.manual_seed(0)
    table = torch.nn.Parameter(torch.randn(6, 3))
    plain = table.detach().clone()
    ours, sums_N = optim.RowAdagrad([optim.Group([table], 0.0)]), torch.full((6,), 1e-8)
    for _ in range(3):
        ids_N = torch.tensor([4, 1, 4])
        values_NC = torch.randn(3, 3)
        table.grad = torch.sparse_coo_tensor(ids_N[None], values_NC, (6, 3), check_invariants=True)
        dense_RC = table.grad.to_dense()
        sums_N += dense_RC.square().sum(1)
        plain -= 0.5 * dense_RC / sums_N.sqrt()[:, None]
        ours.step(0.5)
    torch.testing.assert_close(table.detach(), plain)
    assert table.grad is None
