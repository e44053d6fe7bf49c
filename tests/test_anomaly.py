"""Scores of chips: what each computes, which rules it follows; and how scores are judged, against torchmetrics."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from geodl_course.evaluation import anomaly
from geodl_course.models import vae_scores
from geodl_course.models.vae import vae

BANDS = ["red", "green", "swir"]


class Blurred(torch.nn.Module):
    """Stands in for a VAE whose numbers are known: it gives back each band's mean, and codes that it was given."""

    def __init__(self, mean=None, log_variance=None):
        super().__init__()
        self.code = mean, log_variance

    def forward(self, images):
        return images.mean(dim=(2, 3), keepdim=True).expand_as(images)

    def encode(self, images):
        return tuple(each[: len(images)] for each in self.code)

    def decode(self, code):
        found = code[:, :1, None, None].expand(-1, 3, 64, 64)
        return found, torch.full_like(found, math.log(0.5))


def chips(number=4, seed=0):
    return torch.randn(number, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


# ---- scores


def test_errors_of_a_model_that_knows_the_means_only():
    images = chips() * torch.tensor([0.1, 1, 2, 3]).view(4, 1, 1, 1) + 5
    variance = torch.from_numpy(images.numpy().reshape(4, 3, -1).var(2))
    torch.testing.assert_close(vae_scores.error_map(images, Blurred()).mean((2, 3)), variance)
    torch.testing.assert_close(vae_scores.plain_error(images, Blurred()), variance.mean(1))
    torch.testing.assert_close(vae_scores.relative_error(images, Blurred()), torch.ones(4))
    torch.testing.assert_close(vae_scores.band_error(images, Blurred(), 2), variance[:, 2])
    torch.testing.assert_close(vae_scores.flatness(images), -variance.mean(1))
    torch.testing.assert_close(vae_scores.darkness(images, band=1), -images[:, 1].mean((1, 2)))
    assert vae_scores.offset_error(images, Blurred()).abs().max() < 1e-10


def test_error_of_the_means_sees_colour_and_no_texture():
    images = chips()

    class Off(torch.nn.Module):
        def forward(self, images):
            return images.flip(3) + torch.tensor([0.0, 3.0, 0.0]).view(1, 3, 1, 1)

    torch.testing.assert_close(vae_scores.offset_error(images, Off()), torch.full((4,), 9 / 3))


def test_chip_without_variance_scores_by_its_error_over_the_least_variance():
    class Half(torch.nn.Module):
        def forward(self, images):
            return images - 0.5

    flat = torch.full((2, 3, 64, 64), 1.5)
    assert vae_scores.relative_error(flat, Half()).tolist() == pytest.approx([0.25 / vae_scores.LEAST] * 2)
    assert vae_scores.relative_error(flat, Blurred()).tolist() == [0, 0]
    assert vae_scores.flatness(flat).tolist() == [0, 0]


def test_reconstruction_probability_by_torch_distributions():
    g = torch.Generator().manual_seed(1)
    mean, log_variance = torch.randn(2, 4, 2, generator=g)
    images, model = chips(), Blurred(mean, log_variance)
    noise = torch.randn(16, 1, 2, generator=torch.Generator().manual_seed(7))
    each = []
    for draw in noise:
        code = mean + (log_variance / 2).exp() * draw
        normal = torch.distributions.Normal(code[:, :1, None, None], torch.tensor(0.5))
        each.append(normal.log_prob(images).sum((1, 2, 3)))
    found = vae_scores.reconstruction_probability(images, model, seed=7)
    torch.testing.assert_close(found, -torch.stack(each).mean(0))
    torch.testing.assert_close(vae_scores.reconstruction_probability(images[:1], model, seed=7), found[:1])


def test_divergence_of_the_code_is_the_kl():
    mean, log_variance = torch.randn(2, 4, 6)
    q = torch.distributions.Normal(mean, (log_variance / 2).exp())
    expected = torch.distributions.kl_divergence(q, torch.distributions.Normal(torch.zeros(4, 6), 1.0)).sum(1)
    torch.testing.assert_close(vae_scores.code_divergence(chips(), Blurred(mean, log_variance)), expected)


def test_every_score_gives_one_number_a_chip_in_any_batch():
    model, images = vae(3, latent=4, widths=[8, 8, 8, 8]), chips(5)
    scores = vae_scores.scores_for(BANDS)
    assert list(scores)[-3:] == ["error in swir", "no model: flatness", "no model: dark in swir"]
    for score in scores.values():
        found = vae_scores.score_chips(score, images, model, batch_size=2)
        assert found.shape == (5,) and not found.requires_grad and found.isfinite().all()
        torch.testing.assert_close(found, vae_scores.score_chips(score, images, model), rtol=1e-4, atol=1e-5)
    assert model.training  # as it was
    assert vae_scores.score_chips(vae_scores.plain_error, images[:0], model).shape == (0,)


def test_wrong_chips_are_named_by_every_score_of_the_model():
    model = vae(3, latent=4, widths=[8, 8, 8, 8])
    scores = {name: each for name, each in vae_scores.scores_for(BANDS).items() if not name.startswith("no model")}
    wrong = {"2 bands": chips()[:, :2], "NaN": chips() * math.nan, "standardised": chips() + 3000}
    wrong["px"] = chips()[..., :9]
    for score in scores.values():
        for words, images in wrong.items():
            with pytest.raises(ValueError, match=words):
                vae_scores.score_chips(score, images, model)


# ---- how good scores are


@given(st.integers(0, 10**6), st.integers(2, 40), st.sampled_from([0, 3, 1]))
def test_areas_are_those_of_torchmetrics(seed, number, levels):
    g = np.random.default_rng(seed)
    scores = g.random(number).astype(np.float32)
    scores = np.round(scores * levels) / levels if levels else scores  # many ties
    strange = g.random(number) < 0.4
    strange[0], strange[1] = True, False
    given_to_them = torch.from_numpy(scores.astype(np.float32)), torch.from_numpy(strange).int()
    assert anomaly.auroc(scores, strange) == pytest.approx(binary_auroc(*given_to_them).item(), abs=1e-5)
    area = anomaly.average_precision_of_scores(scores, strange)
    assert area == pytest.approx(binary_average_precision(*given_to_them).item(), abs=1e-5)
    stretched = -np.exp(-40 * scores)  # only the order matters, not the range
    assert anomaly.auroc(stretched, strange) == pytest.approx(anomaly.auroc(scores, strange))


def test_areas_by_hand():
    scores, strange = [4.0, 3, 3, 1], np.array([True, True, False, False])
    assert anomaly.auroc(scores, strange) == (2 + 1.5) / 4
    assert anomaly.average_precision_of_scores(scores, strange) == 0.5 * 1 + 0.5 * 2 / 3
    assert anomaly.auroc([-v for v in scores], strange) == 1 - (2 + 1.5) / 4


@given(st.integers(0, 10**6), st.floats(0.05, 1))
def test_false_alarms_are_those_of_the_highest_threshold_that_finds_enough(seed, recall):
    g = np.random.default_rng(seed)
    scores, strange = np.round(g.normal(size=30), 1), np.arange(30) % 3 == 0
    share, threshold = anomaly.false_alarms_at_recall(scores, strange, recall)
    at = anomaly.confusion_at(scores, strange, threshold)
    assert at["found"] >= recall * 10 - 1e-9 and share == at["false"] / 20
    higher = scores[scores > threshold]
    if len(higher):
        assert anomaly.confusion_at(scores, strange, higher.min())["found"] < recall * 10


def test_a_share_of_the_strange_that_floats_make_too_large_is_found_all_the_same():
    scores, strange = np.arange(200.0), np.arange(200) >= 100
    assert 0.07 * 100 > 7  # as floats have it
    assert anomaly.false_alarms_at_recall(scores, strange, 0.07) == (0, 193)
    assert anomaly.false_alarms_at_recall(-scores, strange, 0.07) == (1, -106)


def test_of_thresholds_that_cost_the_same_the_highest_is_chosen():
    strange = np.array([True, False, True, False])
    assert anomaly.cheapest_threshold([4.0, 3, 2, 1], strange) == 4  # 1 missed, or 1 false at 2
    assert anomaly.cheapest_threshold([1.0, 4, 3, 2], strange) == math.inf  # 2 missed, or 1 missed and 1 false at 3


def test_counts_and_cost_at_a_threshold():
    scores, strange = np.array([1.0, 2, 3, 4, 5]), np.array([False, True, False, True, True])
    at = anomaly.confusion_at(scores, strange, 3, cost_missed=10, cost_false=2)
    assert at == {"found": 2, "missed": 1, "false": 1, "passed": 1, "cost": 12.0}
    for threshold, found, false in ((9, 0, 0), (math.inf, 0, 0), (-9, 3, 2)):  # outside the scores
        at = anomaly.confusion_at(scores, strange, threshold)
        assert (at["found"], at["false"], at["missed"], at["passed"]) == (found, false, 3 - found, 2 - false)


@given(st.integers(0, 10**6), st.floats(0, 20), st.floats(0, 20))
def test_no_threshold_is_cheaper_than_the_cheapest(seed, missed, false):
    g = np.random.default_rng(seed)
    scores, strange = np.round(g.normal(size=20), 1), np.arange(20) % 4 == 0
    best = anomaly.cheapest_threshold(scores, strange, missed, false)
    every = [anomaly.confusion_at(scores, strange, each, missed, false)["cost"] for each in [*scores, math.inf]]
    assert anomaly.confusion_at(scores, strange, best, missed, false)["cost"] == pytest.approx(min(every))


@pytest.mark.parametrize("function", [
    anomaly.auroc, anomaly.average_precision_of_scores, anomaly.false_alarms_at_recall,
    lambda *groups: anomaly.confusion_at(*groups, 1.0), anomaly.cheapest_threshold,
])  # fmt: skip
@pytest.mark.parametrize("scores, strange, words", [
    ([1, 2], [False, False], "0 of 2 chips are strange"), ([1, 2], [True, True], "2 of 2"),
    ([], np.zeros(0, bool), "0 of 0"), ([1, math.nan], [True, False], "1 of 2 scores are NaN"),
    ([1, 2, 3], [True, False], r"\(3,\)"), ([1, 2], [1, 0], "int64"),
])  # fmt: skip
def test_groups_that_cannot_be_told_apart_are_named(function, scores, strange, words):
    with pytest.raises(ValueError, match=words):
        function(scores, np.array(strange))


def test_impossible_wishes_are_named():
    groups = np.array([1.0, 2]), np.array([True, False])
    for recall in (0, 1.1, math.nan):
        with pytest.raises(ValueError, match="recall"):
            anomaly.false_alarms_at_recall(*groups, recall)
    with pytest.raises(ValueError, match="threshold is NaN"):
        anomaly.confusion_at(*groups, math.nan)
    with pytest.raises(ValueError, match="costs are -1"):
        anomaly.confusion_at(*groups, 1, cost_missed=-1)
