"""The features and SAEs that an address of splitting names."""

from backend.exceptions import NotFoundError, RefusedError
from backend.published.catalogue import Library, OpenRun, OpenSAE
from backend.published.lookup import find_feature
from backend.splitting.sizes import smaller_than
from backend.splitting.sizes_page import ALL_SMALLER


def named_feature(library: Library, name: str) -> tuple[OpenSAE, int]:
    """SAE and index of `model/sae/index`. Raises NotFoundError."""
    try:
        return find_feature(library, name)
    except RefusedError as error:
        raise NotFoundError(str(error)) from None


def named_sae(run: OpenRun, name: str) -> OpenSAE:
    """An SAE of a run by its name. Raises NotFoundError."""
    found = next((sae for sae in run.saes if sae.name == name), None)
    if found is None:
        raise NotFoundError(f"There is no SAE '{name}' in run '{run.name}'.")
    return found


def smaller_saes(sae: OpenSAE, name: str) -> list[OpenSAE]:
    """The SAEs to compare with. Raises NotFoundError."""
    if name != ALL_SMALLER:
        other = named_sae(sae.run, name)
        if other is sae:
            raise NotFoundError(f"'{name}' is the SAE itself: name another one.")
        return [other]
    if not (smaller := smaller_than(sae)):
        raise NotFoundError(f"No SAE of run '{sae.run.name}' is smaller than '{sae.name}': name another one.")
    return smaller
