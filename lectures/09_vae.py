# %% [markdown] slideshow={"slide_type": "slide"}
# # 09 · Autoencoder and VAE
#
# **Squeeze a chip through a narrow place and build it again: what is lost says what the network knows.**
#
# When you are through, you can
#
# - build an autoencoder, count what its codes cost in bits, and set them beside JPEG and PNG;
# - turn it into a variational autoencoder (VAE): a distribution for a code, a loss of two parts, samples;
# - show that "high reconstruction error = anomaly" can be wrong, say why, and find scores that hold;
# - choose a threshold by what mistakes cost, and map the errors of a whole scene.
#
# **You need** the idea of lecture 03's training loop and of lecture 08's generator and code; convolutions and the normal
# distribution, met once.
#
# **Time:** 75 minutes, one of them for the computer; exercises 40 minutes.

# %% [markdown] slideshow={"slide_type": "notes"}
# (2 min) Who has many images and no labels? Today needs none, except to judge.

# %% slideshow={"slide_type": "skip"}
import math
from collections import Counter
from itertools import pairwise
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from geodl_course import datasets, diagrams, gan_plots, plots, teaching, vae_plots, widgets
from geodl_course.chips import ChipDataset, all_images, covers
from geodl_course.chips.scaling import RANGE
from geodl_course.evaluation import anomaly, compression
from geodl_course.measure import result_file, stored
from geodl_course.models.settings import change
from geodl_course.models.vae_latent import decode_codes, draw_chips, traverse, way_between
from geodl_course.models.vae_scores import score_chips
from geodl_course.plumbing import check_code, check_standardised
from geodl_course.teaching import check, check_same
from geodl_course.training import fit

teaching.require("0.1.0")
plots.course_style()

# %% slideshow={"slide_type": "skip"}
# All that depends on your machine: quick suits a laptop, full wants a GPU.
budget = teaching.budget(widths=([32, 64, 128, 128], [64, 128, 256, 512]), latent=(32, 128), code_steps=(160, 2000),
                         vae_steps=(300, 3000), trap_steps=(120, 2000), beta_steps=(40, 1000))
real = datasets.find("sentinel_coast")
folder = real or datasets.find("coast") or datasets.make("coast")
budget

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1 · Land, water, and both
#
# Chips of 64 px from Sentinel-2 images of ports, five bands, 10 m. A chip is *water* where over 99 % of its pixels are
# (MNDWI, Xu's water index of green and SWIR, above 0, and little near infrared), *land* where under 5 % are, else *mixed*.
# We train on some ports and judge on others. Without the download, generated coasts stand in.

# %%
def of_kind(dataset, kind):
    """The chips of a data set that are land, water or mixed."""
    return dataset.take([i for i, said in enumerate(covers(dataset)) if said["kind"] == kind])

if real is None:
    print("sentinel_coast is not here: python data_scripts/fetch.py sentinel_coast. Until then this shows GENERATED coasts.")
