# %% [markdown] slideshow={"slide_type": "slide"}
# # 08 · DCGAN
#
# **From noise to chips: one network makes, another judges, and each is the other's teacher.**
#
# When you are through, you can
#
# - say what a generative model learns, and what good and harm it does to maps;
# - build DCGAN for any bands, and write the loop in which its networks take turns;
# - compare three losses by what they teach a bad generator;
# - tell whether a GAN converges, though its losses do not, and whether it is of use.
#
# **You need** lectures 01 and 03. **Time:** 75 minutes, two of them for the computer; exercises 50 minutes.

# %% [markdown] slideshow={"slide_type": "notes"}
# (1 min) Until now an image went in. Today an image comes out.

# %% slideshow={"slide_type": "skip"}
import copy
import math
from itertools import pairwise
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from geodl_course import datasets, diagrams, gan_plots, plots, teaching
from geodl_course.chips import ChipDataset, covers
from geodl_course.chips.scaling import from_signed, reflectance, to_signed
from geodl_course.evaluation import generative
from geodl_course.measure import stored
from geodl_course.models.cover_classifier import cover_classifier, features_of
from geodl_course.models.dcgan import draw_codes, draw_samples
from geodl_course.models.dcgan_settings import dcgan_settings
from geodl_course.teaching import check, check_same
from geodl_course.training.adversarial import adversarial_step, fit_gan
from geodl_course.training.covers import accuracy_of, fit_classifier

teaching.require("0.1.0")
plots.course_style()

# %% slideshow={"slide_type": "skip"}
# All that depends on your machine: quick suits a laptop, full wants a GPU and takes the authors' widths and settings.
budget = teaching.budget(cell=(20, 10), width=(32, 64), batch_size=(16, 64), average=(0.999, 0.0), turn=(True, False),
                         lr=((2e-4, 5e-4), 2e-4), length=({"seconds": 36}, {"steps": 30000}), look_every=(500, 5000),
                         judge_steps=(200, 600), frozen_steps=(150, 400), search_steps=(150, 400))
size = 640 // budget.cell                         # pixels along a chip's side: 640 m
settings = dcgan_settings(bands=5) | {"size": size, "width": budget.width}
device = teaching.device()
budget

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1 · A game for two
#
# A **generative model** learns what chips are like: which are common, which rare, which never occur. Then it draws new
# ones. A **GAN** (Goodfellow et al. 2014) learns that by a game:
#
# - the **generator** turns a *code*, a hundred random numbers, into a chip;
# - the **discriminator** says of each chip how sure it is that it is real.
#
# They take turns. Above: the discriminator (thick) learns to say 1 to real chips, 0 to made ones. Below: the generator learns
# what makes the judge say 1 to **its own** chips. Dashed: stands still.

# %%
_ = diagrams.draw_flow(*gan_plots.game_flow(size=size), legend=False)

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) Forger and expert is the usual story. What it hides: this forger never sees a real chip; all it knows is the
# gradient that comes through the expert. At the best, the expert can only guess. Turns are steps of one batch, not epochs.
# Any classifier can be the discriminator.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Good uses, and lies in maps
#
# - **more training data**: whole chips (part 8);
# - **gaps**, from clouds or broken scan lines (part 8);
# - **another sensor's look**, sharper images (part 9);
# - **deception**: places, damage, evidence.
#
# Zhao et al. (2021) drew satellite images of Tacoma that never were: its streets in the look of Seattle and of Beijing.
# They call it **deep fake geography**, and find such images by features of colour, space and frequency. A second harm needs
# no fake: true evidence can be called one, the *liar's dividend* (Chesney and Citron 2019).

# %% [markdown] slideshow={"slide_type": "notes"}
# (5 min) Maps lied before: paper towns, missing barracks. New is the price. Three habits: say in image and metadata what is
# made up; publish provider, scene and date; keep a mask of filled pixels.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2 · Chips of coasts, five bands
#
# **coast** is generated: chips of 640 m in Sentinel-2's bands 4, 3, 2, 8 and 11. Each split has scenes of its own. The
# generator learns from `train`; `val` tells what *new* chips look like. The quick budget takes cells of 20 m.
#
# The generator ends in a **tanh**, from -1 to 1. Real chips need the same range, else the judge has an easy life: reflectance
# 0 to 0.5 becomes -1 to 1, in all bands; brighter pixels are cut off.

