"""Checks of lecture 10, from chips to a map."""

import random

from geodl_course.exercises import exercise
from geodl_course.windows import windows


@exercise("10.1")
def windows_needed(answer):
    for turn in range(60):
        size = random.randint(8, 300)
        overlap = random.choice([0, random.randint(0, size - 1)])
        height, width = (random.choice([random.randint(1, 900), size, size + 1, 3 * size]) for _ in range(2))
        if turn == 0:
            height, overlap = size // 4, size // 2  # a scene far smaller than its window takes one all the same
        wanted, found = len(windows(height, width, size, overlap)), answer(height, width, size, overlap)
        if found != wanted:
            return (f"A scene of {height} x {width} px takes {wanted} windows of {size} px that share {overlap}, "
                    f"yours are {found}.")


@exercise("10.2")
def chance_to_be_cut(answer):
    for _ in range(60):
        size = random.randint(16, 256)
        width, height = (random.uniform(1, 1.4 * size) for _ in range(2))
        free = [max(0.0, size - side) / size for side in (width, height)]  # places along an axis where no line is
        wanted, found = 1 - free[0] * free[1], float(answer(width, height, size))
        if not abs(found - wanted) < 1e-6:
            return (f"A box of {width:.1f} x {height:.1f} px on a grid of {size} px is cut in {wanted:.4f} of its "
                    f"places, yours is {found:.4f}.")


@exercise("10.3")
def agreement(answer):
    for turn in range(80):
        left, right = (0, 0, 100, 100), (random.randint(60, 90), random.choice([0, random.randint(0, 40)]), 0, 0)
        right = (*right[:2], right[0] + 100, right[1] + 100)
        a, b = (random_box(window) for window in (left, right))
        if turn == 0:  # both reach into the shared strip, and beyond it
            a, b = (20, 50, 97, 90), (right[0] + 2, 45, right[0] + 60, 85)
        both = overlap(a, b)
        seen = min(overlap(a, right), overlap(b, left))
        wanted, found = both / seen if seen else 0.0, float(answer(a, b, left, right))
        if not abs(found - wanted) < 1e-6:
            return (f"Boxes {a} of window {left} and {b} of window {right} share {both} px; of what both windows saw "
                    f"that is {wanted:.4f}, yours is {found:.4f}.")


def random_box(window):
    x = sorted(random.sample(range(window[0], window[2] + 1), 2))
    y = sorted(random.sample(range(window[1], window[3] + 1), 2))
    return x[0], y[0], x[1], y[1]


def overlap(a, b):
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
