"""Training: one visible loop for every system of the course, in a notebook, in a terminal and on several GPUs.

    python -m geodl_course.training faster_rcnn --data towns --budget quick          # kept in runs/
    accelerate launch -m geodl_course.training faster_rcnn --data towns.npz --budget full

A model that `fit` can train takes `model(images (B, C, H, W), targets)` to a dict of losses. All that is random in
step s (order of the chips, augmentation, whatever the model samples) comes from (seed, s) alone, so a run that was
stopped anywhere continues to the same weights. Lecture 03 walks through the loop.
"""

from geodl_course.training.augmentation import flip_and_turn
from geodl_course.training.checkpoints import load_model, save_model
from geodl_course.training.loop import NonFiniteLoss, descend, finite, fit, forward, schedule
from geodl_course.training.progress import History
from geodl_course.training.recipes import MASKED, RECIPES, make_model, open_chips

__all__ = [
    "MASKED", "RECIPES", "History", "NonFiniteLoss", "descend", "finite", "fit", "flip_and_turn", "forward",
    "load_model", "make_model", "open_chips", "save_model", "schedule",
]
