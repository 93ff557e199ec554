"""Artifacts on other processors, emulated: onnxruntime's wheel on aarch64, the C form on aarch64, armv7 and riscv64.

    scripts/install_cross_tools.sh all
    python scripts/try_arm64.py build/keywords build/sysid ... [--json docs/processors.json]

Every stream runs the same held-out samples; differences are from onnxruntime on this machine, relative to the largest answer.
The wheel needs a Python of aarch64: the script unpacks Debian's, without installing it, and the wheels of PyPI, into a folder
(`--root`) that later runs use again.  Times under emulation mean nothing.  Exit code 1 if a difference is above 1e-4.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np

from ssm2edge.artifact import Artifact, open_artifact
from ssm2edge.firmware import firmware_of
from ssm2edge.firmware.comparing import block_shape, largest_error, run_stream
from ssm2edge.firmware.driver import Array, step_program
from ssm2edge.firmware.host import run_on_host
from ssm2edge.firmware.verifying import long_stream
from ssm2edge.runtime import Model

LIMIT = 1e-4
SAMPLES, STREAMED = 4_000, 200
"""Samples through the C form, and through the wheel, block by block."""
FLAGS = ("-O3", "-ffp-contract=fast", "-static")
PROCESSORS = {
    "aarch64": ("aarch64-linux-gnu-gcc", "qemu-aarch64", ()),
    "armv7": ("arm-linux-gnueabihf-gcc", "qemu-arm", ("-mfpu=neon-vfpv4", "-march=armv7-a+simd")),
    "riscv64": ("riscv64-linux-gnu-gcc", "qemu-riscv64", ()),
}
"""Compiler, emulator and flags by processor."""
DEBIAN = (
    "libc6", "libgcc-s1", "libstdc++6", "zlib1g", "libexpat1", "libffi8", "libbz2-1.0", "liblzma5", "libssl3", "libcrypt1",
    "libuuid1", "libpython3.11-minimal", "libpython3.11-stdlib", "python3.11-minimal",
)  # fmt: skip
CPU = "processor\t: {place}\nBogoMIPS\t: 100.00\nFeatures\t: fp asimd crc32\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n\n"
"""The emulator shows this machine's processors, whose lines onnxruntime cannot read; what stands below its root goes first."""
SCRIPT = """
import json, sys, numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
for name in json.load(open("graphs.json")):
    told = json.load(open(name + ".json"))
    session = onnxruntime.InferenceSession(told["graph"], options, providers=["CPUExecutionProvider"])
    given = np.load(name + ".npz")
    if not told["states"]:
        names = [value.name for value in session.get_outputs()]
        np.savez(name + ".found.npz", **dict(zip(names, session.run(names, dict(given)))))
        continue
    names = told["outputs"] + [s["output"] for s in told["states"]]
    states = {s["input"]: np.full([1, *s["shape"]], s["initial"], s["dtype"]) for s in told["states"]}
    rows = {key: [] for key in told["outputs"]}
    for turn in range(len(next(iter(given.values())))):
        feeds = {key: value[turn].reshape(told["shapes"][key]) for key, value in given.items()}
        found = dict(zip(names, session.run(names, {**feeds, **states})))
        states = {s["input"]: found[s["output"]] for s in told["states"]}
        for key in rows:
            rows[key].append(found[key].ravel())
    np.savez(name + ".found.npz", **{key: np.stack(value) for key, value in rows.items()})
print(onnxruntime.__version__)
"""


