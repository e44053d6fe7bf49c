"""The loop on chips of one coloured square and a network of one convolution, and on the course's detector."""

import itertools
import json
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from geodl_course import models, training
from geodl_course.chips import ChipDataset, ChipError, DatasetInfo, Targets, collate, save_npz
from geodl_course.training import loop
from geodl_course.training.__main__ import main

ROOT = Path(__file__).parents[1]


class Squares:
    """Chips with one square, red or blue; targets say where and which."""

    classes, size = ["red", "blue"], 24

    def __init__(self, number=20, seed=0):
        g = np.random.default_rng(seed)
        self.stems = [f"square{i}" for i in range(number)]
        self.corner, self.side = g.integers(0, 12, (number, 2)), g.integers(6, 12, number)
        self.label = g.integers(1, 3, number)
        self.asked = []

    def __len__(self):
        return len(self.stems)

    def __getitem__(self, i):
        self.asked.append(i)
        (x, y), side = self.corner[i], self.side[i]
        image = torch.zeros(3, self.size, self.size)
        image[0 if self.label[i] == 1 else 2, y : y + side, x : x + side] = 1
        boxes = torch.tensor([[x, y, x + side, y + side]], dtype=torch.float32)
        return image, {"boxes": boxes, "labels": torch.tensor([self.label[i]])}


class Pointer(nn.Module):
    """Says where the square's centre and what its label is. Random on purpose: dropout must come out the same."""

    def __init__(self, settings=None):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 5, 4, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2))
        self.where, self.what = nn.Linear(288, 2), nn.Linear(288, 2)
        self.settings, self.calls, self.at_step = settings or {"wide": 8}, 0, {}

    def forward(self, images, targets=None):
        self.calls += 1
        self.at_step.get(self.calls, lambda: None)()
        hidden = self.body(images)
        where = self.where(hidden)
        if targets is None:
            return Pointed(where)
        centre = (targets.boxes[:, 0, :2] + targets.boxes[:, 0, 2:]) / 48
        what = nn.functional.cross_entropy(self.what(hidden), targets.labels[:, 0] - 1)
        return {"where": (where - centre).square().mean(), "what": what}


class Pointed:
    def __init__(self, where):
        self.where = where

    def per_image(self):
        boxes = [torch.cat([24 * at - 5, 24 * at + 5])[None] for at in self.where]
        return [{"boxes": b, "scores": torch.ones(1), "labels": torch.ones(1, dtype=torch.long)} for b in boxes]


def pointer(seed=1):
    torch.manual_seed(seed)
    return Pointer()


def fit(model, *data, **settings):
    return training.fit(model, *data, **{"batch_size": 4, "progress": False, **settings})


def same_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


# ------------------------------------------------------------------------------------------ the loop


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_it_learns(optimiser):
    model = pointer()
    history = fit(model, Squares(), Squares(8, seed=1), epochs=12, optimiser=optimiser, augment=False)
    first, last = history.rows[0], history.rows[-1]
    assert last["what"] < 0.5 * first["what"] and last["where"] < 0.5 * first["where"]
    assert first["loss"] == pytest.approx(first["what"] + first["where"])
    assert [row["epoch"] for row in history.rows] == list(range(1, 13)) and last["step"] == history.step == 60
    assert 0 <= last["AP50"] <= 1 and "AP50" not in first
    assert not model.training


def test_history_is_a_table():
    table = fit(pointer(), Squares(), Squares(4), epochs=2, evaluate_every=1).table()
    assert {"epoch", "step", "seconds", "lr", "loss", "where", "what", "AP", "AP50"} <= set(table.columns)
    assert len(table) == 2 and table.notna().all().all()


def test_each_chip_once_an_epoch_in_an_order_of_seed_and_epoch():
    orders = {}
    for seed in (0, 0, 1):
        data = Squares(20)
        fit(pointer(), data, epochs=2, seed=seed)
        first, second = data.asked[:20], data.asked[20:]
        assert sorted(first) == sorted(second) == list(range(20)) and first != second
        assert orders.setdefault(seed, data.asked) == data.asked
    assert orders[0] != orders[1]


