"""What a code means, looked at through the decoder: draws from the prior, ways between chips, single numbers.

The model is in eval mode, as `fit` leaves it: in training, batch norm would let the images of a batch see each other.
"""

import torch


def draw_chips(model, number, seed=0):
    """Number of chips → images (number, C, 64, 64), decoded from codes drawn from the prior N(0, 1)."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randn(number, model.settings["latent"], generator=generator)
    return decode_codes(model, codes)


@torch.no_grad()
def decode_codes(model, codes):
    """Codes (..., L) → images (..., C, 64, 64), without the noise about each pixel."""
    device = next(model.parameters()).device
    images = model.decode(codes.reshape(-1, codes.shape[-1]).to(device))[0]
    return images.unflatten(0, codes.shape[:-1])


def way_between(model, start, end, steps=8):
    """Codes start (L,) and end (L,) → images (steps, C, 64, 64) on the straight line between them and at both ends."""
    share = torch.linspace(0, 1, steps, device=start.device)[:, None]
    return decode_codes(model, start + share * (end - start))


def traverse(model, code, numbers, values):
    """Code (L,), K places in it, values (T,) → images (K, T, C, 64, 64): one number set to each value."""
    codes = code.expand(len(numbers), len(values), -1).clone()
    for row, place in enumerate(numbers):
        codes[row, :, place] = torch.as_tensor(values, dtype=codes.dtype, device=codes.device)
    return decode_codes(model, codes)


def said_by_each(mean, log_variance):
    """mean, log_variance (N, L) → nats that each number of the code says, averaged over the chips (L,)."""
    return 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).mean(dim=0)
