"""SAEs of other libraries: a reader, and where they write it a writer, for each format; and the trial before a run.

Every reader gives a `Foreign`: what the files say, and the weights, which are folded until they are like one of ours.
"""
