import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodl_course.windows import windows


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 20), st.data())
def test_every_pixel_is_covered_and_no_window_sticks_out(height, width, size, data):
    overlap = data.draw(st.integers(0, size - 1))
    seen = np.zeros((height, width), int)
    found = windows(height, width, size, overlap)
    for row, col in found:
        seen[row : row + size, col : col + size] += 1
        assert 0 <= row <= max(height - size, 0) and 0 <= col <= max(width - size, 0)
    assert seen.min() >= 1
    assert len(set(found)) == len(found)


@given(st.integers(1, 20), st.integers(1, 5), st.integers(0, 4))
def test_neighbours_share_the_overlap_where_the_grid_fits(size, number, overlap):
    overlap = min(overlap, size - 1)
    length = size + (number - 1) * (size - overlap)
    assert windows(length, size, size, overlap) == [(i * (size - overlap), 0) for i in range(number)]


def test_the_last_window_is_shifted_inward():
    assert windows(100, 64, 64) == [(0, 0), (36, 0)]


def test_a_small_raster_gets_one_window():
    assert windows(10, 20, 64) == [(0, 0)]


@pytest.mark.parametrize("bad", [(0, 5, 4, 0), (5, 5, 0, 0), (5, 5, 4, 4), (5, 5, 4, -1)])
def test_impossible_grids_are_refused(bad):
    with pytest.raises(ValueError, match="must"):
        windows(*bad)