train, val = (ChipDataset(folder, split) for split in ("train", "val"))
where = "Real ports" if real else "GENERATED coasts, not real ports"
kinds = ("land", "water", "mixed")
seen, unseen = ({kind: of_kind(part, kind) for kind in kinds} for part in (train, val))
groups = {kind: all_images(unseen[kind]) for kind in kinds}              # (N, 5, 64, 64), standardised
limits = vae_plots.common_limits(torch.cat(list(groups.values())))
vae_plots.show_strips({kind: images[:: len(images) // 6][:6] for kind, images in groups.items()}, limits, train.info, title=where)
plt.show()
credit = fill(f"{train.info.citation} Licence: {train.info.licence}", 120)
print(credit)
pd.DataFrame({"trained on": {kind: len(seen[kind]) for kind in kinds},
              "other places": {kind: len(unseen[kind]) for kind in kinds}})

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) All chips have one stretch: flat looks flat. A rule made these kinds; glinting sea may pass for land. Nineteen water
# chips to judge by are few: one is five per cent.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2 · The autoencoder
#
# An **encoder** halves the chip four times, as a classifier's backbone does. A **decoder** doubles it back, as lecture
# 08's generator does. Between them stands the **code**, the *bottleneck*. The loss is the squared difference between
# what went in and what came out: the chip is its own label. We train on all kinds, on red, green and blue alone: JPEG,
# with which we compare, knows no more.

# %% mirror="models.vae_layers:down_block,models.vae_layers:up_block,models.vae:make_encoder,models.vae:make_decoder" tags=["nbval-check-output"]

x = torch.zeros(2, 3, 64, 64)
for inputs, outputs in pairwise([3, 32, 64, 128, 128]):
    x = down_block(inputs, outputs)(x)
    print(tuple(x.shape[1:]), x[0].numel(), "numbers")

# %% mirror="models.vae:autoencoder_settings,models.vae:Autoencoder" tags=["nbval-check-output"]

coder = Autoencoder(bands=3, latent=16, widths=budget.widths).eval()
code = coder.encode(torch.zeros(1, 3, 64, 64))
print("code", tuple(code.shape[1:]), "=", code.numel(), "numbers for", 3 * 64 * 64, "of the chip")

# %%
def train_on(model, chips, steps, **how):
    """Train a model and bring it back to the CPU → its history."""
    history = fit(model, chips, steps=steps, batch_size=16, **how)
    model.cpu()
    return history

@torch.no_grad()
def in_batches(function, images):
    return torch.cat([function(batch) for batch in images.split(64)])

colours = ["red", "green", "blue"]
rgb, rgb_val = (part.pick_bands(colours) for part in (train, val))
torch.manual_seed(0)
coder = Autoencoder(bands=3, latent=16, widths=budget.widths)
history = train_on(coder, rgb, budget.code_steps)
codes, images = in_batches(coder.encode, all_images(rgb_val)), all_images(rgb_val)
found = in_batches(coder.decode, codes)
rgb_limits, some = vae_plots.common_limits(images), range(3, len(images), len(images) // 6)[:6]
vae_plots.show_strips({"chip": images[some], "from its code": found[some]}, rgb_limits, rgb.info, title=where)
plt.show()
print(credit)

# %% [markdown] slideshow={"slide_type": "notes"}
# (6 min) Why a bottleneck? With a code as large as the chip, the identity is the best network, and it knows nothing. This one
# is a 48th of the chip, and the printed error says that a third of the variance is lost: large shapes survive, finer edges
# do not. A squared error punishes a sharp line in the wrong place twice, so the decoder blurs; lecture 08's discriminator
# does not let it.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 3 · Is that compression?
#
# Only if we count what must be **sent**. Floats of 32 bits are wasteful, so we cut the range of each number of the code
# into 2ᵇ equal steps. A coder that knows how often each whole number occurs comes close to their **entropy** (Shannon
# 1948), so we count bits without writing them.
#
# $$H = -\sum_k p_k \log_2 p_k$$
#
# First the entropy, then the codes of places not trained on, at fewer and fewer bits. The loss is PSNR in dB (higher is
# better), in reflectance 0 to 0.5.

# %% tags=["nbval-check-output"]
def entropy_by_counting(numbers):
    """Bits that each of the numbers (N,) needs on average."""
    shares = [times / len(numbers) for times in Counter(numbers.tolist()).values()]
    return sum(share * math.log2(1 / share) for share in shares)

for name, numbers in {"eight equally often": [0, 1, 2, 3, 4, 5, 6, 7], "one of eight is common": [0] * 9 + list(range(8)),
                      "always the same": [3, 3, 3]}.items():
    print(f"{name:24}{entropy_by_counting(torch.tensor(numbers)):.2f} bits each")
check_same(entropy_by_counting, compression.entropy, torch.arange(999) ** 2 % 7)

# %%
def as_shares(images, info):
    """Standardised chips → shares of the brightest reflectance shown (0.5), as every codec gets them."""
    mean, std = (torch.tensor(each).view(-1, 1, 1).float() for each in (info.mean, info.std))
    return ((images * std + mean) / 65535 / RANGE[1]).clamp(0, 1)

learned = in_batches(coder.encode, all_images(rgb))
low, high = (end(learned, dim=(0, 2, 3), keepdim=True) for end in (torch.amin, torch.amax))
chips, rows, shown = as_shares(images, rgb.info), {}, {}
for bits in (8, 4, 3, 2):
    numbers = compression.quantise(codes, bits, low, high)
    shown[f"{bits} bits"] = in_batches(coder.decode, compression.dequantise(numbers, bits, low, high))
    rows[f"code, {bits} bits a number"] = (compression.code_rate(numbers, 64 * 64),
                                           compression.psnr(chips, as_shares(shown[f"{bits} bits"], rgb.info))[1])
for name, columns in {"one mosaic": 14, "a file a chip": None}.items():
    for driver, how in (("JPEG", {"QUALITY": 1}), ("JPEG", {"QUALITY": 10}), ("PNG", {})):
        rate, back = compression.file_rates(chips, driver, columns, **how)
        rows[f"{driver} {how.get('QUALITY', '')}, {name}"] = rate, compression.psnr(chips, back)[1]
vae_plots.show_strips({name: shown[name][some] for name in ("4 bits", "2 bits")}, rgb_limits, rgb.info)
plt.show()
pd.DataFrame(rows, index=["bits per pixel", "PSNR, dB"]).T.round(2)

# %% [markdown] slideshow={"slide_type": "notes"}
# (5 min) From 8 bits to 4 next to nothing is lost. At 22 dB the code needs 0.14 bits a pixel, JPEG 0.08 in one mosaic, but
# 0.63 in files of a chip: each carries tables and headers. Both are real uses: whole scenes, or chips sent one by one. JPEG
# keeps colour at half the resolution (4:2:0, as GDAL writes it), made for eyes, not for band ratios. PNG loses only the
# rounding to eight bits.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### The curve, and the bill for the decoder
#
# Stored: codes of three sizes, 300 steps each, ports not trained on (`python -m tests.benchmarks.compression`). But who
# receives codes needs the **decoder**, once. After how many chips has it paid, at 4 bits a number, beside JPEG at the
# same loss?

# %%
figures = stored("compression_sentinel_coast")[-1]
vae_plots.plot_rates(figures)
plt.show()

def rate_at(points, decibels):
    """Bits per pixel at which a codec {setting: point} loses so much; at its lowest rate where it cannot lose more."""
    psnr, rate = zip(*sorted((one["PSNR"], one["bits per pixel"]) for one in points.values()))
    return float(np.interp(decibels, psnr, rate))

bill = {}
for name in (name for name in figures if name.startswith("autoencoder")):
    ours, decoder = figures[name]["4"], figures[name]["bytes of the decoder"]
    saved = {way: (rate_at(figures[f"JPEG, {way}"], ours["PSNR"]) - ours["bits per pixel"]) * 64 * 64 / 8
             for way in ("mosaic", "a file each")}
    bill[name] = {"bits per pixel": f"{ours['bits per pixel']:.3f}", "PSNR": f"{ours['PSNR']:.1f}", "decoder, MB": f"{decoder / 1e6:.2f}",
                  **{f"pays after chips, {way}": f"{decoder / gain:,.0f}" if gain > 0 else "never"
                     for way, gain in saved.items()}}
pd.DataFrame(bill).T

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) Below what JPEG's coarsest mosaic needs, only the code is there at all. From a tenth of a bit on JPEG in a mosaic is
# better, to losses that our code never reaches: its curve is flat, because the network, not the bits, is the limit. One file
# a chip: the smallest code wins after 5,571.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4 · From autoencoder to VAE
#
# The autoencoder's codes lie where they like. Draw a new code, each number from the range that real codes have, and decode
# it (first figure): blotches everywhere, no sea, no field. A VAE (Kingma and Welling 2014) sends each chip not to a point
# but to a small **cloud**, a normal distribution with a mean and a spread for each number (second figure), and pulls all
# clouds towards one: N(0, 1). Neighbours overlap, gaps close.

# %%
torch.manual_seed(0)
drawn = learned.mean((0, 2, 3), keepdim=True) + learned.std((0, 2, 3), keepdim=True) * torch.randn(6, *codes.shape[1:])
vae_plots.show_strips({"from real codes": found[some], "from random ones": in_batches(coder.decode, drawn)}, rgb_limits, rgb.info)
plt.show()
_ = diagrams.draw_flow(*vae_plots.vae_flow(latent=budget.latent))

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) Why the log of the variance? It may be negative, so the network needs no constraint. Without
# the pull? The spreads would shrink to nothing, and we were back at section 2.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### A draw that gradients pass through
#
# A random draw has no derivative. **Reparameterise**: draw the noise first, from N(0, 1), then scale and shift it by
# what the encoder said. Noise is now an input like any other, and mean and spread are differentiable.

# %% mirror="models.vae:reparameterise" tags=["nbval-check-output"]

torch.manual_seed(0)
mean, log_variance = torch.tensor([[1.0, -2.0]], requires_grad=True), torch.tensor([[0.0, 1.0]], requires_grad=True)
noise = torch.randn(1, 2)
reparameterise(mean, log_variance, noise).sum().backward()
print("gradient at the mean:", mean.grad.tolist())
print("at the log variance, half the scaled noise:",
      torch.allclose(log_variance.grad, 0.5 * noise * (0.5 * log_variance).exp()))
print("a plain draw has one:", torch.distributions.Normal(mean, 1.0).sample().requires_grad)

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) Shift the mean by one, and the draw shifts by one. One draw a chip is enough, the batch averages.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### The loss: two parts, in nats
#
# $$-\text{ELBO} = \underbrace{-\log p(x \mid z)}_{\text{reconstruction}} + \beta\;\underbrace{\text{KL}\big(N(\mu, \sigma^2)\,\|\,N(0, 1)\big)}_{\text{what the code says}},
# \qquad \text{KL} = \tfrac12\sum_j \big(\sigma_j^2 + \mu_j^2 - 1 - \log \sigma_j^2\big)$$
#
# x is the chip, z the drawn code. At β = 1 the negative is a lower bound of log p(x), the *evidence lower bound*. A **nat**
# is 1.44 bits. **Sum** over pixels and over the code, **then** average over the batch. β > 1 (Higgins et al. 2017) buys a
# simpler code with a worse reconstruction.

