"""Figures of lecture 09: one stretch for all chips, curves in order, shares of groups. Looks were judged by eye."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.offsetbox import AnnotationBbox

from geodl_course import diagrams, vae_plots
from geodl_course.chips import DatasetInfo

INFO = DatasetInfo("sea", [], ["nir", "red", "green", "blue"], "uint16", 8, 10.0, "EPSG:32618")
STEP = 1 / (vae_plots.LEVELS - 1)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_a_flat_chip_looks_flat_beside_others():
    images = torch.zeros(3, 4, 8, 8)
    images[0] = torch.linspace(-2, 2, 64).reshape(8, 8)
    images[1] = 0.01 * torch.linspace(-2, 2, 64).reshape(8, 8)
    limits = vae_plots.common_limits(images, (0, 100))
    assert limits == pytest.approx(np.array([[-2, 2]] * 4))
    shown = [vae_plots.displayed(image, limits) for image in images]
    assert np.ptp(shown[0]) == 1 and np.ptp(shown[1]) <= STEP and abs(shown[2].mean() - 0.5) <= STEP / 2
    assert vae_plots.displayed(9 * images[0], limits).max() == 1  # beyond the ends is cut off


def test_the_bands_called_red_green_and_blue_are_shown():
    image = torch.arange(4.0)[:, None, None].expand(4, 8, 8)
    limits = np.array([[0.0, 4.0]] * 4)
    assert vae_plots.displayed(image, limits, INFO)[0, 0].tolist() == pytest.approx([0.25, 0.5, 0.75], abs=STEP / 2)


def test_strips_have_a_row_each_and_room_for_the_longest():
    images = torch.rand(3, 3, 8, 8)
    figure = vae_plots.show_strips({"chip": images, "rebuilt": images[:2]}, np.array([[0, 1]] * 3), titles="abc")
    assert [len(ax.images) for ax in figure.axes] == [1, 1, 1, 1, 1, 0]
    assert [ax.get_title() for ax in figure.axes[:3]] == ["a", "b", "c"]
    assert [ax.texts[0].get_text() for ax in figure.axes[::3]] == ["chip", "rebuilt"]


def test_rates_are_drawn_by_rising_rate_and_floats_and_png_are_not():
    points = {"8": {"bits per pixel": 0.4, "PSNR": 22.0}, "2": {"bits per pixel": 0.1, "PSNR": 20.0}}
    figures = {"chips": 3, "nothing sent": {"bits per pixel": 0.0, "PSNR": 16.0, "PSNR per band": {}},
               "JPEG, mosaic": points, "PNG, mosaic": points,
               "autoencoder, 4": {**points, "bytes of the decoder": 9, "not quantised": points["8"] | {"PSNR": 30.0}}}
    lines = vae_plots.plot_rates(figures).lines
    assert [line.get_label() for line in lines] == ["JPEG, mosaic", "autoencoder, 4"]
    assert all(line.get_xydata().tolist() == [[0.1, 20], [0.4, 22]] for line in lines)


def test_each_group_is_drawn_against_its_variance_and_in_shares_of_itself():
    few, many = np.array([1.0, 2.0]), np.linspace(1, 50, 40)
    ax = vae_plots.plot_against_variance({"land": (many, 2 * many), "water": (few, few)})
    assert [len(line.get_xdata()) for line in ax.lines] == [40, 2, 2]
    assert ax.lines[2].get_xydata().tolist() == [[1, 1], [50, 50]]
    groups = {"land": many, "water": few}
    figure = vae_plots.compare_histograms({"error": groups, "below 0": {**groups, "land": -many}})
    assert [ax.get_xscale() for ax in figure.axes] == ["log", "linear"]
    for patch in figure.axes[0].patches:
        corners = patch.get_path().vertices
        assert 0 < corners[:, 1].max() <= 1


def test_layers_have_one_bar_each_and_pictures_none():
    layer = np.full((4, 6), np.nan)
    layer[0] = np.arange(6)
    figure = vae_plots.show_layers({"scene": np.zeros((4, 6, 3)), "error": layer})
    assert len(figure.axes) == 3  # the third is the bar
    assert figure.axes[1].images[0].get_clim() == pytest.approx((0, 4.9))


def test_the_flow_says_the_shapes():
    nodes, chains = vae_plots.vae_flow(bands=3, size=32, latent=7)
    assert "(B, 3, 32, 32)" in nodes["chips"][3] and "(B, 7)" in nodes["mean"][3]
    diagrams.draw_flow(nodes, chains)


def test_the_map_of_codes_shows_chips_far_apart_and_a_ring_that_holds_what_it_says():
    g = torch.Generator().manual_seed(0)
    normal = torch.randn(20000, 2, generator=g)
    ax = vae_plots.map_codes(normal[:40], torch.rand(40, 3, 8, 8, generator=g), np.array([[0, 1]] * 3), shown=7)
    assert sum(isinstance(artist, AnnotationBbox) for artist in ax.artists) == 7
    held = [(normal.norm(dim=1) < ring.get_radius()).float().mean().item() for ring in ax.patches]
    assert held == pytest.approx([0.95, 0.95], abs=0.01)
    assert [text.get_text() for text in ax.texts] == ["95% of N(0, 1)"]


def test_places_are_chosen_far_from_each_other():
    line = np.stack([np.arange(-2, 9), np.zeros(11)], 1)  # from -2 to 8
    assert [line[row, 0] for row in vae_plots.far_apart(line, 4)] == [0, 8, 4, -2]
    assert sorted(vae_plots.far_apart(line, 99)) == list(range(11))
