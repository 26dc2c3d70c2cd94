"""Attribution: the features that caused an output, and the tokens that made a feature fire."""
