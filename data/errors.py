"""Errors that a person can fix. Every message says what is wrong and what to do about it.

    MonosemaError
    ├── ConfigError        an unknown recipe or field, a value out of range
    │   └── PreflightError all that keeps a recipe from running, found before it runs
    ├── FormatError        an SAE of another library that is missing, damaged, or of a kind that cannot be read
    ├── CorpusError        an empty corpus, a file that cannot be read, a missing text field
    ├── DeviceError        a device that was asked for and is not there
    ├── StorageError       a full disk, a folder that cannot be written
    ├── ServeError         a port in use, nothing published yet
    ├── JudgeError         a judge that cannot be asked, or refuses
    │   └── NonsenseError  a judge whose answers are none of those allowed
    └── ArtifactError      an artifact that is missing, damaged, or of another run
        └── ContractError  an artifact of another contract version

The command line prints the message alone, without a traceback, and exits with 1.
`pipeline.models` raises its own `ModelError`, because it may import nothing else of ours.
"""

from collections.abc import Sequence


class MonosemaError(Exception):
    """Root of every error that is shown to a person as a plain message."""


class ConfigError(MonosemaError):
    """The recipe or an option is wrong."""


class PreflightError(ConfigError):
    """The recipe cannot run here, for one reason or several."""

    def __init__(self, problems: Sequence[str]) -> None:
        """problems: a sentence for each, with what to do."""
        self.problems = tuple(problems)
        lines = [f"  {number}. {problem}" for number, problem in enumerate(problems, 1)]
        several = f"{len(lines)} things keep this recipe from running; nothing was begun:\n" + "\n".join(lines)
        super().__init__(problems[0] if len(lines) == 1 else several)


class FormatError(MonosemaError):
    """An SAE of another library cannot be used."""


class CorpusError(MonosemaError):
    """The corpus cannot be used."""


class DeviceError(MonosemaError):
    """The device that was asked for is not there."""


class StorageError(MonosemaError):
    """The store cannot be written."""


class ServeError(MonosemaError):
    """The server cannot start."""


class JudgeError(MonosemaError):
    """A judge cannot be asked, or what it answers cannot be used."""


class NonsenseError(JudgeError):
    """A judge is given up, for too few of its answers are among those allowed."""


class ArtifactError(MonosemaError):
    """An artifact is missing, damaged, or of another run."""


class ContractError(ArtifactError):
    """An artifact was written under another version of the contract."""
