"""Small closed classes of English words that people name at sight: a label says `months`, not twelve words.

A corpus in another language simply has none of them; the words themselves are then what a label can say.
"""

_CLASSES = {
    "months": "january february march april may june july august september october november december",
    "days of the week": "monday tuesday wednesday thursday friday saturday sunday",
    "seasons": "spring summer autumn fall winter",
    "number words": (
        "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
        "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion"
    ),
    "ordinals": "first second third fourth fifth sixth seventh eighth ninth tenth twentieth last final",
    "forms of be": "be am is are was were been being",
    "forms of have": "have has had having",
    "modal verbs": "can could may might must shall should will would cannot",
    "personal pronouns": "i you he she it we they me him her us them",
    "possessives": "my your his her its our their whose",
    "articles": "a an the",
    "this, that and their like": "this that these those such",
    "prepositions": (
        "of in on at by for with from to into onto over under between among through during against within without "
        "about across along around behind beneath beside beyond near off toward towards upon via"
    ),
    "conjunctions": "and or but nor so yet because although though while whereas unless if when since as",
    "and, or, but": "and or but nor",
    "question words": "who whom whose which what when where why how",
    "negations": "not no never none neither nor nothing nobody cannot n't without",
    "quantities": "all both each every many much more most few fewer several some any other another enough half",
    "compass directions": (
        "north south east west northern southern eastern western northeast northwest southeast southwest "
        "northeastern northwestern southeastern southwestern northward southward eastward westward"
    ),
    "units of time": (
        "second seconds minute minutes hour hours day days week weeks month months year years decade decades "
        "century centuries"
    ),
    "units of length and area": (
        "inch inches foot feet yard yards mile miles metre metres meter meters kilometre kilometres kilometer "
        "kilometers centimetre centimetres mm cm m km ft mi acre acres hectare hectares"
    ),
    "units of weight and speed": "pound pounds ton tons tonne tonnes kilogram kilograms kg lb lbs mph knots kmh",
    "times of day": "morning afternoon evening night noon midnight dawn dusk midday",
    "titles of people": (
        "mr mrs ms dr sir lord lady king queen prince princess duke earl baron emperor president captain colonel "
        "general lieutenant major admiral bishop archbishop pope saint st professor"
    ),
    "family members": (
        "father mother son daughter brother sister brothers sisters wife husband parents uncle aunt nephew niece "
        "cousin grandfather grandmother children sons daughters family"
    ),
    "colours": "red green blue yellow black white brown grey gray orange purple pink gold silver golden",
    "nationalities": (
        "american british english french german italian spanish russian chinese japanese irish scottish welsh "
        "australian canadian indian dutch polish roman greek turkish mexican european african asian egyptian "
        "portuguese swedish norwegian danish austrian hungarian korean israeli iranian"
    ),
    "commas and semicolons": ", ; :",
    "ends of sentences": ". ! ?",
    "opening brackets": "( [",
    "closing brackets": ") ]",
    "hyphens and dashes": "- – — --",
    "quotation marks": "\" ' “ ” ‘ ’",
}
CLASSES: dict[str, frozenset[str]] = {name: frozenset(words.split()) for name, words in _CLASSES.items()}
"""Folded words by the name of their class."""


def classes_of(folded: str) -> tuple[str, ...]:
    """Names of the classes that a folded word is in."""
    return _OF.get(folded, ())


_OF: dict[str, tuple[str, ...]] = {}
for _name, _words in CLASSES.items():
    for _word in _words:
        _OF[_word] = (*_OF.get(_word, ()), _name)
