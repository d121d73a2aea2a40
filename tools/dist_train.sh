#!/usr/bin/env bash
# bash tools/dist_train.sh CONFIG PROCESSES [arguments of train.py]
# One process a GPU; without GPUs the processes talk through gloo.
set -euo pipefail
CONFIG=$1
PROCESSES=$2
torchrun --nnodes "${NNODES:-1}" --node_rank "${NODE_RANK:-0}" --nproc_per_node "$PROCESSES" \
    --master_addr "${MASTER_ADDR:-127.0.0.1}" --master_port "${PORT:-29500}" \
    "$(dirname "$0")/train.py" "$CONFIG" --launcher pytorch "${@:3}"
