"""A conjunction before the last label of a list does not become a part of the label."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.data.scans import scan_labels


@pytest.mark.parametrize("word", ["and", "und", "et", "y", "or"])
def test_a_conjunction_after_the_last_comma_is_removed(word: str, tmp_path: Path) -> None:
    cells = [f"sport, art, {word} tech", f"sport, art, {word} money", f"tech, {word} art"]
    result, remarks = scan_labels(tmp_path, cells, "multilabel")
    assert result.labels == ["art", "money", "sport", "tech"]
    assert "'sport' and 'art' and 'tech'" in remarks["separated_labels"].message
    assert "label_conjunctions" not in remarks


def test_a_conjunction_that_may_belong_to_the_label_stays_and_is_warned_about(tmp_path: Path) -> None:
    result, remarks = scan_labels(tmp_path, ["x axis, y axis", "x axis, z axis"], "multilabel")
    assert result.labels == ["x axis", "y axis", "z axis"]
    remark = remarks["label_conjunctions"]
    assert remark.level == "warn" and remark.count == 4 and "labels such as 'y axis' begin" in remark.message


def test_labels_without_a_list_and_other_words_are_not_warned_about(tmp_path: Path) -> None:
    result, remarks = scan_labels(tmp_path, ["and gate", "android, yes", "yes"], "multilabel")
    assert result.labels == ["and gate", "android", "yes"] and "label_conjunctions" not in remarks
