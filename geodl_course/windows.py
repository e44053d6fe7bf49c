"""Windows over a raster: a regular grid whose last row and column are shifted inward, so that no pixel is missed."""


def _starts(length, size, step):
    last = max(length - size, 0)
    return [*range(0, last, step), last]


def windows(height, width, size, overlap=0):
    """Upper left corners [(row, col), ...] of windows of `size` pixels that cover a (height, width) raster.

    Neighbours share `overlap` pixels (0 <= overlap < size); the last row and column are shifted inward, so they may
    share more. A raster smaller than `size` gets one window at 0: whoever reads it fills the rest with nodata.
    Raises ValueError for sizes that cannot tile. Lecture 01 builds it.
    """
    if height < 1 or width < 1 or size < 1:
        raise ValueError(f"height {height}, width {width} and size {size} must all be at least 1 pixel.")
    if not 0 <= overlap < size:
        raise ValueError(f"overlap {overlap} must be at least 0 and smaller than the window size {size}.")
    step = size - overlap
    return [(row, col) for row in _starts(height, size, step) for col in _starts(width, size, step)]
