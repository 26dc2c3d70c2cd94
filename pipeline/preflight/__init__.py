"""One check of everything before any work: all that keeps a recipe from running, found in seconds.

A module for each subject: model, tokenizer, corpus, device, disk, addresses. None of them writes anything.
"""
