"""Features that are live, rare and dead, of each SAE that is published.

The store is that of MONOSEMA_STORE, else the default one.
Rare is what is active on fewer than RARE_TOKENS tokens, whatever the run's recipe says, so that runs can be compared.
"""

from backend.published.catalogue import Library, OpenSAE
from data.sql.database import connect, database_url
from tests.benchmarks.server import demo_store
from tests.benchmarks.table import Row

RARE_TOKENS = 100
TARGET = 0.1
"""Share of rare features."""


def run() -> list[Row]:
    store = demo_store()
    engine = connect(database_url(store))
    saes = [sae for run in Library(engine, store).catalogue().runs for sae in run.saes]
    engine.dispose()
    return [_row(sae) for sae in saes]


def _row(sae: OpenSAE) -> Row:
    def count(where: str) -> int:
        return sae.run.tables.count_features(f"sae = '{sae.name}' AND {where}")

    dead, rare = count("num_active = 0"), count(f"num_active > 0 AND num_active < {RARE_TOKENS}")
    share, metrics = rare / sae.num_features, sae.record.metrics
    return Row(
        f"features of {sae.name}",
        f"{sae.num_features - dead - rare:,} live, {rare:,} rare ({share:.1%}), {dead:,} dead",
        f"{TARGET:.0%} rare (target)",
        TARGET / share if share else 1.0,
        f"rare: on fewer than {RARE_TOKENS} of {sae.run.num_tokens:,} tokens; "
        f"explained variance {metrics['explained_variance']:.3f}, L0 {metrics['l0']:.1f}",
    )


if __name__ == "__main__":
    print(*run(), sep="\n")
