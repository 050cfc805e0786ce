"""What decides how a device rounds, beyond its kind: the model of a CPU, the driver of a GPU."""

import hashlib
import platform

import jax


def fingerprint(device: jax.Device) -> str:
    """Equal on two machines only where the same program should give the same bits.

    "cpu" says nothing: XLA compiles for the instructions that this CPU has.
    """
    if device.platform != "cpu":
        return device.client.platform_version
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    of_first = dict(
        (part.strip() for part in line.split(":", 1)) for line in reversed(lines) if ":" in line
    )
    flags = of_first.get("flags", of_first.get("Features", ""))
    digest = hashlib.sha256(flags.encode()).hexdigest()[:8]
    return f"{of_first.get('model name', platform.machine())}, instructions {digest}"
