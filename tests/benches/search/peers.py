"""How near Optuna's samplers come to the minimum of a function, seed by seed.

usage: peers.py SAMPLER FUNCTION TRIALS FROM TO      samplers: tpe gp cmaes random qmc
                                                     functions: branin hartmann rosenbrock digits
Prints one line a seed: the simple regrets after 50, 100 and 200 trials, as far as they go, and of
the asks how many there were, their processor seconds in all and those of the longest. On `digits` the
studies of all seeds go on together: a line has the config of each, the line that answers it has the
error of each, or `failed`; the last line has the asks. `versions` alone prints those of the packages.
"""

import math
import os
import random
import sys
import time
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")
warnings.simplefilter("ignore")
LOOKS = (50, 100, 200)


def branin(x):
    a, b = 15 * x[0] - 5, 15 * x[1]
    bent = b - 5.1 / (4 * math.pi**2) * a**2 + 5 / math.pi * a - 6
    return bent**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10 - 0.39788735772973816


A = [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
P = [
    [0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886],
    [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
    [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650],
    [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381],
]


def hartmann(x):
    total = 0.0
    for c, a, p in zip((1.0, 1.2, 3.0, 3.2), A, P):
        total += c * math.exp(-sum(w * (u - v) ** 2 for w, u, v in zip(a, x, p)))
    return 3.322368011391339 - total


def rosenbrock(x):
    z = [4.096 * u - 2.048 for u in x]
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in zip(z, z[1:]))


# Axes, all of them from 0 to 1, and the standard deviation of a score's noise.
FUNCTIONS = {"branin": (branin, 2, 0.1), "hartmann": (hartmann, 6, 0.05), "rosenbrock": (rosenbrock, 10, 10.0)}


def sampler(name, seed):
    from optuna import samplers

    match name:
        case "tpe":
            return samplers.TPESampler(multivariate=True, constant_liar=True, seed=seed)
        case "gp":
            return samplers.GPSampler(seed=seed)
        case "cmaes":
            return samplers.CmaEsSampler(seed=seed)
        case "random":
            return samplers.RandomSampler(seed=seed)
        case "qmc":
            return samplers.QMCSampler(qmc_type="sobol", scramble=True, seed=seed)


class Asks:
    """How many, their processor seconds in all, and those of the longest."""

    def __init__(self):
        self.count, self.seconds, self.most = 0, 0.0, 0.0

    def config(self, study, suggest):
        began = time.process_time()
        trial = study.ask()
        config = suggest(trial)
        took = time.process_time() - began
        self.count, self.seconds, self.most = self.count + 1, self.seconds + took, max(self.most, took)
        return trial, config

    def said(self):
        return self.count, self.seconds, self.most


def search(name, function, trials, seed):
    import optuna

    truth, axes, sd = FUNCTIONS[function]
    noise = random.Random(f"{function} {seed}")
    study = optuna.create_study(sampler=sampler(name, seed))
    best, asks = (math.inf, math.inf), Asks()
    for number in range(1, trials + 1):
        trial, x = asks.config(study, lambda trial: [trial.suggest_float(f"x{axis}", 0, 1) for axis in range(axes)])
        true = truth(x)
        seen = true + sd * noise.gauss(0, 1)
        study.tell(trial, seen)
        best = min(best, (seen, true))
        if number in LOOKS:
            yield best[1]
    yield from asks.said()


def digits(name, trials, seeds):
    import optuna

    def suggest(trial):
        return (
            trial.suggest_float("lr", 1e-4, 1, log=True),
            trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True),
            trial.suggest_float("momentum", 0, 0.99),
            trial.suggest_float("dropout", 0, 0.6),
        )

    studies, asks = [optuna.create_study(sampler=sampler(name, seed)) for seed in seeds], Asks()
    for _ in range(trials):
        asked = [asks.config(study, suggest) for study in studies]
        print(*(number for _, config in asked for number in config), flush=True)
        for study, (trial, _), error in zip(studies, asked, input().split(), strict=True):
            if error == "failed":
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, float(error))
    print(*asks.said())


def main():
    import optuna

    if sys.argv[1:] == ["versions"]:
        import torch

        return print(f"Optuna {optuna.__version__}, torch {torch.__version__}")
    if sys.argv[1] == "gp":
        import torch

        torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    name, function, trials, first, last = sys.argv[1:]
    seeds = range(int(first), int(last))
    if function == "digits":
        return digits(name, int(trials), seeds)
    for seed in seeds:
        print(*search(name, function, int(trials), seed), flush=True)


main()
