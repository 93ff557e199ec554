#!/usr/bin/env bash
# Installs what `ssm2edge verify --target cortex-m4` and `cortex-m33` need, on Debian and its relatives: a compiler for Cortex-M,
# its C library and QEMU.  Run it as root.
set -euo pipefail

export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install --yes --no-install-recommends gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm
arm-none-eabi-gcc --version | head -1
qemu-system-arm --version | head -1
