#!/usr/bin/env bash
# Installs what `ssm2edge verify --target cortex-m4` and `cortex-m33` need, on Debian and its relatives: a compiler for Cortex-M,
# its C library and QEMU.  With `all`, also what scripts/try_arm64.py needs: compilers for armv7, aarch64 and riscv64, and QEMU for
# their programs.  Run it as root.
set -euo pipefail

export DEBIAN_FRONTEND=noninteractive
packages=(gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm)
if [ "${1:-}" = all ]; then
  packages+=(gcc-arm-linux-gnueabihf libc6-dev-armhf-cross gcc-aarch64-linux-gnu libc6-dev-arm64-cross)
  packages+=(gcc-riscv64-linux-gnu libc6-dev-riscv64-cross qemu-user)
fi
apt-get -qq update
apt-get -qq install --yes --no-install-recommends "${packages[@]}"
arm-none-eabi-gcc --version | head -1
qemu-system-arm --version | head -1
