#!/usr/bin/env bash
# bash tools/dist_test.sh CONFIG [CHECKPOINT] PROCESSES [arguments of test.py]
# A recipe needs no checkpoint: its last stage is scored.
set -euo pipefail
CONFIG=$1
shift
CHECKPOINT=()
if ! [[ $1 =~ ^[0-9]+$ ]]; then
    CHECKPOINT=("$1")
    shift
fi
PROCESSES=$1
torchrun --nnodes "${NNODES:-1}" --node_rank "${NODE_RANK:-0}" --nproc_per_node "$PROCESSES" \
    --master_addr "${MASTER_ADDR:-127.0.0.1}" --master_port "${PORT:-29501}" \
    "$(dirname "$0")/test.py" "$CONFIG" "${CHECKPOINT[@]}" --launcher pytorch "${@:2}"
