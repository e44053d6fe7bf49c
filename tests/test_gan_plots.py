"""Figures of lecture 08: which pixel is where, what is drawn. Their looks were judged by eye."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from geodl_course import gan_plots
from geodl_course.diagrams import draw_flow


def signed(number, size=8, value=-1.0):
    return torch.full((number, 5, size, size), value)


def test_dark_is_black_bright_is_white_and_a_gap_is_grey():
    images = torch.cat((signed(1), signed(1, value=1.0), signed(1)))
    images[2, 0] = 1.0  # the first band is red
    gap = torch.zeros(3, 1, 8, 8, dtype=torch.bool)
    gap[1, :, 2, 5] = True  # row 2, column 5
    shown = gan_plots.signed_rgb(images, gap)
    assert shown.shape == (3, 8, 8, 3) and shown.dtype == np.uint8
    assert (shown[0] == 0).all() and (shown[1, 0] == 255).all() and shown[2, 0, 0].tolist() == [255, 0, 0]
    assert shown[1, 2, 5].tolist() == [gan_plots.GREY] * 3 and (shown == gan_plots.GREY).all(-1).sum() == 1


def test_chips_of_a_row_stand_side_by_side_at_their_own_size():
    images = torch.stack([signed(1)[0], signed(1, value=1.0)[0], signed(1)[0]])
    sheet = gan_plots.tiled(images, 2)
    step = 8 + gan_plots.GAP
    assert sheet.shape == (2 * step - gan_plots.GAP, 2 * step - gan_plots.GAP, 3)
    assert (sheet[:8, :8] == 0).all() and (sheet[:8, step:] == 255).all() and (sheet[step:, :8] == 0).all()
    assert (sheet[step:, step:] == 255).all()  # nothing where there is no chip


def test_rows_carry_their_names_and_a_chips_pixel_is_one_of_the_screen():
    figure = gan_plots.show_rows({"made": signed(3), "real": signed(2, value=1.0)}, scale=1, title="Two rows")
    [ax] = figure.axes
    picture = ax.images[0].get_array()
    assert picture.shape[:2] == (2 * 8 + gan_plots.GAP, 3 * 8 + 2 * gan_plots.GAP)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["made", "real"]
    places = ax.get_yticks()
    assert (picture[int(places[0]), 1] == 0).all() and (picture[int(places[1]), 1] == 255).all()
    width, height = ax.get_window_extent().width / figure.dpi * 100, ax.get_window_extent().height / figure.dpi * 100
    assert (width, height) == pytest.approx(picture.shape[1::-1], abs=0.6)
    wider = gan_plots.show_rows({"made": signed(3)}).axes[0]  # chips of 8 px are drawn 8 times as large
    assert wider.get_window_extent().width / figure.dpi * 100 == pytest.approx(8 * (3 * 8 + 2 * gan_plots.GAP), abs=0.6)


def test_the_drawing_moves_one_network_in_each_step():
    nodes, chains = gan_plots.game_flow(bands=4)
    moves = {name for name, node in nodes.items() if node[2] == "learned"}
    assert moves == {"discriminator0", "generator1"}
    assert nodes["real"][3].endswith("(B, 4, 64, 64)") and "real discriminator0" in chains
    assert len(draw_flow(nodes, chains, legend=False).texts) > 12


def test_curves_show_what_the_history_holds():
    steps = [{"step": i, "discriminator": 2.0, "generator": 1.0, "real": 0.75, "fake": 0.25} for i in range(1, 41)]
    figure = gan_plots.plot_game(steps)
    heights = [{round(float(line.get_ydata()[-1]), 2) for line in ax.lines} for ax in figure.axes]
    assert heights == [{2.0, 1.0}, {0.75, 0.25}]
    assert figure.axes[1].get_ylim() == (0, 1)
    looks = [{"step": i, "frechet": 9.0 - i, "precision": 0.1 * i, "recall": 0.05 * i} for i in range(5)]
    figure = gan_plots.plot_quality(looks, floor=2.0, ceiling=20.0)
    assert {float(line.get_ydata()[-1]) for line in figure.axes[0].lines} == {5.0, 2.0, 20.0}
    assert [list(line.get_ydata()) for line in figure.axes[1].lines] == [
        [look[name] for look in looks] for name in ("precision", "recall")]
    plt.close("all")