# %% mirror="models.vae_losses:log_likelihood,models.vae_losses:kl_to_standard,models.vae_losses:elbo_losses"

# %% tags=["nbval-check-output"]
from torch.distributions import Normal, kl_divergence

def kl_by_torch(mean, log_variance):
    return kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).sum(1)

def log_likelihood_by_torch(images, found, log_noise):
    return Normal(found, log_noise.exp()).log_prob(images).sum((1, 2, 3))

torch.manual_seed(0)
check_same(kl_by_torch, kl_to_standard, torch.randn(40, 32), torch.randn(40, 32), tolerance=1e-4)
a, b, spread = torch.randn(3, 20, 5, 8, 8).double()
check_same(log_likelihood_by_torch, log_likelihood, a, b, spread)
print("a mean over pixels instead of a sum would make beta", 5 * 64 * 64, "times as large")

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) The last line is a common bug: `mse_loss` averages over pixels, KL is summed, and beta is silently thousands. The
# codes then say nothing (*posterior collapse*), and every chip comes back as the same mean. Which noise has a pixel? We
# fix 0.5 standard deviations: an exchange rate between the two parts, as beta is. Curves show `beta_kl`, with beta in it.

# %% mirror="models.vae_layers:QUIETEST,models.vae_layers:noise_of,models.vae:vae_settings" slideshow={"slide_type": "skip"}

