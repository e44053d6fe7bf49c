"""How good are DCGAN's chips after the quick budget? Frechet distance on course features, precision, recall, memory.

    python -m tests.benchmarks.dcgan --seeds 0 1 2

The narrow DCGAN trains on coast for 120 s. Then 2,000 samples are compared with the chips that it learned from, and so
are held-out chips of other scenes (the floor of the Frechet distance) and the training chips' pixel means (its
ceiling). The features come from a classifier of land cover trained on scenes of its own; its accuracy is printed.
The curve is of 500 samples, whose distance reads higher, at each WATCH_EVERY steps. Lecture 08 shows the results.
"""

import argparse

import torch

from geodl_course.models.dcgan import dcgan, draw_samples
from geodl_course.training import load_model, save_model
from geodl_course.training.adversarial import QUICK, fit_gan
from tests.benchmarks import generated, results

KEPT = results.ROOT / "build" / "dcgan"
SECONDS, SAMPLES, WATCH_EVERY = 120, 2000, 500


def train(data, seed, watch=None, **length):
    """The quick DCGAN trained on data.train → model, history."""
    torch.manual_seed(seed)
    model = dcgan(data.train.shape[1], size=data.train.shape[-1], **QUICK["model"])
    settings = {**QUICK["fit"], **(length or {"seconds": SECONDS})}
    return model, fit_gan(model, data.train, seed=seed, watch=watch, watch_every=WATCH_EVERY, **settings)


def trained(data, seed, **length):
    """The quick DCGAN of a data set and seed, from build/dcgan where this benchmark left it, else trained now."""
    folder = KEPT / data.name / str(seed)
    if (folder / "model.safetensors").exists() and not length:
        return load_model(folder)
    model, history = train(data, seed, **length)
    if not (length or history.diverged or history.stopped):
        save_model(model, folder)
    return model.cpu()


def curve(history):
    """Figures along the way, and both losses thinned to about a hundred points."""
    every = max(1, history.step // 100)
    looks = [{"step": one["step"], "seconds": one["seconds"], **one["seen"]} for one in history.looks]
    return {"looks": looks, "losses": history.steps[::every]}


def measure(data, seed, samples=SAMPLES, **length):
    """All figures of one seed."""
    classifier, accuracy = generated.classifier_for(data)
    yard = generated.yardstick(classifier, data)

    def watch(model):
        return generated.course_of(draw_samples(model, 500, seed), yard)

    model, history = train(data, seed, watch, **length)
    if history.diverged or history.stopped:
        raise SystemExit(f"seed {seed}: {history.diverged or 'stopped'}; nothing is stored")
    save_model(model, KEPT / data.name / str(seed))
    figures = generated.figures_of(draw_samples(model, samples, seed), yard)
    figures |= {"steps": history.step, "training_seconds": history.seconds, "classifier_accuracy": accuracy}
    figures |= {"samples": samples, "train": len(data.train), "held_out": len(data.held_out)}
    print(f"seed {seed}:", results.tidy(figures), flush=True)
    return {**figures, "curve": curve(history)}


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.dcgan", description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="coast")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="instead of 120 s")
    parser.add_argument("--samples", type=int, default=SAMPLES)
    chosen = parser.parse_args(arguments)
    data, length = generated.open_all(chosen.data), {"steps": chosen.steps} if chosen.steps else {}
    which = "" if chosen.data == "coast" else f" --data {chosen.data}"
    more = f" --steps {chosen.steps}" if chosen.steps else ""
    command = f"python -m tests.benchmarks.dcgan{which}{more} --seeds {' '.join(map(str, chosen.seeds))}"
    for seed in chosen.seeds:
        figures = measure(data, seed, chosen.samples, **length)
        results.store(f"dcgan_{data.name}", figures, command, seed)


if __name__ == "__main__":
    main()
