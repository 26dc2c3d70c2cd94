"""The stages, one module each; they meet in artifacts and never import each other."""

STAGES = (
    "fetch",
    "tokenize",
    "harvest",
    "train",
    "examples",
    "evaluate",
    "explain",
    "respond",
    "effects",
    "neurons",
    "score",
    "embed",
    "compare",
    "completeness",
    "strengths",
    "neighbours",
    "project",
    "scale",
    "publish",
)
"""Their names, in order."""
