"""Commands of the command line beside running stages."""
