"""Trials a second through Optuna's durable storages, with nothing to train.

Each trial stores the metrics and row scores that the coordinator's benchmark stores. Prints
`sqlite N` and `journal N`, trials a second.
"""

import sys
import tempfile
import time

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

METRICS = 4
TEST_ROWS = 114


def objective(trial):
    trial.suggest_categorical("config", [0, 1, 2, 3, 4])
    trial.set_user_attr("metrics", [0.5] * METRICS)
    trial.set_user_attr("rows", [0.5] * TEST_ROWS)
    return 0.5


def rate(storage, trials):
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(storage=storage, sampler=sampler)
    begun = time.perf_counter()
    study.optimize(objective, n_trials=trials)
    return trials / (time.perf_counter() - begun)


def main():
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    with tempfile.TemporaryDirectory(dir=".") as folder:
        print(f"sqlite {rate(f'sqlite:///{folder}/study.db', trials):.1f}")
        backend = JournalFileBackend(f"{folder}/study.log")
        print(f"journal {rate(JournalStorage(backend), trials):.1f}")


main()
