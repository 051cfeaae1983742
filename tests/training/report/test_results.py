"""The result files of a training."""

from __future__ import annotations

from pathlib import Path

from app.training.report.results import write_csv


def test_figures_have_the_columns_of_openai_s_result_files(tmp_path: Path) -> None:
    history = [
        {"step": 5, "train_loss": 1.23456789, "train_mean_token_accuracy": 0.5, "lr": 0.1},
        {"step": 10, "train_loss": 1.0, "valid_loss": 2.0, "valid_mean_token_accuracy": 0.25},
    ]
    write_csv(tmp_path / "results.csv", history)
    assert (tmp_path / "results.csv").read_text().splitlines() == [
        "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy",
        "5,1.23457,0.5,,",
        "10,1,,2,0.25",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]
