"""How many concepts have a feature of their own, and which: the lists, their counts in the corpus, and the fit."""