# %% tags=["nbval-check-output"]
def chips_of(data):
    """Chips of a ChipDataset in cells of this budget, in [-1, 1] → (N, 5, S, S)."""
    return to_signed(F.avg_pool2d(reflectance(data), budget.cell // 10))

def labelled(name, split):
    """Chips of a split, and the name of what each shows most of."""
    data = ChipDataset(datasets.find(name) or datasets.make(name), split)
    return chips_of(data), [entry["cover"] for entry in covers(data)]

(chips, shows), (unseen, shows_new) = labelled("coast", "train"), labelled("coast", "val")
kinds = sorted({*shows, *shows_new})
ax = plt.subplots(figsize=(6.4, 2.2))[1]
for k, band in enumerate(("red", "green", "blue", "near infrared", "short-wave infrared")):
    ax.hist(chips[::8, k].flatten().numpy(), 80, range=(-1, 1), histtype="step", label=band)
ax.set(xlabel="signed value, and its reflectance", yticks=[], title="What a tanh has to match")
ax.set_xticks([-1, 0, 1], ["-1\n0", "0\n0.25", "1\n0.5"])
ax.legend()
print(f"{len(chips)} chips {tuple(chips.shape[1:])} to learn from, {len(unseen)} unseen;",
      "over 1 % of the values cut off:", bool((chips == 1).float().mean() > 0.01))
places = [[i for i, name in enumerate(shows) if name == kind][:45:9] for kind in kinds]
_ = gan_plots.show_rows({kind: chips[five] for kind, five in zip(kinds, places)})

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) The humps at the left are water; vegetation is bright in the near infrared. A generator has to make both.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 3 · Two networks, and the rules that made them train
#
# Radford, Metz and Chintala (2016) found rules under which convolutions play this game:
#
# | rule | generator | discriminator |
# |---|---|---|
# | convolutions change size, no pooling | transposed, stride 2: twice | stride 2: half |
# | batch norm | all layers but the **last** | all but the **first** |
# | activation | ReLU, tanh at the end | leaky ReLU, slope 0.2 |
# | no hidden dense layer | code → 4 × 4 map | 4 × 4 map → one logit |
# | start | weights from N(0, 0.02²) | the same |
# | Adam | rate 0.0002, β₁ = 0.5 | the same |
#
# A *transposed* convolution goes the other way round: each cell of a small map adds its kernel to a larger one. So the
# generator is a **decoder**: the way up of a U-Net, without the paths across.

# %% mirror="models.dcgan:up_block,models.dcgan:make_generator,models.dcgan:norm_of,models.dcgan:down_block,models.dcgan:make_discriminator"

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) One block: kernel 4, stride 2, padding 1 doubles exactly, and each output pixel is fed by as many kernel cells;
# kernel 3 would favour every second pixel. Why no batch norm at the two ends? It would force mean and spread of every
# *batch* of images onto one value.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Put together, and counted
#
# At the width of the authors' code, 64 to 512 channels, one code goes up, one chip comes down. Below: the weights, and those
# of the narrow pair for a laptop.

# %% mirror="models.dcgan_settings:stage_widths,models.dcgan:start_as_paper,models.dcgan:DCGAN"

# %% tags=["nbval-check-output"]
def layers_of(network, inputs):
    """Shape after each block of a network, and its weights → list of rows."""
    rows = []
    for block in network:
        inputs = block(inputs)
        rows.append([type(block[0] if isinstance(block, nn.Sequential) else block).__name__, tuple(inputs.shape[1:]),
                     sum(p.numel() for p in block.parameters())])
    return rows

small = dcgan_settings(bands=5) | {"size": 32, "width": 32}
wide, narrow = DCGAN(dcgan_settings(bands=3)), DCGAN(small)
table = [*layers_of(wide.generator, draw_codes(2, 100)), *layers_of(wide.discriminator, torch.zeros(2, 3, 64, 64))]
print(pd.DataFrame(table, columns=["layer", "shape", "weights"]).to_string(index=False))

def weights_of(network):
    return sum(p.numel() for p in network.parameters())

for name, one in (("the authors' width, 3 bands", wide), ("narrow, 5 bands, 32 px", narrow)):
    print(f"{name}: generator {weights_of(one.generator):,}, discriminator {weights_of(one.discriminator):,}")

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) More than half of all weights sit in one layer of each: 59 and 76 %. Codes are uniform in [-1, 1].

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4 · Three losses
#
# D(x), the sigmoid of a logit, is the chance that chip x is real; G(z) is the chip of
# code z, 𝔼 a mean. Both play for one value:
#
# $$\min_G \max_D \; \mathbb{E}\,\log D(x) + \mathbb{E}\,\log\big(1 - D(G(z))\big)$$
#
# | | discriminator minimises | generator minimises |
# |---|---|---|
# | **minimax** | $-\log D(x) - \log(1 - D(G(z)))$ | $\log(1 - D(G(z)))$ |
# | **non-saturating** | the same | $-\log D(G(z))$ |
# | **Wasserstein** | $C(G(z)) - C(x)$ + penalty | $-C(G(z))$ |
#
# The **critic** C has no sigmoid: it gives scores, and how much higher it scores real chips is a distance. A generator
# follows the **slope**. It starts at the left of each panel, where the judge is sure: made up.

