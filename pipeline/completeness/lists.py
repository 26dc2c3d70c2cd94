"""The lists of concepts that a recipe names."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from data.concepts.lists import Concept, ConceptList, kin_of, parse_concepts
from data.errors import ConfigError

FOLDER = Path(__file__).parent / "concepts"


class NamedList(NamedTuple):
    """A list of concepts, with its name in addresses."""

    name: str
    content: ConceptList


def list_names() -> list[str]:
    """Lists that come with the code."""
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def load_lists(names: Sequence[str]) -> list[NamedList]:
    """Lists of ours by name, or any text file by path.

    Raises ConfigError for what is no such list, or a name that comes twice.
    """
    found = [NamedList(Path(name).stem, _load(name)) for name in names]
    for one in found:
        if [other.name for other in found].count(one.name) > 1:
            raise ConfigError(f"two lists of concepts are called '{one.name}': rename a file")
    return found


def _load(name: str) -> ConceptList:
    path = FOLDER / f"{name}.txt" if name in list_names() else Path(name)
    if path.suffix != ".txt" or not path.is_file():
        raise ConfigError(
            f"there is no list of concepts '{name}': use some of {', '.join(list_names())}, or the path of a .txt"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text in UTF-8 ({error}): give a plain text file") from None
    return parse_concepts(text, str(path))


class AllConcepts(NamedTuple):
    """The concepts of all lists, one list after the other, and their prompts."""

    concepts: list[Concept]
    list_of: list[int]
    """Number of the list of each."""
    prompts: list[str]
    """Those of a concept in a row."""
    num_prompts: list[int]
    """Of each concept."""
    kin: list[tuple[int, int]]

    @classmethod
    def of(cls, lists: Sequence[ConceptList]) -> "AllConcepts":
        """Of some lists in their order."""
        pairs = [(number, one, concept) for number, one in enumerate(lists) for concept in one.concepts]
        prompts = [one.prompts(concept) for _, one, concept in pairs]
        concepts = [concept for *_, concept in pairs]
        return cls(
            concepts=concepts,
            list_of=[number for number, *_ in pairs],
            prompts=[text for texts in prompts for text in texts],
            num_prompts=list(map(len, prompts)),
            kin=kin_of(concepts),
        )
