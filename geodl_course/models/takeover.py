"""What taking over torchvision's detectors shares: parts of known kinds only, and weights in the order of the parts."""

import torch


def check_kinds(known):
    """Raise TypeError for the first part of known {name of torchvision's class: part} that is of another class → None.

    Only of these is known what they compute.
    """
    for name, part in known.items():
        if type(part).__name__ != name:
            raise TypeError(f"from_torchvision knows torchvision's {name}, not {type(part).__name__}")


@torch.no_grad()
def copy_parameters(theirs, ours, arrange=torch.Tensor.reshape_as):
    """Copies of parameters theirs into ours, in the order in which both are declared → None.

    arrange(theirs, ours) brings one to the shape of ours; it learns if theirs does.
    """
    for mine, other in zip(ours, theirs, strict=True):
        mine.data = arrange(other, mine).clone()
        mine.requires_grad_(other.requires_grad)