# %% mirror="models.gan_losses:discriminator_loss,models.gan_losses:minimax_loss,models.gan_losses:non_saturating_loss,models.gan_losses:critic_loss,models.gan_losses:wasserstein_loss"

# %% tags=["nbval-check-output"]
logit = torch.linspace(-6, 6, 121, requires_grad=True)
figure, axes = plt.subplots(1, 2, figsize=(9, 2.5))
for name, loss, style in (("minimax", minimax_loss, "-"), ("non-saturating", non_saturating_loss, "--"),
                          ("Wasserstein", wasserstein_loss, ":")):
    values = torch.stack([loss(one[None]) for one in logit])
    slope = torch.autograd.grad(values.sum(), logit)[0].abs()
    print(f"{name:15} slope at a logit of -4, 0, 4:", *(f"{one:.2f}" for one in slope[20:101:40]))
    for ax, line in zip(axes, (values.detach(), slope)):
        ax.plot(logit.detach(), line, style, label=name)
        ax.set_xlabel("logit of a made chip")
axes[0].set_title("The generator's loss")
axes[1].set_title("Its slope")
_ = axes[0].legend()

# %% [markdown] slideshow={"slide_type": "notes"}
# (5 min) The discriminator *maximises* the value; in code it minimises the negative. Minimax is flat at the left: the worse
# the generator, the less it hears, 0.02 at a logit of -4. Non-saturating, Goodfellow's own remedy, has 0.98 there. The
# Wasserstein slope is 1 everywhere; what it is worth depends on the critic's own slope, next.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Why a Wasserstein critic has no batch norm
#
# Scores are a distance only if the critic is not too steep. Gulrajani et al. (2017) **penalise** it: between a real and a
# made chip, each image's own gradient should have the length 1. With batch norm the score of image *i* depends on the
# pixels of image *j*, too. Ask the gradient:

# %% mirror="models.gan_losses:mix,models.gan_losses:gradient_penalty,models.gan_losses:cross_sample_gradient"

# %% tags=["nbval-check-output"]
figure, axes = plt.subplots(1, 2, figsize=(6, 2.9))
for ax, norm in zip(axes, ("batch", "layer")):
    torch.manual_seed(0)
    lengths = cross_sample_gradient(make_discriminator(5, stage_widths(8, size), norm), chips[::256])
    ax.imshow((lengths / lengths.max()).sqrt(), cmap="Blues", vmin=0)
    ax.set(title=f"{norm} norm", xlabel="pixels of image j", ylabel="score of image i", xticks=[], yticks=[])
    others = (lengths - lengths.diagonal().diag() > 1e-6 * lengths.max()).sum().item()
    print(f"{norm} norm: {others} of {lengths.numel() - len(lengths)} pairs of different images are coupled")

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) Eight chips, an untrained critic. On the diagonal each score's own image; all else should be white. With batch
# norm it is not, and the penalty would punish the wrong thing: `fit_gan` refuses the pair. Layer norm works within one
# image.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What reaches the generator early on
#
# Left: the judge alone learns for sixty steps; how strongly does each loss pull at the made chips' pixels (after Arjovsky
# and Bottou 2017)? Then, stored, both networks learn, 400 generator steps with each loss; below, what 500 chips are worth
# then (measured as in part 7): `python -m tests.benchmarks.gan_losses --steps 400`.

# %% mirror="models.gan_losses:gradient_at_samples"

def pulls(norm, judged, makers, penalty=0.0):
    """The judge alone learns by a loss → {maker's loss: median length of its gradient at made chips, step by step}."""
    torch.manual_seed(0)
    model, found = DCGAN(settings | {"norm": norm}).train(), {name: [] for name in makers}
    adam = torch.optim.Adam(model.discriminator.parameters(), lr=5e-4, betas=(0.5, 0.999))
    for real in chips[:960].split(16):
        made = model.generator(draw_codes(16, 100)).detach()
        loss = judged(model.discriminator(real), model.discriminator(made))
        loss = loss + (penalty and penalty * gradient_penalty(model.discriminator, mix(real, made)))
        adam.zero_grad()
        loss.backward()
        adam.step()
        for name, maker in makers.items():
            found[name].append(gradient_at_samples(model.discriminator, made, maker).median().item())
    return found

# %%
early = pulls("batch", discriminator_loss, {"minimax": minimax_loss, "non-saturating": non_saturating_loss})
early |= pulls("layer", critic_loss, {"Wasserstein": wasserstein_loss}, penalty=10)
played = (stored("gan_losses") or [{"side_by_side": {}}])[-1]["side_by_side"]
figure, axes = plt.subplots(1, 1 + len(played), figsize=(2.75 * (1 + len(played)), 2.5), squeeze=False)
for style, (name, lengths) in zip(("-", "--", ":"), early.items()):
    axes[0, 0].plot(lengths, style, label=name)