def test_chips_that_fill_no_batch_wait_for_another_epoch():
    data = Squares(11)
    assert fit(pointer(), data, epochs=30).step == 60
    assert len(data.asked) == 240 and set(data.asked) == set(range(11))
    assert fit(pointer(), Squares(3), epochs=2).step == 2  # fewer chips than a batch are one batch


def test_lengths(monkeypatch):
    assert fit(pointer(), Squares(), epochs=2).step == 10
    history = fit(pointer(), Squares(), steps=7)
    assert history.step == 7 and [row["epoch"] for row in history.rows] == pytest.approx([1, 1.4])
    with monkeypatch.context() as patch:
        ticks = itertools.count()
        patch.setattr(loop.time, "perf_counter", lambda: next(ticks) / 8)  # a step takes 1 / 8 s on any machine
        history = fit(pointer(), Squares(), seconds=2)
    assert history.seconds == 2 and history.rows[-1]["step"] == history.step == 16
    for wrong in ({}, {"epochs": 1, "steps": 1}, {"seconds": 0}):
        with pytest.raises(ValueError, match="exactly one of epochs, steps or seconds"):
            fit(pointer(), Squares(), **wrong)


def test_learning_rate_ramps_up_and_falls():
    rates = [step["lr"] for step in fit(pointer(), Squares(), steps=50, lr=0.01).steps]
    top = rates.index(max(rates))
    assert rates[:top] == sorted(rates[:top]) and rates[top:] == sorted(rates[top:], reverse=True)
    assert 1 <= top <= 5 and max(rates) == pytest.approx(0.01, rel=0.02) and 0 < rates[-1] < 1e-4


def test_schedule_has_no_jump():
    shares = np.linspace(0, 1, 2001)
    rates = np.array([training.schedule(share) for share in shares])
    assert rates[0] == 0 and rates[-1] == pytest.approx(0) and rates.max() <= 1
    assert np.abs(np.diff(rates)).max() < 0.01


def test_unknown_optimiser():
    with pytest.raises(ValueError, match="optimiser 'lion' is unknown: choose one of adamw, sgd"):
        fit(pointer(), Squares(), epochs=1, optimiser="lion")


# --------------------------------------------------------------------------------------- going on later


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_resume_ends_at_the_very_weights_of_an_uninterrupted_run(tmp_path, optimiser):
    recipe = {"epochs": 4, "optimiser": optimiser, "seed": 3}
    whole = pointer()
    through = fit(whole, Squares(), **recipe)
    for stop_at in (3, 5, 12):  # within an epoch, at its end, later
        folder = tmp_path / str(stop_at)
        first = pointer()
        first.at_step = {stop_at: lambda: os.kill(os.getpid(), signal.SIGINT)}
        assert fit(first, Squares(), checkpoint=folder, **recipe).step == stop_at
        torch.rand(17)  # whatever happens in between must not matter
        second = pointer(seed=99)
        history = fit(second, Squares(), checkpoint=folder, resume=True, **recipe)
        assert same_weights(whole, second) and not same_weights(whole, first)
        assert history.steps == through.steps
        assert history.rows[-1]["step"] == 20


def test_resume_of_a_finished_run_changes_nothing(tmp_path):
    model, again = pointer(), pointer(seed=9)
    fit(model, Squares(), epochs=1, checkpoint=tmp_path)
    assert fit(again, Squares(), epochs=1, checkpoint=tmp_path, resume=True).step == 5
    assert same_weights(model, again)


