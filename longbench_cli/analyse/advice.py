"""What would make this machine a better place to measure: one line a remedy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from longbench_cli.measure.capability import DeviceRates
from longbench_cli.measure.machine import Cpu, Gpu, Machine

BUSY_SHARE = 0.25
"""Load average a core above which others are taken to disturb."""

NOISY = 0.02
"""Drift of the noise floor above which two runs cannot be told apart at the usual 1 to 2%."""


def advise(machine: Machine, rates: Sequence[DeviceRates], missing: Mapping[str, str]) -> list[str]:
    """Remedies, most useful first; ``missing`` maps a back end of this machine's devices to why it is not there."""
    return [*_noise(rates), *_cpu(machine.cpu), *_gpus(machine), *_backends(machine, missing)]


def _noise(rates: Sequence[DeviceRates]) -> Iterator[str]:
    for device in rates:
        if device.noise.drift > NOISY:
            yield (
                f"{device.device}: repeats drift by {device.noise.drift:.1%}; believe only larger differences "
                "between runs, or measure both things in one run"
            )


def _cpu(cpu: Cpu) -> Iterator[str]:
    if cpu.load > BUSY_SHARE * cpu.usable_cores:
        yield f"load average {cpu.load:.2f} on {cpu.usable_cores} cores: stop what else runs, or wait"
    if cpu.governor not in (None, "performance"):
        yield f"frequency governor {cpu.governor}: cpupower frequency-set --governor performance"
    if cpu.threads > cpu.physical_cores:
        yield (
            f"torch uses {cpu.threads} threads on {cpu.physical_cores} physical cores: "
            f"--threads {cpu.physical_cores} is steadier"
        )
    if cpu.usable_cores < cpu.threads:
        yield f"torch uses {cpu.threads} threads on {cpu.usable_cores} usable cores: --threads {cpu.usable_cores}"
    if cpu.smt:
        yield "SMT is on, so two threads may share a core: pin with taskset to one thread a core, or switch it off"


def _gpus(machine: Machine) -> Iterator[str]:
    if machine.gpus and not machine.torch_gpus:
        build = f"its CUDA is {machine.torch_cuda}" if machine.torch_cuda else "it is built without CUDA"
        driver = machine.gpus[0].driver
        yield f"torch {machine.torch} cannot use the GPUs ({build}): install a build for driver {driver}"
    for gpu in machine.gpus:
        yield from _gpu(gpu)


def _gpu(gpu: Gpu) -> Iterator[str]:
    if gpu.processes:
        yield f"GPU {gpu.index} already runs {gpu.processes} process(es): stop them, or choose another GPU"
    if gpu.persistence is False:
        yield f"GPU {gpu.index} has persistence mode off, so its driver unloads between points: nvidia-smi -pm 1"


def _backends(machine: Machine, missing: Mapping[str, str]) -> Iterator[str]:
    absent = [name for name in missing if name.startswith("flash-attn")]
    if machine.torch_gpus and absent:
        yield f"back ends {', '.join(absent)} are missing: pip install 'longbench-cli[flash]'"