axes[0, 0].set(yscale="log", title="Pull at a made chip", xlabel="step of the judge")
for ax, (name, run) in zip(axes[0, 1:], played.items()):
    for who, style in (("discriminator", "-"), ("generator", "--")):
        ax.plot([row["step"] for row in run["losses"]], [row[who] for row in run["losses"]], style, linewidth=1, label=who)
    ax.set(title=name.replace("_", "-"), xlabel="step of the generator")
for ax in axes[0, :2]:
    ax.legend()
plt.show()
pd.DataFrame({name: {key: run.get(key) for key in ("frechet", "precision", "recall")} for name, run in
              played.items()}).T.round(2)

# %% [markdown] slideshow={"slide_type": "notes"}
# (5 min) Left: as the judge becomes sure, minimax (solid) loses its pull, non-saturating (dashed) does not. Right: losses on
# three scales; none says whose chips are better. The table does, for one seed and few steps, and does not repeat the left
# figure: minimax is nearest by Frechet, non-saturating most precise, Wasserstein, at five turns of the critic a step, last.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5 · Taking turns, line by line
#
# Real chips come from the data, made ones from the generator. `detach` cuts the gradient: the judge's lesson is not the
# maker's.

# %%
def discriminator_turn(model, adam, real, made):
    """Step 1: the discriminator learns to tell real chips (B, 5, S, S) from made ones → its loss."""
    loss = discriminator_loss(model.discriminator(real), model.discriminator(made.detach()))
    adam.zero_grad()                              # also drops what step 2 left behind in the discriminator
    loss.backward()
    adam.step()                                   # holds the discriminator's parameters, so only they move
    return loss.item()

def generator_turn(model, adam, made):
    """Step 2: the generator learns from the judgement of its chips (B, 5, S, S) → its loss."""
    loss = non_saturating_loss(model.discriminator(made))
    adam.zero_grad()
    loss.backward()                               # through the discriminator, down to the generator
    adam.step()                                   # holds the generator's parameters
    return loss.item()

# %% [markdown]
# Which parameters move? Keep a copy, take a turn, compare.

# %% tags=["nbval-check-output"]
def new_model():
    """An untrained DCGAN of this budget, and an Adam for each network."""
    torch.manual_seed(0)
    model = DCGAN(settings).to(device).train()
    return model, *(torch.optim.Adam(part.parameters(), lr=2e-4, betas=(0.5, 0.999))
                    for part in (model.discriminator, model.generator))

model, judge_adam, maker_adam = new_model()
real, made = chips[:64].to(device), model.generator(draw_codes(64, 100, device=device))
for turn in (lambda: discriminator_turn(model, judge_adam, real, made), lambda: generator_turn(model, maker_adam, made)):
    before = copy.deepcopy(model)
    turn()
    for name in ("discriminator", "generator"):
        pairs = zip(getattr(model, name).parameters(), getattr(before, name).parameters())
        changed = [not torch.equal(new, old) for new, old in pairs]
        print(f"{name}: {sum(changed)} of {len(changed)} tensors moved", end=" | " if name == "discriminator" else "\n")

# %% [markdown]
# `fit_gan` plays the same game. Three rounds of both, from the same start:

# %%
def by_hand():
    """Both losses in three rounds (6,)."""
    model, judge_adam, maker_adam = new_model()
    told = []
    for real in chips[:192].to(device).split(64):
        made = model.generator(draw_codes(64, 100, device=device))
        told += [discriminator_turn(model, judge_adam, real, made), generator_turn(model, maker_adam, made)]
    return torch.tensor(told)

def by_package():
    model, *adams = new_model()
    batches = iter(chips[:192].to(device).split(64))
    rounds = [adversarial_step(model, adams, lambda: next(batches)) for _ in range(3)]
    return torch.tensor([one[key] for one in rounds for key in ("discriminator", "generator")])

check_same(by_hand, by_package, tolerance=1e-3 if device.type == "cpu" else 0.1)

# %% [markdown] slideshow={"slide_type": "notes"}
# (6 min) Let them predict what moves. Without `.detach()` step 2 fails: the graph is used up. Real and made chips go through
# the judge in two batches: in one, batch norm would leak who is who.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 6 · Training
#
# The quick budget does three things that the paper does not: the judge learns more slowly than the maker (two time scales,
# Heusel et al. 2017), real chips are turned, and since single steps jump about, a running **mean of the generator's
# weights** is kept (Yazici et al. 2019). At each look we draw 500 samples from the same codes.