# %% mirror="models.vae:VAE"

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
model = VAE(bands=5, latent=32)
mean, log_variance = model.encode(torch.randn(4, 5, 64, 64))
print("mean", tuple(mean.shape), "log variance", tuple(log_variance.shape))
print("image and its noise:", *(tuple(part.shape) for part in model.decode(mean)))
print("losses:", *model(torch.randn(4, 5, 64, 64)))

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5 · A VAE that knows land, and nothing else
#
# All five bands, land alone: the set-up of anomaly detection. Learn the normal, then be shown something else.

# %%
torch.manual_seed(0)
model = VAE(bands=len(train.info.bands), latent=budget.latent, widths=budget.widths)
history = train_on(model, seen["land"], budget.vae_steps)
plots.plot_history(history)
plt.show()
tests = {"land, trained on": all_images(seen["land"].take(range(0, len(seen["land"]), len(seen["land"]) // 6))),
         **{f"{kind}, other places": groups[kind] for kind in ("land", "water")}}
strips = {}
for name, some_images in tests.items():
    few = some_images[:: len(some_images) // 3][:3]
    strips |= {name: few, f"{name}, rebuilt": in_batches(model, few)}
vae_plots.show_strips(strips, limits, train.info, title=where)
plt.show()
print(credit)

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) A chip is now 32 numbers (256 in section 2), each blurred by noise: coarser still. The KL rises while the
# reconstruction improves, then falls: the code learns to say less. Vote: is the water's error higher than the land's?

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 6 · What is in the code
#
# Which numbers carry anything? Each one's share of the KL tells: nats it says, on average. Turn the strongest, all others
# left as they are; then all together along the directions in which codes differ most (principal components). A straight
# line between two codes passes through chips, and a drawn code is a new chip: the VAE is a **generative model**, like
# lecture 08's DCGAN; the last figure shows both.

# %% mirror="models.vae_latent:said_by_each"

mean, log_variance = (torch.cat(part) for part in zip(*(model.encode(batch) for batch in all_images(seen["land"]).split(64))))
mean, log_variance = mean.detach(), log_variance.detach()
said, spread, centre = said_by_each(mean, log_variance), mean.std(0), mean.mean(0)
print(f"{int((said > 0.1).sum())} of {len(said)} numbers say more than 0.1 nats; all together {said.sum():.0f}.",
      f"They spread by {spread.min():.1f} to {spread.max():.1f}; N(0, 1) would be 1")
_, size, directions = torch.linalg.svd(mean - centre, full_matrices=False)
size, turn, strongest = size / len(mean) ** 0.5, torch.linspace(-3, 3, 5), int(said.argmax())
rows = {f"number {strongest}": traverse(model, centre, [strongest], centre[strongest] + turn * spread[strongest])[0]}
rows |= {f"direction {i + 1}": decode_codes(model, centre + turn[:, None] * size[i] * directions[i]) for i in range(3)}
_ = vae_plots.show_strips(rows, limits, train.info, titles=[f"{one:g} sd" for one in turn])

# %%
_ = vae_plots.map_codes(mean @ directions[:2].T, all_images(seen["land"]), limits, train.info)
plt.show()
print(credit)

# %%
torch.manual_seed(0)
ends = mean[(mean @ directions[1]).argsort()[[0, -1]]]                    # the two chips that differ most in direction 2
own = centre + torch.randn(5, len(centre)) * size @ directions           # drawn as the codes of land lie
_ = vae_plots.show_strips({"from chip to chip": way_between(model, *ends, steps=5), "from N(0, 1)": draw_chips(model, 5),
                           "as codes of land lie": decode_codes(model, own)}, limits, train.info)

# %%
# Stored: lecture 08's DCGAN and a VAE, two minutes each on the same generated coasts, chips of 64 px.
# From `python -m tests.benchmarks.vae_samples --seeds 0`; closed: how far of the way from ceiling to floor
runs, sheet = stored("vae_samples_coast"), result_file("vae_samples_coast.png")
ways = [name for name, one in runs[0].items() if isinstance(one, dict)] if runs else []
if sheet:
    _ = gan_plots.show_sheet(plt.imread(sheet)[:, :199], ["real", *ways])        # the first three of each
    plt.show()
pd.DataFrame({way: {key: np.mean([run[way][key] for run in runs]) for key in ("frechet", "closed", "precision", "recall")}
              for way in ways}).T.round(2)

# %% [markdown] slideshow={"slide_type": "notes"}
# (6 min) One number alone does little: they work together. The directions have names: brightness, then where the bright
# part lies. The map is the **latent space**, seen along the two: like chips lie together, and most lie outside the ring, so
# draws from N(0, 1) are codes that no land has: the pull has had few steps. Drawn as the codes lie: land, blurred. Last
# figure: the DCGAN is sharp, the VAE blurred, and by all four figures the DCGAN is nearer to the real chips. But only the
# VAE has an encoder that answers for a given chip.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 7 · The textbook's claim, measured
#
# *A network that has only seen land will reconstruct water badly, so a high error marks water.* Let us measure it.
# **AUROC**: the chance that a water chip scores above a land chip. 1 is perfect, 0.5 a coin, below 0.5 the score points
# the **wrong way**. **AUPRC** is the area under the precision-recall curve.

# %% mirror="models.vae_scores:error_map,models.vae_scores:plain_error,models.vae_scores:LEAST,models.vae_scores:variance_of"

def judge(score, other="water"):
    """AUROC, AUPRC and false alarms at 90 % recall of a score, land against another kind, in other places."""
    parts = [score_chips(score, groups[kind], model) for kind in ("land", other)]
    values, strange = torch.cat(parts).numpy(), np.arange(sum(map(len, parts))) >= len(parts[0])
    return {"AUROC": anomaly.auroc(values, strange), "AUPRC": anomaly.average_precision_of_scores(values, strange),
            "false alarms": anomaly.false_alarms_at_recall(values, strange, 0.9)[0]}

print(f"{where}: plain error, land against water: AUROC {judge(plain_error)['AUROC']:.3f}")
_ = vae_plots.plot_against_variance({kind: (variance_of(groups[kind]), score_chips(plain_error, groups[kind], model))
                                     for kind in ("land", "water")})

# %%
table = {}
for name, data in {"real ports": "vae_sentinel_coast", "generated coasts": "vae_coast"}.items():
    for bands in ("red, green, blue", "five bands"):
        runs = [run[bands] for run in stored(data)]
        table[f"{name}, {bands}"] = {
            "AUROC": np.mean([run["scores"]["plain error"]["water"]["AUROC"] for run in runs]),
            **{f"error on {name}": np.mean([run[f"error on {name}"] for run in runs])
               for name in ("land it learned from", "land", "water")}, "seeds": len(runs)}
pd.DataFrame(table).T.round(3)

# %% [markdown] slideshow={"slide_type": "notes"}
# (6 min) On real ports the claim is upside down: in red, green and blue the error is 0.03 on water and 0.73 on new land. The
# figure says why. On land the error is as large as the variance: of a port never seen, the model explains hardly more than
# the mean. Water lies far above the line: its colour is wrong, but that costs less than a town's detail. Nalisnick et al.
# (2019): a VAE of animals and vehicles finds house numbers likelier. Last row: on **generated** coasts with five bands the
# textbook holds, 0.92. New land there is of the recipe learned from, the sea's infrared was never made. Made-up data alone
# would have made us believe it.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 8 · Scores that say what they assume
#
# | score | assumes that | fails where |
# |---|---|---|
# | plain error | the unknown is rebuilt badly | the unknown is smoother |
# | error / variance | the model explains a like share of every known chip | noise: it is never explained, so flat is always strange |
# | KL of the code | the encoder sends strange chips far out | nothing made it do so |
# | reconstruction probability (An and Cho 2015) | as the plain error, and that the model knows how sure it is | noise is fixed |
# | error in one band | the strange shows there, and the decoder cannot follow | it can |
# | error of the means | the strange has a colour that cannot be made | the colour was seen |
# | **no model**: flatness, darkness | the strange is smooth; is dark in that band | it is neither |
#
# A score that does no better than the last row has learned nothing about *this* anomaly.

# %% mirror="models.vae_scores:relative_error,models.vae_scores:code_divergence,models.vae_scores:reconstruction_probability,models.vae_scores:band_error,models.vae_scores:offset_error,models.vae_scores:flatness,models.vae_scores:darkness"

# %%
swir = train.info.bands.index("swir")
scores = {"plain error": plain_error, "error / variance": relative_error, "KL of the code": code_divergence,
          "reconstruction probability": reconstruction_probability, "error of the means": offset_error,
          "error in swir": lambda images, model: band_error(images, model, swir), "no model: flatness": flatness,
          "no model: dark in swir": lambda images, model: darkness(images, model, swir)}
judged = {kind: pd.DataFrame({name: judge(score, kind) for name, score in scores.items()}).T for kind in ("water", "mixed")}
share = {kind: len(groups[kind]) / (len(groups[kind]) + len(groups["land"])) for kind in judged}
print(f"{where}. Share of chips that are no land: water {share['water']:.2f}, mixed {share['mixed']:.2f}")
vae_plots.compare_histograms({name: {kind: score_chips(scores[name], groups[kind], model) for kind in ("land", "water")}
                              for name in ("plain error", "error / variance", "KL of the code", "error in swir")})
plt.show()
pd.concat(judged, axis=1).round(2)

# %% [markdown] slideshow={"slide_type": "notes"}
# (5 min) False alarms: share of land flagged when 90 % of the others are found; a coin's AUPRC is the printed share.
# First and fourth row: with fixed noise, reconstruction probability **is** the plain error in other units. The ratio
# and the KL pull the groups apart, the plain error stacks them the wrong way round.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Three seeds, two kinds of strange
#
# Stored: five bands, real ports not trained on (`python -m tests.benchmarks.vae --seeds 0 1 2`).

# %%
runs = [run["five bands"]["scores"] for run in stored("vae_sentinel_coast")]
plots.plot_seeds({name: {kind: [run[name][kind]["AUROC"] for run in runs] for kind in ("water", "mixed")} for name in runs[0]},
                 "AUROC against land, real ports, one point a seed").axvline(0.5, color="#999999", linestyle=":")
plt.show()
keys = {"AUROC": "AUROC", "AUPRC": "AUPRC", "false alarms": "false alarms at recall 0.9"}
pd.DataFrame({(kind, short): {name: np.mean([run[name][kind][key] for run in runs]) for name in runs[0]}
              for kind in ("water", "mixed") for short, key in keys.items()}).round(3)

# %% [markdown] slideshow={"slide_type": "notes"}
# (6 min) Water: error over variance is perfect, the KL nearly (0.991). But so are *flatness*, which needs no network, and one
# band's darkness. Error over variance is flatness in disguise: on mixed chips, which are not smooth, both fall to a coin or
# below. There the KL stands, at 0.96, a little above one band's mean, 0.93: that margin is what the VAE was worth. The error
# in SWIR, which sounds most physical, points the wrong way. For **water**, use a water index; a VAE is for what nobody can
# name beforehand. And all this rests on 19 water chips.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 9 · Your threshold, your cost
#
# A score ranks; somebody must draw the line, and a missed oil slick costs more than a false alarm. Move the threshold and
# the costs, look at the chips beside it, change to a score that fails. The table: the cheapest line for three who pay.

# %%
both = torch.cat([groups["land"], groups["water"]])
strange = np.arange(len(both)) >= len(groups["land"])
told = {name: score_chips(score, both, model) for name, score in scores.items()}
widgets.reconstruction(both, in_batches(model, both), told, strange, info=val.info, groups=("land", "water"),
                       score="KL of the code", band=swir, place=0.55, cost_missed=5.0)

# %%
print(credit)
prices = {"equal": (1, 1), "a miss costs 20": (20, 1), "a false alarm costs 20": (1, 20)}
outcome = {}
for score in ("KL of the code", "plain error"):
    for name, price in prices.items():
        line = anomaly.cheapest_threshold(told[score].numpy(), strange, *price)
        outcome[score, name] = {"threshold": round(line, 2), **anomaly.confusion_at(told[score].numpy(), strange, line, *price)}
pd.DataFrame(outcome).T.astype({name: int for name in ("found", "missed", "false", "passed", "cost")})

# %% [markdown] slideshow={"slide_type": "notes"}
# (8 min) Let three students choose, each with other costs. Which land chips lie above the line? Then take the plain error and
# look for any good place. The table found none: flag nothing (`inf`) or all land. These thresholds were chosen on the chips
# that they are judged by, so the costs are too low: choose on one port and count on another.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 10 · A map of errors, for the GIS
#
# `write_error_map` slides windows over a whole scene, uses the inner part of each, and writes the squared error of
# every pixel as a GeoTIFF: the mean, then each band. CRS and transform are the scene's, so QGIS puts it in its place.

# %%
import tempfile
from pathlib import Path

import rasterio

from geodl_course.datasets.coast import make_scene, write_scene
from geodl_course.error_maps import write_error_map

place = Path(tempfile.mkdtemp())
raw = datasets.data_root() / "raw" / "sen2ships" / "casablanca"
scene = [raw / f"{band}.tif" for band in ("B04", "B03", "B02", "B08", "B11")]      # in the order of train.info.bands
if not (real and raw.exists()):
    print("Casablanca is not here: this shows a GENERATED coast.")
    scene = write_scene(place, make_scene(43, 256), "scene")[:1]
out = write_error_map(scene, model, train.info, place / "errors.tif", progress=False)
with rasterio.open(out) as file:
    errors = file.read()
    print(file.name.split("/")[-1], file.shape, file.crs, "corner", [round(one, 1) for one in file.transform * (0, 0)])
    print("bands:", ", ".join(file.descriptions))

# %%
pixels = np.concatenate([rasterio.open(path).read() for path in scene]).astype(np.float32)
pixels = (pixels - np.array(train.info.mean)[:, None, None]) / np.array(train.info.std)[:, None, None]

x, side = torch.from_numpy(pixels).float(), 32
variance = (F.avg_pool2d(x * x, side) - F.avg_pool2d(x, side).square()).mean(0)       # of blocks of 32 px
ratio = F.avg_pool2d(torch.from_numpy(errors[:1]), side)[0] / variance.clamp(min=LEAST)
_ = vae_plots.show_layers({"scene": vae_plots.displayed(pixels, limits, train.info), "error": errors[0],
                           "log10 of error / variance": ratio.log10().clamp(min=0).numpy()})

# %% [markdown] slideshow={"slide_type": "notes"}
# (5 min) The textbook's anomaly map has the sea as its darkest part: it maps *detail*. The last picture, error over
# variance in blocks of 32 px, finds the sea; so would the variance alone. Casablanca was not trained on. `print(out)`
# says where the file lies for QGIS or ArcGIS Pro.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 11 · Wildlife cameras
#
# A camera that never moves takes thousands of empty pictures, now and then an animal. Ours are **generated**: three
# cameras, light that changes, deer, boar, fox, bird. Trained on empty pictures of the first days.

# %%
trap, trap_val = (ChipDataset(datasets.find("camera_trap") or datasets.make("camera_trap"), split) for split in ("train", "val"))
empty, said = of_kind(trap, "empty"), covers(trap_val)
pictures, animal = all_images(trap_val), np.array([one["kind"] == "animal" for one in said])
torch.manual_seed(0)
watcher = VAE(bands=3, latent=32, widths=budget.widths)
history = train_on(watcher, empty, budget.trap_steps, augment=False)       # a camera does not turn
trap_errors = in_batches(lambda batch: error_map(batch, watcher), pictures)
print(f"{animal.sum()} of {len(animal)} pictures show an animal;",
      f"plain error: AUROC {anomaly.auroc(trap_errors.mean((1, 2, 3)).numpy(), animal):.2f}")
some = np.flatnonzero(animal)[:: animal.sum() // 5][:5]
_ = vae_plots.show_strips({"picture": pictures[some], "reconstruction": in_batches(watcher, pictures[some])},
                          vae_plots.common_limits(pictures), trap.info, titles=[said[i]["animal"] for i in some])

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) The background comes back, the animal does not: as hoped. And still the plain error is a coin, near 0.5. A deer is a few
# hundred of 4,096 pixels, a bird ten; light and noise change all of them. Exercise 09.2 looks at the worst place.

# %% [markdown] slideshow={"slide_type": "skip"}
# ## Exercises
#
# **09.1** How many numbers of a code are in use? Those that say more than `least` nats, averaged over the chips. Then
# **predict**: does it rise or fall with β, and what happens to the error? Write it down, train with `beta=0.1` and
# `beta=10` (`VAE(..., beta=10.0)`), and look.

# %% tags=["exercise"] slideshow={"slide_type": "skip"}
def numbers_in_use(mean, log_variance, least=0.1):
    """How many of the L numbers of the codes, mean and log variance (N, L), say more than `least` nats → int."""
    # solution-begin
    return int((said_by_each(mean, log_variance) > least).sum())
    # solution-end

check("09.1", numbers_in_use)

# %% tags=["solution"] slideshow={"slide_type": "skip"}
table = {}
for beta in (0.1, 1.0, 10.0):
    torch.manual_seed(0)
    other = VAE(bands=len(train.info.bands), latent=budget.latent, widths=budget.widths, beta=beta)
    train_on(other, seen["land"], budget.beta_steps)
    with torch.no_grad():
        of_land = other.encode(groups["land"])
    table[f"beta {beta:g}"] = {"numbers in use": numbers_in_use(*of_land), "KL, nats": float(said_by_each(*of_land).sum()),
                               "error on land": float(score_chips(plain_error, groups["land"], other).mean())}
pd.DataFrame(table).T.round(2)

# %% [markdown] slideshow={"slide_type": "skip"}
# **09.2** Score a picture by its **worst window**: average the errors over the bands, then over each window of `side` ×
# `side` pixels, at every position, and keep the largest. Does it find animals? Divide `trap_errors` by each pixel's
# usual error on empty pictures, and try again. And with no network: the squared difference from the camera's mean
# picture?

# %% tags=["exercise"] slideshow={"slide_type": "skip"}
def worst_window(errors, side):
    """The largest mean error in a window of side x side pixels, of error maps (N, C, H, W) → (N,)."""
    # solution-begin
    return F.avg_pool2d(errors.mean(1, keepdim=True), side, stride=1).flatten(1).amax(1)
    # solution-end

check("09.2", worst_window)

# %% tags=["solution"] slideshow={"slide_type": "skip"}
usual = in_batches(lambda batch: error_map(batch, watcher), all_images(empty)).mean(0)
camera = np.array([one["camera"] for one in covers(empty)])
usually = {name: all_images(empty)[camera == name].mean(0) for name in set(camera)}
away = (pictures - torch.stack([usually[one["camera"]] for one in said])).square()
for name, maps in {"errors": trap_errors, "errors / usual": trap_errors / usual, "no model: from the camera's mean": away}.items():
    print(f"{name:34} worst window of 3: AUROC {anomaly.auroc(worst_window(maps, 3).numpy(), animal):.2f}")

# %% [markdown] slideshow={"slide_type": "skip"}
# **09.3** On our chips one in six is water; in your archive perhaps one in a thousand is strange. Choose the threshold
# that costs least **there**: a strange chip missed costs `cost_missed` and comes with probability `share`, a known one
# flagged costs `cost_false`. Try every score as a threshold (flagged: at or above it), and `math.inf`, which flags
# nothing.

# %% tags=["exercise"] slideshow={"slide_type": "skip"}
def cheapest(scores, strange, share, cost_missed, cost_false):
    """The threshold (float) with the least expected cost a chip; scores (N,), strange (N,) bool."""
    # solution-begin
    def cost(threshold):
        missed, false = (scores[strange] < threshold).double().mean(), (scores[~strange] >= threshold).double().mean()
        return float(share * cost_missed * missed + (1 - share) * cost_false * false)

    return min([*scores.tolist(), math.inf], key=cost)
    # solution-end

check("09.3", cheapest)

# %% [markdown] slideshow={"slide_type": "skip"}
# **Project.** Fifty ordinary chips of your own scenes, ten with something rare. Which score of section 8 ranks the rare ones
# first, and does the variance alone do as well?

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Five quick questions
#
# 1. Why is a code of 32 numbers not yet "128 bytes a chip"?
# 2. What would the encoder do with the spreads if the KL were left out?
# 3. Somebody's VAE returns the same grey chip for every input. What do you look at first?
# 4. An AUROC of 0.01: is the score useless?
# 5. Water is found with AUROC 1.000. What do you ask next?

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) 1: what is sent is quantised and coded: count entropy, and the decoder once. 2: shrink them to nothing, noise
# only costs. 3: whether the reconstruction is averaged over pixels while the KL is summed. 4: no, turned round it is
# nearly perfect; but who would have known without labels? 5: what a score without a model reaches, on how many chips,
# from how many places.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Summary
#
# - An **autoencoder** compresses: count bits by entropy, the decoder too, and compare with JPEG.
# - A **VAE** codes a chip as a distribution: mean, variance, reparameterised draw; loss = reconstruction + β KL, summed
#   over pixels, averaged over chips.
# - **High error is not strangeness.** On real ports it marked land, because errors follow detail.
# - Every score assumes something. Say what, and set it beside scores that need no model.
# - The user draws the line, by cost and by how rare the strange is.
#
# **Next:** lecture 10 carries a model over whole scenes and into map layers.

# %% [markdown] slideshow={"slide_type": "notes"}
# (2 min) What is strange in your archive, and which trivial number would find it?

# %% [markdown] slideshow={"slide_type": "skip"}
# ## References
#
# - D. P. Kingma, M. Welling: Auto-Encoding Variational Bayes. ICLR 2014. doi:10.48550/arXiv.1312.6114
# - I. Higgins et al.: beta-VAE. ICLR 2017. openreview.net/forum?id=Sy2fzU9gl
# - J. An, S. Cho: Variational autoencoder based anomaly detection using reconstruction probability. SNU, 2015 (no DOI)
# - E. Nalisnick et al.: Do Deep Generative Models Know What They Don't Know? ICLR 2019. doi:10.48550/arXiv.1810.09136
# - C. E. Shannon: A Mathematical Theory of Communication. 1948. doi:10.1002/j.1538-7305.1948.tb01338.x
# - H. Xu: Modification of normalised difference water index. Int. J. Remote Sensing 27, 2006.
#   doi:10.1080/01431160600589179