def prepare(root: Path, version: str) -> None:
    """Unpack a Python of aarch64 and the wheels of numpy and onnxruntime below a folder."""
    if (root / "done").exists():
        return
    for part in ("lists/partial", "archives/partial", "proc"):
        (root / part).mkdir(parents=True, exist_ok=True)
    places = [f"Dir::State::Lists={root}/lists", f"Dir::Cache::Archives={root}/archives", f"Dir::Cache={root}"]
    kinds = ["APT::Architecture=arm64", "APT::Architectures=arm64", "APT::Sandbox::User=root"]
    apt = ["apt-get", "-qq", *(word for option in (*places, *kinds) for word in ("-o", option))]
    subprocess.run([*apt, "update"], check=True)
    subprocess.run([*apt, "download", *DEBIAN], check=True, cwd=root / "archives")
    for package in sorted((root / "archives").glob("*.deb")):
        subprocess.run(["dpkg", "-x", str(package), str(root)], check=True)
    (root / "proc" / "cpuinfo").write_text("".join(CPU.format(place=place) for place in range(os.cpu_count() or 1)))
    platforms = ["--platform", "manylinux_2_28_aarch64", "--platform", "manylinux_2_27_aarch64", "--python-version", "3.11"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:", *platforms, "--target", str(root / "site")]
    subprocess.run([*pip, "numpy<2.4", f"onnxruntime=={version}"], check=True)
    (root / "done").touch()


def save(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays by name."""
    np.savez(path, allow_pickle=False, **dict(arrays))


def on_wheel(artifact: Artifact, root: Path) -> dict[str, float]:
    """Return the differences of both graphs in onnxruntime's wheel of aarch64."""
    with tempfile.TemporaryDirectory() as place:
        folder, names = Path(place), ["offline"]
        inputs = {name: value[:2] for name, value in artifact.reference.inputs.items()}
        with Model(artifact.offline) as model:
            expected = {"offline": model.run(inputs)}
        (folder / "offline.json").write_text(json.dumps({"graph": str(artifact.offline.resolve()), "states": []}))
        save(folder / "offline.npz", inputs)
        if artifact.stream is not None:
            firmware = firmware_of(artifact)
            sequence = long_stream(firmware, artifact.reference, STREAMED * (firmware.step.signature.block or 1))
            (expected["stream"],) = run_stream(artifact.stream, [sequence])
            signature = firmware.step.signature
            told = {
                "graph": str(artifact.stream.resolve()),
                "outputs": [port.name for port in signature.outputs],
                "shapes": {port.name: block_shape(port, signature.block or 1) for port in signature.inputs},
                "states": [
                    {
                        "input": s.input,
                        "output": s.output,
                        "shape": list(s.shape),
                        "initial": s.initial,
                        "dtype": str(np.dtype(s.dtype)),
                    }
                    for s in signature.states
                ],
            }
            (folder / "stream.json").write_text(json.dumps(told))
            save(folder / "stream.npz", sequence)
            names.append("stream")
        (folder / "graphs.json").write_text(json.dumps(names))
        environment = {"PYTHONPATH": str(root / "site"), "PYTHONHOME": str(root / "usr"), "HOME": place, "OMP_NUM_THREADS": "1"}
        command = ["qemu-aarch64", "-L", str(root), str(root / "usr" / "bin" / "python3.11"), "-c", SCRIPT]
        subprocess.run(command, cwd=folder, env=environment | {"PATH": os.environ["PATH"]}, check=True, capture_output=True)
        return {name: largest_error([dict(np.load(folder / f"{name}.found.npz"))], [expected[name]]) for name in names}


def as_c(artifact: Artifact) -> dict[str, float]:
    """Return the differences of the C form, by processor."""
    if artifact.stream is None:
        return {}
    firmware, found = firmware_of(artifact), {}
    sequence = long_stream(firmware, artifact.reference, SAMPLES)
    expected = run_stream(artifact.stream, [sequence])
    for processor, (compiler, emulator, flags) in PROCESSORS.items():
        with tempfile.TemporaryDirectory() as place:
            program = step_program(firmware.step, firmware.names)
            run = run_on_host(program, [sequence], Path(place), (*FLAGS, *flags), 0, (compiler,), (emulator,))
        found[processor] = largest_error(run.outputs, expected)
    return found


@click.command()
@click.argument("directories", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--root", default="build/aarch64", show_default=True, type=click.Path(path_type=Path), help="Folder of the Python.")
@click.option("--version", default="1.23.2", show_default=True, help="Of onnxruntime's wheel.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="File to add the figures to, model by model.")
def main(directories: tuple[Path, ...], root: Path, version: str, target: Path | None) -> None:
    """Run artifacts on emulated processors."""
    prepare(root.resolve(), version)
    figures = json.loads(target.read_text(encoding="utf-8")) if target is not None and target.exists() else {}
    worst = 0.0
    for directory in directories:
        artifact = open_artifact(directory)
        wheel, c = on_wheel(artifact, root.resolve()), as_c(artifact)
        name = directory.resolve().name
        figures[name] = {"onnxruntime": {"version": version, **wheel}, "c": c}
        told = [f"{key} {value:.1g}" for key, value in (*wheel.items(), *((f"C on {key}", value) for key, value in c.items()))]
        click.echo(f"{name}: onnxruntime {version} on aarch64: {', '.join(told)}")
        worst = max(worst, *wheel.values(), *c.values())
        if target is not None:
            target.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    sys.exit(not worst <= LIMIT)


if __name__ == "__main__":
    main()