# %%
model = new_model()[0]
history = fit_gan(model, chips, **budget.length, batch_size=budget.batch_size, lr=budget.lr, average=budget.average,
                  turn=budget.turn, watch=lambda model: draw_samples(model, 500).half(), watch_every=budget.look_every)
samples = draw_samples(model, 500)                # the codes of every look again
looks = {look["step"]: look["seen"].float() for look in history.looks} | {history.step: samples}
print(f"{history.step} steps in {history.seconds:.0f} s")
random = torch.randperm(len(chips), generator=torch.Generator().manual_seed(0))[:500]
shown = [0, *list(looks)[1:-1:max(1, len(looks) // 3)], history.step]
_ = gan_plots.show_rows({f"step {step}": looks[step][:8] for step in shown} | {"real": chips[random[:8]]},
                        title="Eight codes, again and again")

# %%
ax = plt.subplots(figsize=(5.2, 2))[1]
for name, images, style in (("made", samples, "-"), ("real", chips[random], "--")):
    red, infrared = from_signed(images[:, [0, 3], ::4, ::4]).transpose(0, 1).flatten(1)
    ax.hist(((infrared - red) / (infrared + red + 1e-3)).numpy(), 80, range=(-1, 1), histtype="step", ls=style, label=name)
ax.set(title="Do the bands fit together?", xlabel="NDVI of a pixel", yticks=[])
_ = ax.legend()

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) Read each column downwards: a code finds its chip. First a grey weave, then dark and light part; detail comes
# slowly. Is there a chessboard? Real NDVI has two peaks, water below zero and fields near 0.7. Do the made ones?

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 7 · Is it converging?
#
# **The losses do not tell.** We need a ruler that takes no part in the game: **features** of many real and many made chips.
# Published figures take an Inception network trained on photographs; ours is a small classifier of land cover, trained on
# other scenes (`coast_covers`). So **our figures cannot be compared with any published FID**.

# %%
_ = gan_plots.plot_game(history.steps)
plt.show()
others, shows_others = labelled("coast_covers", "train")
torch.manual_seed(0)
judge = cover_classifier(len(kinds), bands=5)
fit_classifier(judge, others, torch.tensor([kinds.index(kind) for kind in shows_others]), budget.judge_steps)
accuracy, _ = accuracy_of(judge, unseen, torch.tensor([kinds.index(kind) for kind in shows_new]))
real_features, made_features = features_of(judge, chips[random]), features_of(judge, samples)
print(f"classifier: {accuracy:.0%} right on scenes new to it; {real_features.shape[1]} features a chip")

# %% [markdown] slideshow={"slide_type": "notes"}
# (5 min) Do the losses fall as the chips improve? Each is measured against an opponent who learns, too. Two things can be
# read: D of real at 1 and of made at 0, the judge has won; both at one half, it only guesses. What the classifier never
# looked for, noise or chessboards, the ruler may not see.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Three figures
#
# - **Frechet distance** (Heusel et al. 2017): a Gaussian fitted to each cloud of features, means and covariances compared:
#   $|m - m'|^2 + \mathrm{tr}(S + S' - 2\,(S S')^{1/2})$.
# - **Precision**: the share of made chips that lie among the real. **Recall**: the share of real ones that lie among the
#   made (Kynkäänniemi et al. 2019).
#
# **Floor**: new real chips. **Ceiling**: chips of one colour, the mean of a real one. Last table: two minutes, 2,000
# samples, from `python -m tests.benchmarks.dcgan --seeds 0 1 2`; *closed* is how far the distance came from ceiling to
# floor. What we wanted of each seed is printed above it.

# %%
def frechet(real, made):
    """Frechet distance of features (N, D) and (M, D) → number."""
    a, b = (np.cov(one.double().numpy().T) for one in (real, made))
    shift = (real.double().mean(0) - made.double().mean(0)).numpy()
    root = np.sqrt(np.linalg.eigvals(a @ b).real.clip(0))                  # their sum is the trace of (S S')^1/2
    return shift @ shift + np.trace(a + b) - 2 * root.sum()

def among(base, queries, k=3):
    """Share of queries (M, D) in the ball of any of base (N, D); a ball reaches to the k-th neighbour of its kind."""
    radii = torch.cdist(base, base).sort(1).values[:, k]                   # place 0 is the point itself
    return (torch.cdist(queries, base) <= radii).any(1).double().mean()

check_same(frechet, generative.frechet_distance, real_features, made_features, tolerance=1e-2)
check_same(lambda a, b: (among(a, b), among(b, a)), generative.precision_recall, real_features.double(),
           made_features.double(), tolerance=0.01)

# %%
def quality(images):
    """The three figures of images (N, 5, S, S) against 500 training chips."""
    features = features_of(judge, images)
    precision, recall = generative.precision_recall(real_features, features)
    return {"frechet": generative.frechet_distance(real_features, features), "precision": precision, "recall": recall}

marks = {"held-out chips (floor)": quality(unseen[:500]), "pixel means of real chips (ceiling)": quality(
    generative.pixel_means(chips[random])), "made": quality(samples)}
floor, ceiling, _ = (mark["frechet"] for mark in marks.values())
_ = gan_plots.plot_quality([{"step": step, **quality(images)} for step, images in looks.items()], floor, ceiling)
plt.show()
display(pd.DataFrame(marks).T.round(2))
names = ["frechet", "floor", "ceiling", "closed", "precision", "recall", "memorised", "classifier_accuracy"]
runs = pd.DataFrame([{name: run[name] for name in names} for run in stored("dcgan_coast")]).rename_axis("seed")
for name, met in {"closed at least 0.7": runs["closed"] >= 0.7, "recall over 0.3": runs["recall"] > 0.3,
                  "memorised at most 0.05": runs["memorised"] <= 0.05}.items():
    print(f"{name}: {met.sum()} of {len(runs)} seeds")
runs.round(3)

# %% [markdown] slideshow={"slide_type": "notes"}
# (7 min) First the marks. New real chips are not at zero: 500 are few, and scenes differ. Chips of one colour have a high
# recall, for their colours are real. How far down do ours get, and is the last step the best? Then the stored seeds: one
# recipe, other luck. **One seed is no result.** Other samples, other figures: compare within a table.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Learned, or learned by heart?
#
# A generator that stores its training chips has a perfect distance. So look up the **nearest training chip** of each
# sample, over all pixels. Chips that nobody trained on show how near is normal.

# %%
distances, which = generative.nearest_distances(from_signed(samples), from_signed(chips))
normal, _ = generative.nearest_distances(from_signed(unseen), from_signed(chips))
closest = distances.argsort()[:400:50]            # the nearest of all, then further and further
_ = gan_plots.show_rows({"made": samples[closest], "nearest training": chips[which[closest]]})
plt.show()
print(f"median distance (RMSE of reflectance): made {distances.median():.3f}, held-out chips {normal.median():.3f};",
      f"{generative.memorised_share(distances, normal):.1%} of the samples are nearer than 99 % of the held-out chips")

# %% [markdown] slideshow={"slide_type": "notes"}
# (3 min) Made and nearest share a colour, not a shape: nothing was learned by heart.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Mode collapse, on purpose
#
# If the discriminator stops learning, there is a best forgery, and nothing keeps the generator from making **that one
# only**. Freeze the judge and let the maker go on. Last table: the same with the stored models
# (`python -m tests.benchmarks.gan_collapse --seeds 0 1 2`).

# %%
stuck = copy.deepcopy(model)
stuck.generator.train()                           # the discriminator stays at rest, its batch norm too
adam = torch.optim.Adam(stuck.generator.parameters(), lr=1e-3, betas=(0.5, 0.999))
told = [generator_turn(stuck, adam, stuck.generator(draw_codes(32, 100, device=device)))
        for _ in range(budget.frozen_steps)]
collapsed = draw_samples(stuck, 500)
_ = gan_plots.show_rows({"judge frozen": collapsed[:8]})
plt.show()
print(f"the generator's loss went from {told[0]:.2f} to {told[-1]:.2f}")
display(pd.DataFrame({"before": quality(samples), "judge frozen": quality(collapsed)}).T.round(2))
runs = stored("gan_collapse")
pd.DataFrame({(name, key): [run[name][key] for run in runs] for name in ("before", "judge frozen")
              for key in ("precision", "recall")}).rename_axis("seed").round(2)

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) The best loss of the day, the worst generator. Most codes end in a pattern that this judge never learned to refuse;
# recall tells, here and in all three stored models. A judge that learns soon refuses it, the maker moves on: GANs run in
# circles.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 8 · First use: filling cloud gaps
#
# Search the **code** whose chip fits what is seen around the cloud, by gradient descent; the networks stand still (Yeh et
# al. 2017), the discriminator has a small say. Take the missing pixels from that chip. The baseline learns nothing: the
# smoothest surface from the gap's edge.
#
# Pictures: **our generator of generated coasts** at real ports. Table, stored: RMSE of reflectance in the gaps, unseen
# real ports, after two minutes on **real** chips of others:
# `python -m tests.benchmarks.gan_uses gaps --data sentinel_coast --seeds 0 1 2`.

# %% mirror="models.latent_search:misfit,models.latent_search:search_loss"

from scipy.ndimage import gaussian_filter

from geodl_course.models.latent_search import blend, search_codes, smooth_fill

def cloud(seed, share=0.15):
    """A cloud-shaped gap (1, S, S) bool that covers that share of a chip, off its border."""
    edge = size // 10
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(size - 2 * edge,) * 2), size / 9)
    return torch.from_numpy(np.pad(noise > np.quantile(noise, 1 - share * size**2 / noise.size), edge))[None]

