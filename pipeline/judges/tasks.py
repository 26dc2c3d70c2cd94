"""The tasks by which labels are scored.

specificity   how well the label names what stands at the marked tokens, 0 to 3: the rubric of Templeton et al.,
              Scaling Monosemanticity (2024), "Specificity"
detection     whether the text has what the label names, no or yes: Paulo et al., Automatically Interpreting
              Millions of Features (2024)
fuzzing       whether the label names all tokens that are marked, no or yes: the same
"""

from pipeline.judges.protocol import Task
from pipeline.models.nearness import CLOSE, OPEN

SPECIFICITY = Task(
    name="specificity",
    version=1,
    instruction=(
        "You judge how well a label describes the marked part of a text. The marked part stands between "
        f"{OPEN} and {CLOSE}. Answer with one digit.\n"
        "0: the label has nothing to do with the text.\n"
        "1: the label fits the text, but nothing near the marked part.\n"
        "2: the label fits something near the marked part, or fits it loosely.\n"
        "3: the label says exactly what the marked part is."
    ),
    allowed=("0", "1", "2", "3"),
    subject="marked",
    shown=(
        ("months", f"The village was founded in{OPEN} April{CLOSE} 1832 by two brothers.", "3"),
        ("numbers", f"She sang with the band for years before{OPEN} leaving{CLOSE} it.", "0"),
        ("rivers", f"The road follows the Thames as far as the old{OPEN} bridge{CLOSE}.", "2"),
        ('"of"', f"He was the first governor{OPEN} of{CLOSE} the province.", "3"),
        ("colours", f"The team{OPEN} won{CLOSE} the cup in its second season.", "0"),
    ),
)

DETECTION = Task(
    name="detection",
    version=1,
    instruction=(
        "You are given a label and a text. Say whether what the label names occurs in the text. "
        "Answer with one digit: 1 for yes, 0 for no."
    ),
    allowed=("0", "1"),
    subject="text",
    shown=(
        ("months", "The village was founded in April 1832 by two brothers.", "1"),
        ("rivers", "She sang with the band for years before leaving it.", "0"),
        ('"of"', "He was the first governor of the province.", "1"),
        ("colours", "The team won the cup in its second season.", "0"),
    ),
)

FUZZING = Task(
    name="fuzzing",
    version=1,
    instruction=(
        f"You are given a label and a text in which tokens are marked with {OPEN} and {CLOSE}. Say whether every "
        "marked token is what the label names. Answer with one digit: 1 for yes, 0 for no."
    ),
    allowed=("0", "1"),
    subject="marked",
    shown=(
        ("months", f"The village was founded in{OPEN} April{CLOSE} 1832 by two brothers.", "1"),
        ("months", f"The village was{OPEN} founded{CLOSE} in April 1832 by two brothers.", "0"),
        ('"of"', f"He was the first governor{OPEN} of{CLOSE} the province.", "1"),
        ("colours", f"The team{OPEN} won{CLOSE} the cup in its second season.", "0"),
    ),
)

TASKS = {task.name: task for task in (SPECIFICITY, DETECTION, FUZZING)}
"""By name, in the order in which they are asked and stored."""

TOPIC = Task(
    name="topic",
    version=1,
    instruction=(
        "You are given a label and a text. Say how much the text is about what the label names. "
        "Answer with one digit.\n"
        "0: nothing in the text has to do with the label.\n"
        "1: the text touches on something near to the label.\n"
        "2: some of the text is about what the label names.\n"
        "3: the text is clearly about what the label names."
    ),
    allowed=("0", "1", "2", "3"),
    subject="text",
    shown=(
        ("months", "I am a man who was born in April and married in the June after it.", "3"),
        ("rivers", "She is the daughter of a teacher, and went to school in the city.", "0"),
        ("music", "I am a student of history, and in the evenings I play in a band.", "2"),
        ("war", "She is the head of a company that makes shoes for children.", "0"),
        ("weather", "I am a farmer, and I hope that the fields will not be dry.", "1"),
    ),
)
"""Whether a text that was written is about a label. It is asked of texts with features held, see
pipeline/scores/written.py, and scores no label."""
