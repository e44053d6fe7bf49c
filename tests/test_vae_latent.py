"""Looking into a VAE's code: draws, ways between two chips, single numbers."""

import pytest
import torch

from geodl_course.models.vae import vae
from geodl_course.models.vae_latent import decode_codes, draw_chips, said_by_each, traverse, way_between
from geodl_course.models.vae_losses import kl_to_standard


@pytest.fixture
def model():
    torch.manual_seed(0)
    return vae(2, latent=5, widths=[8, 8, 8, 8]).eval()


def test_draws_are_decoded_codes_of_the_prior(model):
    images = draw_chips(model, 3, seed=4)
    codes = torch.randn(3, 5, generator=torch.Generator().manual_seed(4))
    assert images.shape == (3, 2, 64, 64) and not images.requires_grad
    torch.testing.assert_close(images, model.decode(codes)[0])
    assert not torch.equal(images, draw_chips(model, 3, seed=5))


def test_way_between_two_codes_has_both_ends_and_the_middle(model):
    start, end = torch.randn(2, 5)
    images = way_between(model, start, end, steps=5)
    codes = torch.stack((start, (start + end) / 2, end))
    torch.testing.assert_close(images[[0, 2, 4]], decode_codes(model, codes))


def test_traversal_moves_one_number_at_a_time(model):
    code = torch.randn(5)
    images = traverse(model, code, [3, 0], [-2.0, 0.0, float(code[0])])
    assert images.shape == (2, 3, 2, 64, 64)
    moved = code.clone()
    moved[3] = -2
    torch.testing.assert_close(images[0, 0], decode_codes(model, moved[None])[0])
    torch.testing.assert_close(images[1, 2], decode_codes(model, code[None])[0])  # set to what it was


def test_nats_of_the_numbers_add_up_to_the_kl():
    mean, log_variance = torch.randn(2, 7, 5)
    mean[:, 2] = log_variance[:, 2] = 0  # says nothing
    each = said_by_each(mean, log_variance)
    torch.testing.assert_close(each.sum(), kl_to_standard(mean, log_variance).mean())
    assert each[2] == 0 and each.shape == (5,)
