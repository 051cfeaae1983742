import numpy as np

from app.training.baseline.pooled import columns, pooled
from app.training.prepare.dataset import Rows


def test_statistics_of_sequences_of_any_length() -> None:
    flat = np.arange(24, dtype=np.float32).reshape(12, 2)
    rows = Rows(flat, np.asarray([0, 1, 4, 12]), np.zeros(3))
    result = pooled(rows, np.asarray([0, 1, 2]))
    assert result.shape == (3, columns(2))
    np.testing.assert_array_equal(result[0, :2], flat[0])  # the mean of one step
    np.testing.assert_allclose(result[1, :2], flat[1:4].mean(0))
    np.testing.assert_array_equal(result[2, 10:12], flat[11])  # the last step
    np.testing.assert_array_equal(result[2, 12:28].reshape(8, 2), flat[4:])  # eight segments of one step
    np.testing.assert_allclose(result[:, -1], np.log([1, 3, 8]))