# %%
place = datasets.find("sentinel_coast")
if place is None:
    print("sentinel_coast is not here: python data_scripts/fetch.py sentinel_coast. Until then this shows GENERATED coasts.")
ports = ChipDataset(place or datasets.find("coast"), "val")
coasts = [i for i, one in enumerate(covers(ports)) if one["kind"] == "mixed"]
truth = chips_of(ports)[coasts[5::len(coasts) // 6][:6]]
gap = torch.stack([cloud(i) for i in range(6)])
hidden = torch.where(gap, 0.0, truth)             # nothing below reads what the cloud hides
codes = search_codes(model, hidden.to(device), gap.to(device), steps=budget.search_steps)
with torch.no_grad():
    found = model.generator(codes).cpu()
filled = {"the code's chip": found, "gap from it": torch.where(gap, found, truth), "and blended": blend(found, hidden, gap),
          "smooth from edge": smooth_fill(hidden, gap)}
_ = gan_plots.show_rows({"truth": truth, "seen": truth, **filled}, {"seen": gap},
                        title="Real ports" if place else "GENERATED coasts")
plt.show()
print(fill(f"{ports.info.citation} Licence: {ports.info.licence}", 120))
runs, ways = stored("gan_gaps_sentinel_coast"), ("code search", "code search, blended", "smooth from the edge")
table = pd.DataFrame({way: pd.DataFrame([run[way] for run in runs]).mean() for way in ways}).T
print(f"{len(runs)} seeds; bands in which a code search errs less than the surface:", (table[:2].min() < table.loc[ways[2]]).sum())
table.round(4)

# %% [markdown] slideshow={"slide_type": "notes"}
# (6 min) **It does not help here.** Interpolation errs less in every band, even against a generator of real ports; on
# generated coasts three seeds say the same. Blending removes the seam, not invented detail. A better generator may
# look right and still be wrong: whoever measures in the gap measures an invention.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Second use: more chips where labels are few
#
# Ten labelled chips a class. A first classifier names made-up chips; the surest join the training data. For comparison:
# real chips without labels, named in the same way. From
# `python -m tests.benchmarks.gan_uses labels --data coast --seeds 0 1 2`.

# %%
runs = stored("gan_labels_coast")
ways = ("labelled chips alone", "with made-up chips", "with real chips without labels")
if runs:
    _ = plots.plot_seeds({way: {"": [run[way] for run in runs]} for way in ways}, "accuracy on held-out scenes")
    plt.show()
gains = {way: [run[way] - run[ways[0]] for run in runs] for way in ways[1:]}
pd.DataFrame(gains).rename_axis("seed").round(3).T  # gained over labelled chips alone, with the same seed

# %% [markdown] slideshow={"slide_type": "notes"}
# (4 min) **It does not help either.** Made-up chips cost accuracy in two seeds of three; real chips without labels add a
# little in all. The generator leaves kinds out: of some the first classifier finds few.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 9 · Other GANs, and what came after
#
# - **pix2pix** (Isola et al. 2017): image to image from pairs: a map in, an aerial photo out.
# - **CycleGAN** (Zhu et al. 2017): the same without pairs; there and back must end where it began. One image's style on
#   another is this, or style transfer.
# - **StyleGAN** (Karras et al. 2019) is something else: it feeds the code into every layer of the generator.
# - **Diffusion models** (Ho et al. 2020) take noise away in many small steps: no game, a plain loss, many passes.

# %% [markdown] slideshow={"slide_type": "notes"}
# (2 min) Why GANs still? One pass makes an image.

# %% [markdown] slideshow={"slide_type": "skip"}
# ## Exercises
#
# **08.1** Codes of 10 numbers in place of 100: does the generator need a tenth of the weights?
# Guess. Then write the count from part 3's rules (4 × 4 kernels, no bias; batch norm has two numbers a channel) and compare
# with `weights_of(wide.generator)`.

# %% tags=["exercise"] slideshow={"slide_type": "skip"}
def generator_weights(bands, latent, widths):
    """Weights of a generator with these widths, coarse to fine, such as [512, 256, 128, 64] → int."""
    # solution-begin
    kernels = sum(a * b for a, b in pairwise([latent, *widths, bands]))
    return 16 * kernels + 2 * sum(widths)
    # solution-end

check("08.1", generator_weights)

# %% [markdown] slideshow={"slide_type": "skip"}
# **08.2** A fourth loss (Lim and Ye 2017): the discriminator stops pushing once a real logit is above 1 and a made one below
# -1. It minimises the mean of max(0, 1 - real) plus the mean of max(0, 1 + made); the generator, minus the mean of made.

# %% tags=["exercise"] slideshow={"slide_type": "skip"}
def hinge_losses(real, made):
    """Logits of real and of made images (B,) → the discriminator's loss, the generator's loss."""
    # solution-begin
    return F.relu(1 - real).mean() + F.relu(1 + made).mean(), -made.mean()
    # solution-end

check("08.2", hinge_losses)

# %% [markdown] slideshow={"slide_type": "skip"}
# **08.3** Can a made-up chip be found out? Transposed convolutions get fine detail wrong (Durall et al. 2020). Measure the
# power at each spatial frequency: take each band's mean off each chip, `torch.fft.fft2`, square the absolute values. Ring
# *k* of `rings` holds frequencies of length (cycles a pixel, `torch.fft.fftfreq`) from 0.5 · k / rings up to, but not
# including, 0.5 · (k + 1) / rings. Return each ring's mean.

# %% tags=["exercise"] slideshow={"slide_type": "skip"}
def ring_power(images, rings):
    """Mean power (rings,) of images (N, C, S, S) by spatial frequency, slow to fast."""
    # solution-begin
    power = torch.fft.fft2(images - images.mean((2, 3), keepdim=True)).abs().square().mean((0, 1))
    side = torch.fft.fftfreq(images.shape[-1])
    ring = ((side[:, None] ** 2 + side**2).sqrt() * 2 * rings).long()
    return torch.stack([power[ring == k].mean() for k in range(rings)])
    # solution-end

check("08.3", ring_power)

# %% tags=["solution"] slideshow={"slide_type": "skip"}
ratio = ring_power(samples, 8) / ring_power(chips[random], 8)
print("08.3: power of made over real chips, slow to fast:", *[f"{value:.2f}" for value in ratio])

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Summary
#
# - A generator makes chips from codes, a discriminator judges; one of them moves in each step.
# - Minimax goes flat where the generator is bad, non-saturating does not; a Wasserstein critic wants a penalty and no batch
#   norm.
# - Losses say nothing about quality. Features do, with floor, ceiling and classifier named. Collapse shows in recall.
# - A use must beat the simple thing beside it. Made-up pixels are marked, always.
#
# **Next:** lecture 09 goes from chip to code and back: **autoencoders and VAE**.

# %% [markdown] slideshow={"slide_type": "notes"}
# (1 min) Which of the four would have changed a paper that you read?

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Five quick questions
#
# 1. Does the generator ever see a real chip?
# 2. Both losses have been flat for an hour. Converged?
# 3. Precision 0.9, recall 0.1: what do the samples look like?
# 4. Why does batch norm spoil the gradient penalty, and not the other losses?
# 5. A paper reports FID 12, this lecture another figure on coast. Whose generator is better?

# %% [markdown] slideshow={"slide_type": "notes"}
# (5 min) 1: No, only through the discriminator's gradient. 2: Unknown; a loss is relative to the opponent. 3: Convincing and
# alike. 4: It takes each image's own gradient; batch norm mixes images. 5: Not comparable: other features and images.

# %% [markdown] slideshow={"slide_type": "skip"}
# **Project.** Show 20 made and 20 real chips to five people who know satellite images; let the discriminator answer, too.
#
# **References**, by DOI:
# [Goodfellow et al. 2014 (reprint)](https://doi.org/10.1145/3422622);
# [Radford et al. 2016](https://doi.org/10.48550/arXiv.1511.06434);
# [Arjovsky and Bottou 2017](https://doi.org/10.48550/arXiv.1701.04862);
# [Wasserstein GAN: Arjovsky et al. 2017](https://doi.org/10.48550/arXiv.1701.07875);
# [Gulrajani et al. 2017](https://doi.org/10.48550/arXiv.1704.00028);
# [Lim and Ye 2017](https://doi.org/10.48550/arXiv.1705.02894);
# [Heusel et al. 2017](https://doi.org/10.48550/arXiv.1706.08500);
# [Kynkäänniemi et al. 2019](https://doi.org/10.48550/arXiv.1904.06991);
# [Yazici et al. 2019](https://doi.org/10.48550/arXiv.1806.04498);
# [Yeh et al. 2017](https://doi.org/10.48550/arXiv.1607.07539);
# [Durall et al. 2020](https://doi.org/10.48550/arXiv.2003.01826);
# [Isola et al. 2017](https://doi.org/10.48550/arXiv.1611.07004);
# [Zhu et al. 2017](https://doi.org/10.48550/arXiv.1703.10593);
# [Karras et al. 2019](https://doi.org/10.48550/arXiv.1812.04948);
# [Ho et al. 2020](https://doi.org/10.48550/arXiv.2006.11239);
# [Zhao et al. 2021, *Deep fake geography?*](https://doi.org/10.1080/15230406.2021.1910075);
# [Chesney and Citron 2019](https://doi.org/10.15779/Z38RV0D15J)
