"""The device on which models and autoencoders are to run."""

from data.errors import DeviceError
from pipeline.fetching.local import require_device


def device_problems(device: str) -> list[str]:
    """What keeps the recipe from running on its device."""
    try:
        require_device(device)
    except DeviceError as error:
        return [str(error)]
    return []
