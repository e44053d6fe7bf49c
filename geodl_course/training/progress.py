"""What a run tells while it goes on and afterwards: its history, the progress bar, a word when it was stopped."""

import sys
from dataclasses import dataclass, field

from tqdm import tqdm


@dataclass
class History:
    """What happened in training.

    rows: one dict an epoch: epoch, step, seconds (of training alone), lr, loss and its parts (means since the row
    before), and AP, AP50 where the model was validated. steps: one dict a step: step, lr, loss and its parts.
    unwritten: why the last checkpoint could not be written, empty where it could.
    """

    rows: list[dict] = field(default_factory=list)
    steps: list[dict] = field(default_factory=list)
    seconds: float = 0.0
    stopped: bool = False
    unwritten: str = ""

    @property
    def step(self):
        return len(self.steps)

    def table(self):
        """The rows as a pandas DataFrame, rounded for reading."""
        import pandas

        return pandas.DataFrame(self.rows).round({"seconds": 1, "epoch": 2, "lr": 6}).round(4)


def progress_bar(run, shown):
    """A tqdm bar with losses and time left; in a notebook one line that is overwritten, so one line is stored."""
    kind, length = run.length
    total = length * run.per_epoch if kind == "epochs" else length
    count = "{n:.0f}/{total:.0f} " + ("s" if kind == "seconds" else "steps")
    return tqdm(
        total=total, initial=min(total, run.history.seconds if kind == "seconds" else run.history.step),
        disable=not shown, file=OneLine() if in_notebook() else sys.stderr, mininterval=0.5, ncols=None,
        bar_format="{percentage:3.0f}% {bar:20} " + count + " · {elapsed} (left {remaining}) · {desc}",
    )


def in_notebook():
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


class OneLine:
    """A file that shows the last line written to it and forgets the others, as a notebook's display."""

    handle = None

    def write(self, text):
        from IPython.display import display

        line = {"text/plain": text.strip()}
        if line["text/plain"] and self.handle:
            self.handle.update(line, raw=True)
        elif line["text/plain"]:
            self.handle = display(line, raw=True, display_id=True)

    def flush(self):
        pass


def say_if_stopped(run):
    if run.history.stopped and run.accelerator.is_main_process:
        done = f"step {run.history.step} ({run.history.step / run.per_epoch:.1f} epochs)"
        kept = run.checkpoint is not None and not run.history.unwritten
        more = f" resume=True continues from {run.checkpoint}." if kept else ""
        print(f"Stopped after {done}. The model keeps what it learned.{more}")
