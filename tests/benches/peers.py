"""Tasks that do nothing, a second, through other systems: two worker slots each, on this machine.

usage: peers.py NAME FOLDER     one of: ray dask hyperqueue optuna
Prints one number: tasks a second, from the first submission to the last result at the submitter.
"""

import multiprocessing
import os
import sys
import time

SLOTS = 2


def ray(folder):
    import ray

    ray.init(num_cpus=SLOTS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")

    @ray.remote
    def nothing(n):
        return n

    ray.get([nothing.remote(n) for n in range(200)])
    began = time.perf_counter()
    ray.get([nothing.remote(n) for n in range(20_000)])
    rate = 20_000 / (time.perf_counter() - began)
    ray.shutdown()
    return rate


def dask(folder):
    from distributed import Client, LocalCluster

    settings = dict(n_workers=SLOTS, threads_per_worker=1, dashboard_address=None)
    with LocalCluster(local_directory=folder, **settings) as cluster, Client(cluster) as client:
        client.gather(client.map(abs, range(200), pure=False))
        began = time.perf_counter()
        client.gather(client.map(abs, range(5_000), pure=False))
        return 5_000 / (time.perf_counter() - began)


def hyperqueue(folder):
    from hyperqueue import Job, LocalCluster
    from hyperqueue.cluster import WorkerConfig

    with LocalCluster(folder, WorkerConfig(cores=SLOTS)) as cluster:
        client = cluster.client()

        def run(tasks):
            job = Job()
            for _ in range(tasks):
                job.program(["true"], stdout=None, stderr=None)
            began = time.perf_counter()
            client.wait_for_jobs([client.submit(job)])
            return time.perf_counter() - began

        run(50)
        return 3_000 / run(3_000)


def optuna_slot(storage, trials):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(study_name="nothing", storage=storage)
    for _ in range(trials):
        trial = study.ask()
        study.tell(trial, float(trial.number % 7))


def optuna(folder):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = f"sqlite:///{folder}/trials.db"
    optuna.create_study(study_name="nothing", storage=storage)
    slots = [
        multiprocessing.Process(target=optuna_slot, args=(storage, 150)) for _ in range(SLOTS)
    ]
    began = time.perf_counter()
    for slot in slots:
        slot.start()
    for slot in slots:
        slot.join()
    done = len(optuna.load_study(study_name="nothing", storage=storage).trials)
    return done / (time.perf_counter() - began)


if __name__ == "__main__":
    name, folder = sys.argv[1:]
    # What the peers print is not the figure.
    figures = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    rate = {"ray": ray, "dask": dask, "hyperqueue": hyperqueue, "optuna": optuna}[name](folder)
    print(f"{rate:.1f}", file=figures, flush=True)
    # Some leave threads behind.
    os._exit(0)
