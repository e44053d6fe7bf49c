"""The inspector of anomaly scores without a browser: what it computes and draws, how its controls hang together."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geodl_course import widgets
from geodl_course.evaluation.anomaly import confusion_at
from geodl_course.widgets.reconstruction_view import along, score_axis

N = 20
IMAGES = torch.randn(N, 4, 32, 32, generator=torch.Generator().manual_seed(0))
FOUND = 0.5 * IMAGES
STRANGE = np.arange(N) >= 15
SCORES = {"rank": torch.arange(N) / 10.0 - 1, "spread": (torch.arange(N) / 3.0).exp(), "wrong way": -torch.arange(N)}


def state(**changes):
    given = {"scores": SCORES, "strange": STRANGE, "bands": ["red", "green", "blue", "nir"]}
    start = {name: changes.pop(name) for name in list(changes) if name not in given}
    return widgets.reconstruction_state(IMAGES, FOUND, **given | changes, **start)


def test_threshold_flags_and_counts():
    data = widgets.reconstruction_compute(state(place=0.5, cost_missed=5))
    low, high, log = data.axis
    assert (low, high, log) == (pytest.approx(-1.038), pytest.approx(0.938), False)
    assert data.threshold == pytest.approx(-0.05)
    assert data.counts == {"found": 5, "missed": 0, "false": 5, "passed": 10, "cost": 5.0}
    assert data.strip.tolist() == list(range(6, 14)) and data.flagged == 4 and data.picked == 6
    assert data.shares.sum(1) == pytest.approx([1, 1])
    bins = np.digitize(SCORES["rank"].numpy(), data.edges) - 1  # the last five are strange
    assert np.flatnonzero(data.shares[1]).tolist() == sorted(set(bins[15:]))
    assert np.flatnonzero(data.shares[0]).tolist() == sorted(set(bins[:15]))
    words = widgets.reconstruction_words(data)
    assert "rank ≥ -0.05: 5 of 5 strange chips found, 5 of 15 known chips flagged falsely" in words
    assert "cost 5 × 0 + 1 × 5 = 5" in words and "Chip 6 (known) scores -0.4; its mean squared error: red 0.2" in words


def test_picked_chip_shows_its_own_errors():
    data = widgets.reconstruction_compute(state(pick=2, band=3))
    assert data.picked == 8
    expected = (0.25 * IMAGES[8].square()).mean((1, 2)).numpy()
    assert data.errors == pytest.approx(expected, rel=1e-5)
    assert data.views["error"] == pytest.approx(0.5 * IMAGES[8, 3].abs().numpy(), rel=1e-5)
    assert np.array_equal(data.views["band"], IMAGES[8, 3].numpy())
    assert np.array_equal(data.views["band found"], FOUND[8, 3].numpy())
    assert data.views["input"].shape == (32, 32, 3) and data.views["input"].dtype == np.uint8


@given(st.floats(0, 1), st.sampled_from(list(SCORES)))
def test_strip_holds_the_chips_around_the_threshold(place, score):
    data = widgets.reconstruction_compute(state(place=place, score=score))
    values = SCORES[score].numpy()
    assert data.counts == confusion_at(data.values, STRANGE, data.threshold)
    assert len(data.strip) == 8 and (np.diff(values[data.strip]) >= 0).all()
    assert (values[data.strip] >= data.threshold).sum() == data.flagged
    assert (values[data.strip[len(data.strip) - data.flagged :]] >= data.threshold).all()
    if 4 <= (values >= data.threshold).sum() <= N - 4:
        assert data.flagged == 4


@given(st.integers(0, 10**6), st.integers(1, 30), st.floats(-3, 3))
def test_axis_holds_all_scores_and_its_ends_flag_all_and_none(seed, number, centre):
    values = np.exp(np.random.default_rng(seed).normal(centre, 1 + seed % 3, number))
    values -= seed % 2  # scores below 0 have no logarithm
    axis = score_axis(values)
    assert along(axis, 0.0) < values.min() and values.max() < along(axis, 1.0)
    assert axis[2] == (values.min() > 0 and values.max() / values.min() > 20)


def test_scores_all_alike_and_fewer_chips_than_the_strip_holds():
    few = widgets.reconstruction_state(IMAGES[:3], FOUND[:3], {"same": torch.ones(3)}, np.array([True, False, False]))
    data = widgets.reconstruction_compute(replace(few, pick=7))
    assert data.axis == (0.5, 1.5, False) and len(data.strip) == 3 and data.flagged == 3 and data.picked == 2
    widgets.reconstruction_draw(data)


def test_flat_chips_look_flat():
    images = IMAGES.clone()
    images[0] = 0.01 * images[0]
    data = widgets.reconstruction_compute(widgets.reconstruction_state(images, FOUND, SCORES, STRANGE, place=0))
    assert data.strip[0] == 0 and data.views["input"].std() < 2 and data.tiles[1].std() > 30


def test_chips_without_variance_and_without_error_are_drawn():
    flat = torch.full((N, 3, 32, 32), -1.5)
    data = widgets.reconstruction_compute(widgets.reconstruction_state(flat, flat, SCORES, STRANGE))
    assert data.errors.tolist() == [0, 0, 0] and not data.views["error"].any()
    widgets.reconstruction_draw(data)
    assert "its mean squared error: band 1 0, " in widgets.reconstruction_words(data)


def test_any_band_count_and_names():
    one = widgets.reconstruction_state(IMAGES[:, :1], FOUND[:, :1], SCORES, STRANGE)
    assert one.bands == ("band 1",) and one.rgb == (0, 0, 0)
    widgets.reconstruction_draw(widgets.reconstruction_compute(one))


@pytest.mark.parametrize("changes, words", [
    ({"bands": ["red"]}, r"\(20, 4, 32, 32\).* bands 1"), ({"scores": {}}, "there is no score"),
    ({"scores": {"s": torch.ones(3)}}, r"scores are \(3,\)"), ({"strange": np.zeros(N, bool)}, "0 of 20 chips"),
    ({"scores": {"s": torch.full((N,), math.nan)}}, "NaN"), ({"score": "no"}, "'no'.*rank, spread"),
    ({"scores": {"s": torch.tensor([math.inf] + [1.0] * 19)}}, "'s' has 19 finite"), ({"band": 4}, "band 4"),
])  # fmt: skip
def test_what_does_not_fit_is_named(changes, words):
    with pytest.raises(ValueError, match=words):
        state(**changes)


def test_drawing_shows_what_was_computed_and_reuses_its_artists():
    figure = widgets.reconstruction_draw(widgets.reconstruction_compute(state(groups=("land", "water"))))
    before = {id(artist) for artist in figure.findobj() if artist.get_gid()}
    data = widgets.reconstruction_compute(state(groups=("land", "water"), score="spread", place=0.7, band=3, pick=5))
    assert widgets.reconstruction_draw(data, figure) is figure
    assert {id(artist) for artist in figure.findobj() if artist.get_gid()} == before
    art = {artist.get_gid(): artist for artist in figure.findobj() if artist.get_gid()}
    assert [art[f"count {name}"].get_text() for name in ("found", "missed", "false", "passed")] == [
        str(data.counts[name]) for name in ("found", "missed", "false", "passed")]  # fmt: skip
    assert len(art["frames strange"].get_paths()) == STRANGE[data.strip].sum()
    assert len(art["frames known"].get_paths()) == (~STRANGE[data.strip]).sum()
    assert art["threshold"].get_xdata() == [data.threshold] * 2 and art["threshold"].axes.get_xscale() == "log"
    assert art["row strange"].get_text() == "water"
    assert np.array_equal(art["error"].get_array(), data.views["error"])
    assert art["error"].axes.get_title(loc="left").startswith("|error| in nir, mean square 0.2")
    said = [text.get_text() for text in art["strip"].axes.texts]
    assert len(said) == 8 and all(word in ("passed", "found", "missed", "false alarm") for word in
                                  (text.split("\n")[1] for text in said))  # fmt: skip
    assert art["error"].get_clim() == (0, data.state.worst[3])
    odd, flagged = STRANGE[data.strip], np.arange(8) >= 8 - data.flagged
    told = np.where(odd, np.where(flagged, "found", "missed"), np.where(flagged, "false alarm", "passed"))
    assert [text.split("\n")[1] for text in said] == told.tolist()
    first, step = widgets.png(figure), (art["strip"].get_extent()[1] + 12) / 8  # a chip and its gap of 12 px
    for place, number in ((0, 8), (0.5, 4), (0.97, 1), (1, 0)):
        data = widgets.reconstruction_compute(replace(data.state, score="rank", place=place))
        widgets.reconstruction_draw(data, figure)
        assert data.flagged == number and art["border"].get_xdata()[0] == pytest.approx(step * (8 - number) - 6)
    widgets.reconstruction_draw(widgets.reconstruction_compute(replace(data.state, place=0.3)), figure)
    assert widgets.png(figure) != first


def test_counts_stand_in_the_column_and_row_of_their_names():
    figure = widgets.reconstruction_draw(widgets.reconstruction_compute(state()))
    art = {artist.get_gid(): artist for artist in figure.findobj() if artist.get_gid()}
    at = {name: art[f"count {name}"].get_position() for name in ("found", "missed", "false", "passed")}
    words = {text.get_text(): text.get_position() for text in art["count found"].axes.texts}
    rows = {name: art[f"row {name}"].get_position()[1] for name in ("known", "strange")}
    assert at["found"][0] == at["false"][0] == words["flagged"][0]
    assert at["missed"][0] == at["passed"][0] == words["not flagged"][0]
    assert all(abs(at[name][1] - rows["strange"]) < 0.2 for name in ("found", "missed"))
    assert all(abs(at[name][1] - rows["known"]) < 0.2 for name in ("false", "passed"))
    for name, word in (("found", "found"), ("missed", "missed"), ("false", "false alarms"), ("passed", "passed")):
        assert words[word][0] == at[name][0] and 0 < at[name][1] - words[word][1] < 0.5


def test_shell_follows_every_control():
    inspector = widgets.reconstruction(IMAGES.requires_grad_(), FOUND, SCORES, STRANGE, groups=("land", "water"))
    IMAGES.requires_grad_(False)
    assert set(inspector.controls) == {"score", "band", "place", "pick", "cost_missed", "cost_false"}
    seen = [inspector.picture.value]
    for name, value, words in (("place", 0.0, "5 of 5 water chips found, 15 of 15"), ("place", 1.0, "0 of 5 water"),
                               ("cost_missed", 4.0, "4 × 5 + 1 × 0 = 20"), ("pick", 7, "Chip 19 (water)"),
                               ("score", "wrong way", "Chip 0 (land)"), ("place", 0.0, "15 of 15 land"),
                               ("cost_false", 2.0, "2 × 15 = 30")):
        inspector.controls[name].value = value
        assert words in inspector.read_out.value
        seen.append(inspector.picture.value)
    inspector.controls["band"].value = 2
    assert inspector.picture.value != seen[-1]
    assert all(one != other for one, other in zip(seen, seen[1:], strict=False))
