#!/bin/bash
# Run a list of experiments as an array of Slurm jobs: each has a line of the list and a clone.
# Command: sbatch -W --array=1-12%4 recipes/cluster/array.sh recipes/ablation.txt evaluate
# All machines must see the project's folder and DVC's cache. Commit dvc.lock first: jobs take the
# data set that it names from the cache. The last word, a stage to stop at, may be left out.
set -euo pipefail
read -r name settings < <(grep -Ev '^(#|[[:space:]]*$)' "$1" | sed -n "${SLURM_ARRAY_TASK_ID}p") ||
    { echo "$1 has no line $SLURM_ARRAY_TASK_ID" >&2; exit 1; }
project=$SLURM_SUBMIT_DIR
clone=$(mktemp -d)
git clone --quiet "$project" "$clone"
# States of trainings outlive the clone: a job that is ended resumes when it is submitted again.
mkdir -p "$project/.scratch/train" "$clone/.scratch"
ln -s "$project/.scratch/train" "$clone/.scratch/train"
cache=$(dvc cache dir)
cd "$clone"
dvc cache dir --local "$cache"
dvc checkout --quiet data/dataset.npz
# shellcheck disable=SC2086 # settings are several words
dvc exp run --name "$name" $settings "${@:2}"
dvc exp push --no-cache origin "$name"
rm -rf "$clone" # not where the job is ended: its training may be saving its state then
