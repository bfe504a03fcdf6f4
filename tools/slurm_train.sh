#!/usr/bin/env bash
# Trains on a Slurm cluster: one task for each GPU.
set -euo pipefail
tools=$(cd "$(dirname "$0")" && pwd)

if [ $# -lt 4 ] || [[ $4 == -* ]]; then
  cat >&2 <<END
usage: $0 PARTITION JOB_NAME CONFIG WORK_DIR [options of train.py]

In the environment:
  GPUS           of the whole job (8)
  GPUS_PER_NODE  of each machine (8, or GPUS if that is less)
  CPUS_PER_TASK  cores for each GPU (5)
  SRUN_ARGS      more arguments of srun
  MASTER_PORT    a free port of the first machine (29500)
  PYTHON         interpreter (.venv/bin/python here, else python)
END
  exit 2
fi
partition=$1 job_name=$2 config=$3 work_dir=$4
shift 4
gpus=${GPUS:-8}
gpus_per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
if [ -z "${PYTHON:-}" ]; then
  PYTHON=$tools/../.venv/bin/python
  [ -x "$PYTHON" ] || PYTHON=python
fi
# SRUN_ARGS is split into words on purpose.
# shellcheck disable=SC2086
exec srun --partition="$partition" --job-name="$job_name" \
  --gres=gpu:"$gpus_per_node" --ntasks="$gpus" \
  --ntasks-per-node="$gpus_per_node" \
  --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
  ${SRUN_ARGS:-} \
  "$PYTHON" -u "$tools/train.py" "$config" --work-dir "$work_dir" \
  --launcher slurm "$@"
