#!/usr/bin/env bash
# Evaluates with several processes: on one machine, or on each of several.
set -euo pipefail
tools=$(cd "$(dirname "$0")" && pwd)

if [ $# -lt 3 ] || ! [[ $3 =~ ^[1-9][0-9]*$ ]]; then
  cat >&2 <<END
usage: $0 CONFIG CHECKPOINT GPUS [options of test.py]

GPUS is the number of processes on this machine, one for each GPU. On several
machines call it on each of them, with these in the environment:
  NNODES       number of machines (1)
  NODE_RANK    which one this is, from 0 (0)
  MASTER_ADDR  address of machine 0 (127.0.0.1)
  PORT         a free port of machine 0 (29500)
  PYTHON       interpreter (.venv/bin/python here, else python)
END
  exit 2
fi
config=$1 checkpoint=$2 gpus=$3
shift 3
if [ -z "${PYTHON:-}" ]; then
  PYTHON=$tools/../.venv/bin/python
  [ -x "$PYTHON" ] || PYTHON=python
fi
exec "$PYTHON" -m torch.distributed.run \
  --nnodes "${NNODES:-1}" --node_rank "${NODE_RANK:-0}" \
  --master_addr "${MASTER_ADDR:-127.0.0.1}" --master_port "${PORT:-29500}" \
  --nproc_per_node "$gpus" \
  "$tools/test.py" "$config" "$checkpoint" --launcher pytorch "$@"
