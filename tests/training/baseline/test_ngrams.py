import numpy as np
import pytest
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from app.training.baseline.ngrams import TextFeatures

TEXTS = [
    "The quick brown fox, the quick dog", "", "ÄÖ ä öü", "a", "日本語のテキスト", "x\ty  z " * 4, "one two " * 3,
    "😀 smile", "ab",
]  # fmt: skip
OTHERS = ["the brown dog and the fox", "nothing new here", "日本", ""]


def _scikit_learn(texts: list[str], others: list[str]) -> list[np.ndarray]:
    """The same features, computed by scikit-learn's vectorizers."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    characters = TfidfVectorizer(analyzer="char", ngram_range=(2, 5), sublinear_tf=True, preprocessor=str.lower)
    fitted = sparse.hstack([part.fit_transform(texts) for part in (words, characters)])
    return [fitted.toarray(), sparse.hstack([part.transform(others) for part in (words, characters)]).toarray()]


@pytest.mark.parametrize("block", [1, 20, 10**6])
def test_features_are_those_of_scikit_learn(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.training.baseline.ngrams._BLOCK", block)
    features = TextFeatures(10**6)
    own = [features.fit(TEXTS).toarray(), features.transform(OTHERS).toarray()]
    theirs = _scikit_learn(TEXTS, OTHERS)
    assert own[0].shape == theirs[0].shape
    # The columns have another order, so compare the inner products of all pairs of texts.
    for one, other in ((0, 0), (0, 1), (1, 1)):
        np.testing.assert_allclose(own[one] @ own[other].T, theirs[one] @ theirs[other].T, atol=1e-12)


def test_a_limit_on_columns_keeps_the_most_frequent() -> None:
    features = TextFeatures(4)
    counts = features.fit(["red apple", "red pear", "red plum"])
    assert counts.shape == (3, 4)
    assert features.transform(["red x"]).nnz == 3  # the word, and two of its n-grams
