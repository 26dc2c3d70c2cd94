"""The machines that Monosema runs on. As a script, with any Python: says in one line why it cannot run on this one.

The Makefile asks before it installs anything, so all of this is from the standard library, and of an old Python's.
"""

import platform
import sys

PYTHON = (3, 11)
GLIBC = (2, 28)
"""The oldest that PyTorch's builds for Linux take."""
PROCESSORS = {"Linux": ("x86_64", "aarch64"), "Darwin": ("arm64",)}
"""Those that have a build of the PyTorch in constraints.txt, by system."""
OTHERWISE = "use a container (docker-compose.yml), or Linux on x86-64 or 64-bit Arm"


def machine_obstacle(system: str, processor: str, python: "tuple[int, ...]", libc: "tuple[str, str]") -> str:
    """The reason why Monosema cannot run on a machine, and the remedy; "" when it can.

    As `platform` and `sys` name them. libc: the C library and its version, ("", "") where it is not glibc.
    """
    if system == "Windows":
        return "Monosema does not run on Windows itself (it locks files by fcntl): run it in WSL 2, which is Linux"
    if system == "Darwin" and processor == "x86_64":
        return "PyTorch has no build of this version for Macs with Intel processors: " + OTHERWISE
    if processor not in PROCESSORS.get(system, ()):
        return f"PyTorch has no build for {system or 'this system'} on {processor or 'this processor'}: {OTHERWISE}"
    if system == "Linux" and libc[0] != "glibc":
        return "PyTorch has no build for a Linux without glibc, such as Alpine: " + OTHERWISE
    if system == "Linux" and _numbers(libc[1]) < GLIBC:
        return f"PyTorch needs glibc {_text(GLIBC)} or newer, this is {libc[1]}: {OTHERWISE}"
    if python[:2] < PYTHON:
        return f"Monosema needs Python {_text(PYTHON)} or newer, this is {_text(python)}: set PYTHON=python3.11"
    return ""


def _text(version: "tuple[int, ...]") -> str:
    return ".".join(str(part) for part in version)


def _numbers(version: str) -> "tuple[int, ...]":
    return tuple(int(part) for part in version.split(".") if part.isdigit())


if __name__ == "__main__":
    reason = machine_obstacle(platform.system(), platform.machine(), tuple(sys.version_info[:3]), platform.libc_ver())
    sys.exit("Monosema cannot be installed here. " + reason + "." if reason else 0)
