"""An encoder gives the same results with and without its padding."""

from __future__ import annotations

import pytest
import torch

from models import transformer
from models.config import ModelConfig
from tests.models.configurations import batch, classifier, classifiers

CONFIGS = {name: config for name, config in classifiers().items() if config.architecture == "transformer"}


@pytest.mark.parametrize("lengths", [(11, 1, 7, 7, 7, 4), (3, 9), (0, 5, 5)], ids=str)
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
@torch.inference_mode()
def test_skipping_padding_does_not_change_results(
    config: ModelConfig, lengths: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = classifier(config)
    inputs, lengths_B = batch(config, lengths)
    padded_BC = network(inputs, lengths_B)
    monkeypatch.setattr(transformer, "ROW_COST", 0)
    calls = []
    skip = transformer.TransformerEncoder._without_padding
    monkeypatch.setattr(
        transformer.TransformerEncoder, "_without_padding", lambda *arguments: calls.append(1) or skip(*arguments)
    )
    skipped_BC = network(inputs, lengths_B)
    assert calls
    real = [row for row, length in enumerate(lengths) if length]
    torch.testing.assert_close(skipped_BC[real], padded_BC[real], atol=1e-5, rtol=1e-5)
    assert skipped_BC.isfinite().all()


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_mixed_precision_causes_no_warnings(config: ModelConfig) -> None:
    """In tests, warnings are errors. By default, PyTorch issues each of its own warnings only once per process."""
    network = classifier(config).train()
    torch.set_warn_always(True)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            network(*batch(config, (11, 4))).sum().backward()
    finally:
        torch.set_warn_always(False)