def test_resume_refuses_another_recipe(tmp_path):
    fit(pointer(), Squares(), epochs=1, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=r"resume.pt was begun with seed 0, not 1, batch_size 4, not 5"):
        fit(pointer(), Squares(), epochs=1, checkpoint=tmp_path, resume=True, seed=1, batch_size=5)
    with pytest.raises(ValueError, match=r"lr 0.0015, not 0.002, length \('epochs', 1\), not \('steps', 9\)"):
        fit(pointer(), Squares(), steps=9, checkpoint=tmp_path, resume=True, lr=2e-3)
    other = Squares()
    other.stems[3] = "another"
    with pytest.raises(ValueError, match=r"data 'Squares, 20 chips \(\w{8}\)', not 'Squares, 20 chips"):
        fit(pointer(), other, epochs=1, checkpoint=tmp_path, resume=True)
    with pytest.raises(ValueError, match="resume=True needs the folder"):
        fit(pointer(), Squares(), epochs=1, resume=True)


def test_resume_refuses_a_damaged_file_and_that_of_another_model(tmp_path):
    fit(pointer(), Squares(), epochs=1, checkpoint=tmp_path)
    other = pointer()
    other.where = nn.Linear(288, 3)
    with pytest.raises(ValueError, match="resume.pt is of another model: build the same") as error:
        fit(other, Squares(), epochs=1, checkpoint=tmp_path, resume=True)
    assert "\n" not in str(error.value)
    whole = (tmp_path / "resume.pt").read_bytes()
    for keep in (0, 3, len(whole) // 2):
        (tmp_path / "resume.pt").write_bytes(whole[:keep])
        with pytest.raises(ValueError, match="resume.pt is damaged: delete it to begin again"):
            fit(pointer(), Squares(), epochs=1, checkpoint=tmp_path, resume=True)


def test_without_a_checkpoint_resume_starts(tmp_path):
    assert fit(pointer(), Squares(), epochs=1, checkpoint=tmp_path / "new", resume=True).step == 5


def test_a_full_disk_leaves_the_checkpoint_before_and_training_goes_on(tmp_path, monkeypatch, capsys):
    first = pointer()
    first.at_step = {7: lambda: os.kill(os.getpid(), signal.SIGINT)}
    fit(first, Squares(), epochs=4, checkpoint=tmp_path)
    before = (tmp_path / "resume.pt").read_bytes()

    def half(state, path):
        Path(path).write_bytes(b"half a checkp")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", half)
    model = pointer()
    history = fit(model, Squares(), epochs=4, checkpoint=tmp_path, resume=True)
    said = capsys.readouterr().out
    assert said.count("No space left") == 1 and "could not be written after step 10" in said
    assert history.step == 20 and len(history.rows) == 5 and "after step 20" in history.unwritten
    assert (tmp_path / "resume.pt").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.safetensors", "resume.pt"]


# ------------------------------------------------------------------------------------------ stopping


def test_stop_button_finishes_the_step_and_keeps_what_was_learned(capsys):
    model = pointer()
    model.at_step = {7: lambda: os.kill(os.getpid(), signal.SIGINT)}
    usual = signal.getsignal(signal.SIGINT)
    history = fit(model, Squares(), epochs=100)
    assert history.stopped and history.step == 7 and history.rows[-1]["step"] == 7
    assert "Stopped after step 7 (1.4 epochs). The model keeps what it learned." in capsys.readouterr().out
    assert not same_weights(model, pointer()) and signal.getsignal(signal.SIGINT) is usual


def test_an_interruption_from_elsewhere_keeps_what_was_learned_too(capsys, tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    model = pointer()
    model.at_step = {7: interrupt}
    history = fit(model, Squares(), epochs=100, checkpoint=tmp_path)
    assert history.stopped and history.step == 6 and not same_weights(model, pointer())
    assert f"resume=True continues from {tmp_path}" in capsys.readouterr().out


def test_the_second_press_interrupts_at_once():
    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    model = pointer()
    model.at_step = {3: twice}
    assert fit(model, Squares(), epochs=100).step == 2


def test_loss_that_is_not_finite_names_step_part_and_chips():
    class Poisoned(Squares):
        def __getitem__(self, i):
            image, target = super().__getitem__(i)
            return (image * math.nan if i == 7 else image), target

    model, data = pointer(), Poisoned()
    with pytest.raises(training.NonFiniteLoss) as error:
        fit(model, data, epochs=1, augment=False)
    step = len(data.asked) // 4
    assert f"step {step}: where is nan, what is nan, on chips" in str(error.value)
    assert "square7" in str(error.value) and str(error.value).count("square") == 4
    assert all(weight.isfinite().all() for weight in model.parameters())


def test_only_the_part_that_failed_is_named():
    with pytest.raises(training.NonFiniteLoss, match="step 3: box is inf, on chips a, b. "):
        training.finite({"box": torch.tensor(math.inf), "what": torch.tensor(1.0)}, 3, ["a", "b"])


def test_images_and_model_on_different_devices():
    with pytest.raises(ValueError, match="the images are on meta, the model is on cpu: move one of them"):
        training.forward(pointer(), torch.zeros(2, 3, 24, 24, device="meta"), None)


def test_a_wild_gradient_is_shortened():
    weight = nn.Parameter(torch.zeros(2))
    training.descend(torch.optim.SGD([weight], lr=1), (weight * torch.tensor([3000.0, 4000.0])).sum())
    assert weight.tolist() == pytest.approx([-6, -8], rel=1e-4)


# ------------------------------------------------------------------------------------- flips and turns

corner, side = st.integers(0, 96), st.integers(1, 64)


@st.composite
def chips_with_boxes(draw):
    """Four square chips with a few boxes each, on quarters of a pixel, where flipping is exact in float32."""
    number, size = draw(st.integers(1, 5)), 40
    rows = draw(st.lists(st.tuples(corner, corner, side, side), min_size=4 * number, max_size=4 * number))
    x, y, w, h = torch.tensor(rows, dtype=torch.float32).T / 4
    boxes = torch.stack([x, y, x + w, y + h], 1).reshape(4, number, 4)
    images = torch.rand(4, 2, size, size, generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
    return images, Targets(boxes, torch.ones(4, number, dtype=torch.long), torch.ones(4, number, dtype=torch.bool))


def undo(element):
    """The element that takes `element` back: after a swap of rows and columns, the two mirrors change places."""
    across, down, swap = element & 1, element >> 1 & 1, element & 4
    return torch.where(swap > 0, swap + across * 2 + down, element)


@settings(max_examples=40, deadline=None)
@given(chips_with_boxes(), st.lists(st.integers(0, 7), min_size=4, max_size=4))
def test_each_element_can_be_undone(chips, element):
    images, targets = chips
    element = torch.tensor(element)
    there = training.flip_and_turn(images, targets, element)
    back = training.flip_and_turn(*there, undo(element))
    assert torch.equal(back[0], images) and torch.equal(back[1].boxes, targets.boxes)
    assert (there[1].boxes[..., 2:] > there[1].boxes[..., :2]).all()
    changed = (there[0] != images).flatten(1).any(1)
    assert changed.tolist() == (element > 0).tolist()  # each chip went its own way


@settings(max_examples=40, deadline=None)
@given(chips_with_boxes(), st.integers(0, 7), st.integers(0, 7))
def test_two_elements_in_a_row_are_a_third(chips, first, second):
    images, targets = chips
    twice = training.flip_and_turn(*training.flip_and_turn(images, targets, torch.full((4,), first)),
                                   torch.full((4,), second))
    once = [training.flip_and_turn(images, targets, torch.full((4,), third)) for third in range(8)]
    same = [torch.equal(twice[0], one[0]) and torch.equal(twice[1].boxes, one[1].boxes) for one in once]
    assert sum(same) == 1


@pytest.mark.parametrize("element", range(8))
def test_boxes_go_where_their_pixels_go(element):
    data = Squares(6)
    images = torch.stack([data[i][0] for i in range(6)])
    targets = Targets.from_list([data[i][1] for i in range(6)])
    targets = Targets(targets.boxes, targets.labels, targets.valid, images.sum(1, keepdim=True) > 0)
    images, targets = training.flip_and_turn(images, targets, torch.full((6,), element))
    for i, (x0, y0, x1, y1) in enumerate(targets.boxes[:, 0].long().tolist()):
        inside = torch.zeros(24, 24, dtype=torch.bool)
        inside[y0:y1, x0:x1] = True
        assert torch.equal(images[i].sum(0) > 0, inside) and torch.equal(targets.masks[i, 0], inside)


def test_chips_that_are_not_square_are_mirrored_and_not_turned():
    images = torch.rand(8, 1, 6, 9)
    targets = Targets.from_list([{"boxes": torch.tensor([[1, 2, 4, 6.0]]), "labels": torch.tensor([1])}] * 8)
    turned, boxes = training.flip_and_turn(images, targets, torch.arange(8))
    assert torch.equal(turned[:4].flip(-1)[1], images[1]) and turned.shape == images.shape
    assert boxes.boxes[[0, 1, 2, 5], 0].tolist() == [[1, 2, 4, 6], [5, 2, 8, 6], [1, 0, 4, 4], [5, 2, 8, 6]]


# ------------------------------------------------------------------------------- the course's detector


def tiny_chips(split="train", number=10, seed=0):
    """A ChipDataset of squares, made without any file."""
    squares = Squares(number, seed)
    info = DatasetInfo("squares", squares.classes, ["red", "green", "blue"], "uint8", 24, 0.5, "EPSG:26917",
                       mean=[10.0, 0.0, 10.0], std=[50.0, 1.0, 50.0])
    arrays = {
        "stems": np.array(squares.stems), "counts": np.ones(number, np.int64),
        "images": np.stack([squares[i][0].numpy() * 255 for i in range(number)]).astype(np.uint8),
        "boxes": np.concatenate([squares[i][1]["boxes"].numpy() for i in range(number)]),
        "labels": np.concatenate([squares[i][1]["labels"].numpy() for i in range(number)]),
    }
    chips = ChipDataset.__new__(ChipDataset)
    chips._set(info, split, arrays, False, True)
    return chips


def detector(seed=0):
    torch.manual_seed(seed)
    return models.build("faster_rcnn", classes=2, backbone={"name": "small", "widths": [16, 16, 16]})


def test_the_detector_resumes_to_the_same_weights(tmp_path):
    recipe = {"epochs": 3, "seed": 5}
    whole, first, second = detector(), detector(), detector(seed=8)
    fit(whole, tiny_chips(), **recipe)
    first.register_forward_hook(lambda *_: stop_after(first, 3))
    fit(first, tiny_chips(), checkpoint=tmp_path, **recipe)
    assert fit(second, tiny_chips(), checkpoint=tmp_path, resume=True, **recipe).step == 6
    assert same_weights(whole, second) and not same_weights(whole, first)


def stop_after(model, steps):
    model.steps = getattr(model, "steps", 0) + 1
    if model.steps == steps:
        os.kill(os.getpid(), signal.SIGINT)


def test_a_stored_model_is_built_again_and_finds_the_same(tmp_path):
    model, chips = detector(), tiny_chips()
    fit(model, chips, steps=3, checkpoint=tmp_path)
    again = training.load_model(tmp_path)
    image = chips[0][0][None]
    assert torch.equal(model(image).boxes, again(image).boxes) and not again.training
    described = json.loads((tmp_path / "model.json").read_text())
    assert described["model"] == "faster_rcnn" and described["settings"]["classes"] == 2
    assert described["data"] == {"classes": ["red", "blue"], "bands": ["red", "green", "blue"],
                                 "mean": [10, 0, 10], "std": [50, 1, 50], "resolution": 0.5, "chip_size": 24}


def test_a_model_of_a_notebooks_classes_is_built_again(tmp_path):
    from geodl_course.models import faster_rcnn, two_stage_settings
    from geodl_course.models.backbones import SmallBackbone
    from geodl_course.models.rpn import RPNHead

    class Mirrored(faster_rcnn.FasterRCNN):  # as in lecture 03: another class, in another module, of the same parts
        __module__ = "__main__"

    head = faster_rcnn.BoxHead(faster_rcnn.two_layers(96 * 49, 256), 256, 2)
    backbone = SmallBackbone()
    ours = Mirrored(backbone, RPNHead(96, 12), head, two_stage_settings.small_settings(2))
    again = training.load_model(training.save_model(ours, tmp_path))
    image = tiny_chips()[0][0][None]
    assert torch.equal(ours.eval()(image).boxes, again(image).boxes)


@pytest.mark.parametrize("name", ["ssd", "yolo_v1"])
def test_other_systems_are_built_again(tmp_path, name):
    model = models.build(name, classes=2)
    model.__class__ = type("Mirrored", (type(model),), {"__module__": "__main__"})
    again = training.load_model(training.save_model(model, tmp_path))
    assert type(again).__module__ == f"geodl_course.models.{name}" and same_weights(model, again)


def test_a_model_that_could_not_be_built_again_is_refused_before_it_is_trained(tmp_path):
    model = detector()
    model.backbone[0][0] = nn.Conv2d(3, 16, 5, stride=2, padding=2, bias=False)
    with pytest.raises(ValueError, match=r"another faster_rcnn \(backbone.0.0.weight .*Correct model.set"):
        fit(model, tiny_chips(), steps=1, checkpoint=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    model.settings = {**model.settings, "backbone": {"name": "own"}}
    with pytest.raises(ValueError, match="a backbone of your own"):
        training.save_model(model, tmp_path / "run")


def test_bad_objects_name_their_chips():
    chips = tiny_chips()
    chips.arrays["labels"][7] = 3
    with pytest.raises(ChipError, match=r"image (\d) of the batch.*label 3.*in its order .*: (square\d.*)\.") as error:
        fit(detector(), chips, epochs=1)
    image, stems = re.search(r"image (\d) of.*: (square.*)\.", str(error.value)).groups()
    assert stems.split(", ")[int(image)] == "square7"


def test_senseless_settings_are_refused_by_name():
    for wrong, words in (({"lr": 0}, "lr 0: a learning"), ({"batch_size": 0}, "batch_size 0: a step needs")):
        with pytest.raises(ValueError, match=words):
            fit(pointer(), Squares(), epochs=1, **wrong)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda images, targets: (list(images), targets), "images are a list: pass one tensor"),
        (lambda images, targets: (images[:0], targets), r"\(0, 3, 24, 24\): pass one float tensor"),
        (lambda images, targets: (images, targets.to_list()), "targets are a list: make them with Targets.from_list"),
        (lambda images, targets: (images[:3], targets), "targets are of 4 images, the batch has 3"),
    ],
)
def test_batches_that_no_model_takes(spoil, words):
    images, targets = collate([tiny_chips()[i] for i in range(4)])
    with pytest.raises(ValueError, match=words):
        detector()(*spoil(images, targets))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_pixels_that_are_no_numbers_are_refused_in_use(value):
    image = torch.zeros(2, 3, 24, 24)
    image[1, 2, 3, 4] = value
    with pytest.raises(ValueError, match="NaN or infinite pixels"):
        detector().eval()(image)


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="model.json is missing"):
        training.load_model(tmp_path)
    training.save_model(nn.Linear(2, 2), tmp_path)
    with pytest.raises(ValueError, match="names no system: build the model yourself"):
        training.load_model(tmp_path)


