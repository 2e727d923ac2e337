"""Search for settings with Optuna; each trial is an experiment of DVC, which `dvc exp show` lists.

Command: pip install optuna==5.0.0 && python recipes/cluster/search.py 20 (trials). The same
command adds as many trials to an earlier search, also to an interrupted one.
`dvc exp apply trial-N` applies the best one.
"""

import json
import subprocess
import sys
from pathlib import Path

import optuna


def validation_loss(trial: optuna.Trial) -> float:
    """Train with the settings of a trial, and return the loss of the validation images."""
    settings = {
        "train.learning_rate": trial.suggest_float("learning_rate", 5e-4, 1e-2, log=True),
        "train.weight_decay": trial.suggest_float("weight_decay", 0.01, 0.3, log=True),
        "model.num_layers": trial.suggest_int("num_layers", 3, 6),
    }
    options = [f"--set-param={name}={value}" for name, value in settings.items()]
    command = ["dvc", "exp", "run", "--name", f"trial-{trial.number}", *options, "evaluate"]
    if subprocess.run(command, check=False).returncode:  # noqa: S603, names and numbers from above
        sys.exit(f"error: trial-{trial.number} has failed, as the lines above say")
    return json.loads(Path("results/metrics.json").read_text("utf-8"))["validation"]["loss"]


if len(sys.argv) != 2 or not sys.argv[1].isdecimal():
    sys.exit("error: name the number of trials, for example: python recipes/cluster/search.py 20")
Path(".scratch").mkdir(exist_ok=True)
study = optuna.create_study(
    study_name="search", storage="sqlite:///.scratch/search.db", load_if_exists=True
)
study.optimize(validation_loss, n_trials=int(sys.argv[1]))
print(f"best: trial-{study.best_trial.number} {study.best_params}")
