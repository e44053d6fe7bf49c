"""The words that are stored with a picture: what stands in the figure, in the notebook's metadata."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from geodl_course import diagrams, plots

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "lectures"))
import alt_text  # noqa: E402


def test_a_data_flow_is_told_along_its_arrows_with_shapes_once():
    nodes = {"chips": (0, 0, "data", "chips\n(B, 3, 8, 8)"), "net": (1, 0, "learned", "backbone"),
             "maps": (2, 0, "data", "maps\n(B, 4, 2, 2)"), "loss": (2, 1, "loss", "loss")}  # fmt: skip
    ax = diagrams.draw_flow(nodes, ["chips net maps", "maps loss", "chips loss"])
    assert alt_text.describe(ax.figure) == (
        "Data flow: chips (B, 3, 8, 8) → backbone → maps (B, 4, 2, 2) → loss; chips → loss."
    )


def test_boxes_of_one_name_are_told_apart_by_their_shapes():
    told = alt_text.describe(diagrams.draw_flow(*diagrams.unet_flow(depth=2)).figure)
    assert told.endswith("; 2 convolutions (B, 64, 64, 64) → 2 convolutions (B, 64, 64, 64).")


def test_a_plot_is_told_by_title_axes_and_lines_and_images_by_their_titles():
    figure, axes = plt.subplots(1, 3)
    axes[0].plot([1, 2], label="train")
    axes[0].set(title="Loss", xlabel="step", ylabel="nats")
    axes[0].legend()
    for ax, title in zip(axes[1:], ("truth", "found\nby SSD"), strict=True):
        plots.show_image(np.zeros((3, 8, 8), np.uint8), ax=ax, title=title)
    plots.name_below(figure, plots.outcome_lines())
    figure.suptitle("Towns")
    assert alt_text.describe(figure) == (
        "2 images and 1 plot. Towns. Loss: nats over step (train); truth; found by SSD. Marked: found, false, missed."
    )


def test_long_texts_end_between_two_words():
    figure, ax = plt.subplots()
    ax.set_title("word " * 400)
    told = alt_text.describe(figure)
    assert len(told) <= alt_text.LONGEST and told.endswith("word…")


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A notebook run as the builder runs it: a figure drawn by the second cell, one shown, one returned."""
    import build

    cells = ["import matplotlib.pyplot as plt", "_ = plt.plot([1, 2])[0].axes.set(title='first')",
             "figure, ax = plt.subplots()\nax.set_title('shown')\nplt.show()",
             "figure, ax = plt.subplots()\nax.set_title('returned')\nplt.close()\nfigure",
             "print([name for name in dir() if 'alt' in name or name in ('runpy', 'watch')])"]  # fmt: skip
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    return build.execute(notebook, tmp_path_factory.mktemp("run"), {}, "a notebook")


def test_the_builder_stores_the_words_with_each_picture(executed):
    nbformat.validate(executed)
    told = [output.metadata["image/png"]["alt"] for cell in executed.cells for output in cell.outputs
            if "image/png" in output.get("data", {})]  # fmt: skip
    assert told == ["1 plot. first.", "1 plot. shown.", "1 plot. returned."]


def test_nothing_of_it_is_seen_by_the_notebook(executed):
    assert executed.cells[-1].outputs[0].text.strip() == "[]"
    assert [cell.execution_count for cell in executed.cells] == [1, 2, 3, 4, 5]


def test_a_picture_whose_words_fail_is_shown_all_the_same(monkeypatch, capsys):
    monkeypatch.setattr(alt_text, "describe", lambda figure: 1 / 0)
    assert alt_text.picture_and_text(lambda figure: b"PNG", None) == (b"PNG", {})
    assert "no alternative text: ZeroDivisionError" in capsys.readouterr().err
