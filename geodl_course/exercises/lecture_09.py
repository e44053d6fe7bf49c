"""Checks of lecture 09, autoencoder and VAE."""

import math

import numpy as np
import torch

from geodl_course.exercises import exercise


@exercise("09.1")
def numbers_in_use(answer):
    for chips, width, least in ((40, 12, 0.1), (15, 30, 0.5)):
        busy = torch.rand(width) < 0.5
        scale = torch.where(busy, 0.5 + 2 * torch.rand(width), 0.02)
        mean = scale * torch.randn(chips, width)
        log_variance = torch.where(busy, -3.0, 0.0) + 0.1 * torch.randn(chips, width)
        mean[0, ~busy] = 3.0  # one strange chip is no reason to call a number used
        variance = log_variance.double().exp().numpy()
        nats = 0.5 * (variance + mean.double().numpy() ** 2 - 1 - np.log(variance))
        wanted, found = int((nats.mean(0) > least).sum()), answer(mean, log_variance, least)
        if int(found) != wanted:
            return (f"Of {width} numbers, looked at on {chips} chips, {wanted} say more than {least} nats on average, "
                    f"yours are {int(found)}.")


@exercise("09.2")
def worst_window(answer):
    for side, size in ((3, 16), (5, 20), (20, 20)):
        errors = 0.2 * torch.rand(3, 2, size, size)
        for chip, one in enumerate(errors):  # something small and strange, at a border of the chip as well
            row, column = (int(torch.randint(0, size - 2, ())) for _ in range(2)) if chip else (size - 2, 0)
            one[:, row : row + 2, column : column + 2] += torch.rand(2, 1, 1) * 4
        found = torch.as_tensor(answer(errors, side))
        if found.shape != (3,):
            return f"3 chips have 3 scores, yours are {tuple(found.shape)}."
        for one, yours in zip(errors.mean(1), found, strict=True):
            means = [one[r : r + side, c : c + side].mean() for r in range(size - side + 1)
                     for c in range(size - side + 1)]
            if not abs(float(yours) - float(max(means))) < 1e-4:
                return (f"The worst of {len(means)} windows of {side} x {side} px has the mean error {max(means):.4f}, "
                        f"yours is {yours:.4f}.")


@exercise("09.3")
def cheapest(answer):
    rare = {"share": 0.01, "cost_missed": 30.0, "cost_false": 1.0}
    hopeless = {"share": 0.001, "cost_missed": 1.0, "cost_false": 5.0}
    common = {"share": 0.6, "cost_missed": 1.0, "cost_false": 4.0}
    for case in (rare, common, hopeless):
        strange = torch.rand(200) < 0.3
        strange[:2] = torch.tensor([True, False])
        scores = torch.randn(200) + 1.5 * strange
        top = torch.where(strange, -math.inf, scores).argmax()
        scores[top] = scores.max() + 1  # a known chip is the strangest: flagging always costs something

        def cost(threshold, scores=scores, strange=strange, case=case):
            missed, false = (scores < threshold)[strange], (scores >= threshold)[~strange]
            every = case["share"] * case["cost_missed"], (1 - case["share"]) * case["cost_false"]
            return every[0] * float(missed.double().mean()) + every[1] * float(false.double().mean())

        best = min([*scores.tolist(), math.inf], key=cost)
        found = float(answer(scores, strange, **case))
        if not cost(found) <= cost(best) + 1e-6:
            told = ", ".join(f"{name} {value:g}" for name, value in case.items())
            return (f"With {told}: the threshold {best:.3f} costs {1000 * cost(best):.2f} per 1000 chips, yours, "
                    f"{found:.3f}, {1000 * cost(found):.2f}.")
