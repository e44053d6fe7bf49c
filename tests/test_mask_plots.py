"""Figures of masks: who gets which colour, what counts as found, where a mask lies. Their looks were judged by eye."""

import numpy as np
import torch
from matplotlib.colors import to_hex
from matplotlib.contour import ContourSet

from geodl_course import mask_plots, plots

IMAGE = np.zeros((1, 24, 32), np.uint8)


def masks(*boxes):
    found = torch.zeros(len(boxes), 24, 32, dtype=torch.bool)
    for one, (x0, y0, x1, y1) in zip(found, boxes, strict=True):
        one[y0:y1, x0:x1] = True
    return found


def outlines(ax):
    """[(colour, line style, bounds of the path)] of what draw_masks left on an axes."""
    lines = [c for c in ax.collections if isinstance(c, ContourSet)]
    return [(to_hex(c.get_edgecolor()[0]).upper(), c.get_linestyle()[0][1], c.get_paths()[0].get_extents().bounds)
            for c in lines]


def test_an_outline_runs_along_the_pixels_edges_also_where_the_chip_ends():
    ax = mask_plots.show_masks(IMAGE, masks((4, 5, 10, 9), (26, 0, 32, 24)))
    assert [bounds for *_, bounds in outlines(ax)] == [(4, 5, 6, 4), (26, 0, 6, 24)]
    assert ax.get_xlim() == (0, 32) and ax.get_ylim() == (24, 0)
    layer = ax.images[1]  # the first mask's inside, over the chip
    assert layer.get_extent() == [0, 32, 24, 0] and (np.asarray(layer.get_array())[..., 3] > 0).sum() == 24


def test_neighbours_have_colours_of_their_own():
    row = masks(*[(3 * i, 0, 3 * i + 3, 4) for i in range(10)])
    colours = mask_plots.instance_colours(row)
    assert all(a != b for a, b in zip(colours, colours[1:], strict=False))
    assert len(set(mask_plots.instance_colours(row[:8]))) == 8  # unique while there are colours
    crowd = masks(*[(0, 0, 9, 9)] * 12)
    assert len(mask_plots.instance_colours(crowd)) == 12
    assert mask_plots.instance_colours(masks()) == []


def test_found_false_and_missed_differ_in_more_than_colour():
    truth = masks((0, 0, 8, 8), (20, 10, 28, 20))
    ax = mask_plots.show_mask_outcome(IMAGE, masks((0, 0, 8, 7), (10, 10, 14, 14)), truth)
    drawn = {colour: (style, bounds) for colour, style, bounds in outlines(ax)}
    assert drawn[plots.TRUE_POSITIVE][1] == (0, 0, 8, 7) and drawn[plots.FALSE_POSITIVE][1] == (10, 10, 4, 4)
    assert drawn[plots.MISSED][1] == (20, 10, 8, 10)
    assert len({str(style) for style, _ in drawn.values()}) == 3
    assert [text.get_text() for text in ax.figure.legends[0].get_texts()] == ["1 found", "1 false", "1 missed"]


def test_truth_above_and_prediction_below_also_without_the_imagery():
    truth, none = masks((0, 0, 8, 8)), masks()
    figure = mask_plots.show_mask_results([IMAGE, None], [truth, none], [truth, truth], titles=["a", "b"])
    above, secret, found, missed = figure.axes
    assert above.get_title(loc="left") == "truth: a" and len(outlines(above)) == len(outlines(secret)) == 1
    assert outlines(found)[0][0] == plots.TRUE_POSITIVE and outlines(missed)[0][0] == plots.MISSED
    shown = np.asarray(secret.images[0].get_array())
    assert len(np.unique(shown)) == 1, "what may not be shown is not shown"


def test_a_mask_from_its_map_to_its_place():
    pasted = torch.zeros(24, 32)
    pasted[4:12, 8:16] = 0.9
    figure = mask_plots.show_paste(IMAGE, torch.tensor([8, 4, 16, 12.0]), torch.full((28, 28), 0.9), pasted,
                                   truth=pasted > 0)
    region, heat, stretched, cut = figure.axes
    assert heat.images[0].get_clim() == stretched.images[1].get_clim() == (0, 1)
    assert np.isnan(np.ma.filled(stretched.images[1].get_array().astype(float), np.nan)).sum() == 24 * 32 - 64
    assert [bounds for *_, bounds in outlines(cut)] == [(8, 4, 8, 8)] * 2
    assert region.get_xlim()[0] < 8 and region.get_xlim()[1] > 16
