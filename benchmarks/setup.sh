#!/usr/bin/env bash
# Makes the environment of the benchmarks, benchmarks/.venv, from the package registry. PyTorch takes some 6 GB.
set -euo pipefail
cd "$(dirname "$0")"
python3 -m venv .venv
.venv/bin/pip install --quiet --requirement requirements.txt
