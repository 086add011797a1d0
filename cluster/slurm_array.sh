#!/bin/sh
# One worker a task of a Slurm job array; each takes pending cells of one sweep from the shared folder until none is left.
#
#     sbatch --array=1-8 cluster/slurm_array.sh sweeps/memorization.yaml --runtime.out=/shared/runs
#
# The options below are defaults: those of the command line win (--partition, --gres=gpu:1, --time, --mem …).
# Submit it in the project's folder, which all nodes must see at the same path with its .venv (or set PYTHON).
#SBATCH --job-name=sweep
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --output=slurm-%A_%a.log
#SBATCH --open-mode=append
# A task that Slurm ends (a limit, a preemption) hears of it 90 s before, writes its checkpoint and gives its lock back;
# B: the signal goes to this shell, which passes it on.
#SBATCH --requeue
#SBATCH --signal=B:TERM@90

"${PYTHON:-.venv/bin/python}" -m scaling.sweep "$@" --workers="${SLURM_CPUS_PER_TASK:-1}" &
sweep=$!
trap 'kill -TERM "$sweep"' TERM INT

# `wait` returns at once when a signal came in, with the sweep still at its checkpoint: it is waited for again.
wait "$sweep"
code=$?
while kill -0 "$sweep" 2>/dev/null; do
    wait "$sweep"
    code=$?
done

# 143: cells are left, and the time of this task is over. A requeued task goes on where it stopped; at most 100 times.
if [ "$code" -eq 143 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 100 ]; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"
fi
exit "$code"