# ------------------------------------------------------------------- terminal, several processes, notebook


def run(*command, **settings):
    """Run a command from the repository's root on the CPU, and return what it printed; it must succeed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True,
                          timeout=240, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def stored(tmp_path):
    return str(save_npz(tmp_path / "squares.npz", tiny_chips(), tiny_chips("val", 4, seed=1)))


def test_command_line_trains_and_resumes(tmp_path):
    command = ["faster_rcnn", "--data", stored(tmp_path), "--checkpoint", str(tmp_path / "run")]
    first = run("-m", "geodl_course.training", *command, "--steps", "2")
    assert "AP50" in first.stdout and "100%" in first.stderr and "classifier" in first.stderr
    main([*command, "--steps", "2", "--resume"])
    state = torch.load(tmp_path / "run" / "resume.pt", weights_only=True)
    assert len(state["history"]["steps"]) == 2
    assert training.load_model(tmp_path / "run").settings["classes"] == 2


def test_command_line_always_keeps_the_model(tmp_path, monkeypatch, capsys):
    only_train = str(save_npz(tmp_path / "squares.npz", tiny_chips()))
    monkeypatch.chdir(tmp_path)
    command = ["faster_rcnn", "--data", only_train, "--steps", "1"]
    main(command)
    said = capsys.readouterr().out
    assert "load_model('runs/faster_rcnn_squares_quick')" in said and "no val split" in said
    assert training.load_model("runs/faster_rcnn_squares_quick").settings["classes"] == 2
    with pytest.raises(SystemExit):  # and never loses one
        main(command)
    assert "keeps a model already: add --resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--epochs", "1", "--steps", "1"], "exactly one of epochs, steps or seconds"),
        (["--steps", "0"], "more than 0; got {'steps': 0}"),
        (["--lr", "0"], "lr 0.0: a learning rate"),
        (["--batch-size", "0"], "batch_size 0"),
        (["--data", "nowhere.npz"], "nowhere.npz"),
        (["--data", "nowhere"], "there is no data set 'nowhere'"),
    ],
)
def test_command_line_refuses_in_one_line(tmp_path, monkeypatch, capsys, options, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["faster_rcnn", "--data", stored(tmp_path), *options])
    said = capsys.readouterr().err
    assert end.value.code == 2 and words in said and said.count("\n") == 1 and "Traceback" not in said


def test_accelerate_launch_on_two_processes(tmp_path):
    launch = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1",
              "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0")
    done = run(*launch, "-m", "geodl_course.training", "faster_rcnn", "--data", stored(tmp_path), "--steps", "2",
               "--batch-size", "2", "--checkpoint", str(tmp_path / "run"))
    assert done.stdout.count("AP50") == 1  # one process speaks
    assert len(torch.load(tmp_path / "run" / "resume.pt", weights_only=True)["history"]["steps"]) == 2


def test_training_needs_no_raster_or_notebook_library(tmp_path):
    code = (
        "import sys\n"
        "for name in ('rasterio', 'geopandas', 'IPython', 'ipywidgets', 'pandas'): sys.modules[name] = None\n"
        "from geodl_course import training, chips\n"
        f"train = chips.ChipDataset.load({stored(tmp_path)!r}, 'train')\n"
        "from geodl_course.models import build\n"
        "print(training.fit(build('faster_rcnn', classes=2), train, steps=1, progress=False).step)\n"
    )
    assert run("-c", code).stdout.strip() == "1"


def test_progress_says_losses_and_time_left(capsys):
    fit(pointer(), Squares(), epochs=4, progress=True)
    last = capsys.readouterr().err.rpartition("\r")[2]
    assert "100%" in last and "20/20 steps" in last and "left 00:00" in last and "where 0." in last


def test_a_stored_notebook_keeps_one_line_of_progress(tmp_path):
    import nbformat
    from nbclient import NotebookClient

    code = (
        "from tests.test_training import Squares, pointer\nfrom geodl_course import training\n"
        "history = training.fit(pointer(), Squares(), steps=300, batch_size=4)"
    )
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(book, timeout=200, resources={"metadata": {"path": str(ROOT)}}).execute()
    [output] = book.cells[0].outputs
    assert output.output_type == "display_data" and list(output.data) == ["text/plain"]
    assert output.data["text/plain"].startswith("100%") and "\n" not in output.data["text/plain"]
    assert "300/300 steps" in output.data["text/plain"] and len(json.dumps(output)) < 500
