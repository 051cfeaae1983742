import numpy as np

from app.training.baseline.work import HELD_OUT_BYTES, WORK, BaselineLimits, derive_limits

SIZES = np.full(100_000, 1000)


def test_small_data_is_used_whole() -> None:
    assert BaselineLimits().train_rows(np.full(50, 100), 2).tolist() == list(range(50))
    assert BaselineLimits().held_out_rows(np.full(50, 100)).tolist() == list(range(50))


def test_more_labels_leave_room_for_fewer_rows() -> None:
    counts = [len(BaselineLimits().train_rows(SIZES, labels)) for labels in (2, 50, 1000)]
    assert counts[0] > counts[1] > counts[2] > 0
    for labels, count in zip((2, 50, 1000), counts, strict=True):
        assert count * 1000 * (2 + labels / 4) <= WORK


def test_the_choice_of_rows_depends_on_the_seed_alone() -> None:
    chosen = BaselineLimits(seed=3).train_rows(SIZES, 50)
    np.testing.assert_array_equal(chosen, BaselineLimits(seed=3).train_rows(SIZES, 50))
    assert (chosen[1:] > chosen[:-1]).all()
    assert chosen.tolist() != BaselineLimits(seed=4).train_rows(SIZES, 50).tolist()


def test_held_out_rows_are_limited_by_their_size() -> None:
    assert len(BaselineLimits().held_out_rows(SIZES)) * 1000 <= HELD_OUT_BYTES


def test_one_row_is_always_chosen() -> None:
    assert len(BaselineLimits().train_rows(np.full(3, 10**9), 2)) == 1


def test_max_seconds_limits_the_work() -> None:
    assert derive_limits(7, None) == BaselineLimits(WORK, 7)
    assert derive_limits(7, 60.0).work == 6_000_000
    assert derive_limits(7, 10**6).work == WORK
